"""The notifier: turns events into e-mail for the owner of an application."""
