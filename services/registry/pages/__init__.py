"""The back office: pages for users and administrators, usable without a script."""
