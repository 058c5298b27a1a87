"""What all tests may ask for; see `tests/support`."""

import os

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.broker",
    "tests.support.logged",
    "tests.support.small_disk",
]

# Whoever runs the containers has settings of theirs in the environment.
for name in [one for one in os.environ if one.startswith("OAUTHAPPS_")]:
    if not name.startswith("OAUTHAPPS_TEST_"):
        del os.environ[name]
