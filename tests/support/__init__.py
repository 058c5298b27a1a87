"""Real parts for tests, and the faults that can be made with them."""
