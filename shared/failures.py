"""What the world does to us, in two kinds: worth another try, or not."""


class TransientFailure(Exception):
    """It did not work now; the same call may work later."""


class PermanentFailure(Exception):
    """It will not work however often it is tried; somebody has to change something."""
