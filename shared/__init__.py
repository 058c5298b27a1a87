"""What the three services share."""
