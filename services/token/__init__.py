"""The token service: projects the active clients, validates credentials, signs access tokens."""
