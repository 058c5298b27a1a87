"""Base64 for URLs, without padding (RFC 7515, section 2)."""

from binascii import a2b_base64, b2a_base64

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PLAIN = bytes.maketrans(b"-_", b"+/")


def encode(content: bytes) -> bytes:
    """Return the text of some bytes."""
    return b2a_base64(content, newline=False).translate(_URL_SAFE).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """Return the bytes of a text. Raises ValueError for one that `encode` would not have made."""
    content = a2b_base64(text.translate(_PLAIN) + b"=" * (-len(text) % 4))
    if encode(content) != text:
        raise ValueError
    return content
