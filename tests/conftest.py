"""What all tests may ask for; see `tests/support`."""

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.broker",
    "tests.support.logged",
    "tests.support.small_disk",
]
