"""Client identifiers and client secrets: how they are made, recognised and stored.

A secret is `oas_` + 43 characters that hold 256 bits + 6 characters of checksum. The prefix lets
secret scanners find a leaked one; the checksum lets junk be refused before any look-up. At rest
there is a SHA-256 digest only: the entropy is far above what can be guessed, so a slow hash would
protect nothing and be a lever for denial of service.
"""

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_PREFIX = "oas_"  # noqa: S105 - the public prefix of every secret, not a secret
ENTROPY_CHARACTERS = 43  # log2(62) * 43 = 256.03 bits
CHECKSUM_CHARACTERS = 6  # 62 ** 6 > 2 ** 32
SECRET_LENGTH = len(SECRET_PREFIX) + ENTROPY_CHARACTERS + CHECKSUM_CHARACTERS
CLIENT_ID_LENGTH = 32
# Two digits at a time.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
# Returns so many bytes that nobody can foresee who must not know what is made of them.
RandomBytes = Callable[[int], bytes]


def new_client_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a fresh Client ID: 32 letters and digits, 190 bits, so never one given out before."""
    return _random(CLIENT_ID_LENGTH, random)


def new_client_secret(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a fresh Client Secret, 53 characters of `[A-Za-z0-9_]`."""
    body = SECRET_PREFIX + _random(ENTROPY_CHARACTERS, random)
    return body + _checksum(body)


def is_well_formed_client_id(client_id: str) -> bool:
    """Tell whether the text can be a Client ID of ours at all."""
    return len(client_id) == CLIENT_ID_LENGTH and _is_in_alphabet(client_id)


def is_well_formed_secret(secret: str) -> bool:
    """Tell whether the text can be a Client Secret of ours at all: form and checksum."""
    if len(secret) != SECRET_LENGTH or not secret.startswith(SECRET_PREFIX):
        return False
    if not _is_in_alphabet(secret[len(SECRET_PREFIX) :]):
        return False
    body, checksum = secret[:-CHECKSUM_CHARACTERS], secret[-CHECKSUM_CHARACTERS:]
    return hmac.compare_digest(checksum, _checksum(body))


def digest_of(secret: str) -> str:
    """Return the lower-case hexadecimal SHA-256 digest under which a secret is stored."""
    # Whatever is presented has a digest, halves of characters too: it is that of no secret.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def hint_of(secret: str) -> str:
    """Return the last four characters, by which an owner tells two secrets apart."""
    return secret[-4:]


def _random(length: int, random: RandomBytes) -> str:
    """Return so many characters, each equally likely: bytes that would favour some are dropped."""
    fair = 256 - 256 % len(ALPHABET)
    characters: list[str] = []
    while len(characters) < length:
        drawn = random(2 * length)
        characters += [ALPHABET[byte % len(ALPHABET)] for byte in drawn if byte < fair]
    return "".join(characters[:length])


def _checksum(body: str) -> str:
    rest, low = divmod(zlib.crc32(body.encode()), len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def _is_in_alphabet(text: str) -> bool:
    # Of ASCII, these are its letters and digits; ten times as fast as a set of them.
    return text.isascii() and text.isalnum()
