"""`oauthapps`, as the shell of the handbook finds it: this is put in front of the installed one.

Whatever ends by itself is run by a fork of a process that has all imports; `serve` is what is
installed. Without that, starting commands takes longer than all they do.
"""

import json
import os
import socket
import sys

FORKS, INSTALLED = "{forks}", "{installed}"


def main() -> int:
    """Run a command, and return its status."""
    if "serve" in sys.argv:
        os.execv(INSTALLED, [INSTALLED, *sys.argv[1:]])  # noqa: S606 - no shell is the point
    asked = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - what this starts with counts in milliseconds
        "given": sys.stdin.read(),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(FORKS)
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps(asked) + "\n")
            stream.flush()
            said = json.loads(stream.read())
    sys.stdout.write(said["stdout"])
    sys.stderr.write(said["stderr"])
    return int(said["returncode"])


if __name__ == "__main__":
    sys.exit(main())
