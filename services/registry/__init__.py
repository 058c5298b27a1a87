"""The registry: applications and their owners, the log of what happens to them, and its feeds."""
