"""URLs whose password ends the address: it holds a / ? or # that is not percent-encoded."""

from urllib.parse import SplitResult


def is_cut(parts: SplitResult) -> bool:
    """Tell whether what looks like host and port may be a user and the beginning of a password."""
    # Names of parameters hold no @; their values may, as some user names do.
    rest = parts.path + parts.query.partition("=")[0] + parts.fragment
    return "@" not in parts.netloc and "@" in rest
