"""`oauthapps status`: the whole system on one screen."""
