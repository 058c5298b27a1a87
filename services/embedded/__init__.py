"""What `oauthapps up` runs beside the services: Postgres from a wheel, and a mail catcher."""
