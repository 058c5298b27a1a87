"""The log of what concerns security: who got in, who did not, and what was refused to whom.

It goes with all other lines, under the logger `security`: ids and reasons, no address, no name, and
nothing that was presented.
"""

from shared.logs import get_logger

# What of a path is written down: the ids in it, and nothing as long as an attack.
LONGEST_PATH = 200
security = get_logger("security")


def path_of(path: str) -> str:
    """Return what is logged of a path."""
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + "…"
