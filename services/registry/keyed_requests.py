"""Requests with an `Idempotency-Key`: the key's form, and what only its caller can derive from it.

Everything derives from the service credential, the caller and the key together. So another caller
with the same key has another record; the database alone reveals neither keys nor answers, however
weak the keys are; and all replicas derive the same, since they share the credential.
draft-ietf-httpapi-idempotency-key-header, RFC 5869.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.registry.draws import Draws, expand
from shared.problem import Problem

HEADER = "Idempotency-Key"
# A string of RFC 8941 of 1 to 255 visible characters, or the same without quotes as most clients
# send it. Without them a comma or semicolon would mean something, so there it may not stand.
PATTERN = r'^("([!#-\[\]-~]|\\["\\]){1,255}"|[!#-+\--:<-\[\]-~]{1,255})$'
_FORM = re.compile(PATTERN)
_ESCAPED = re.compile(r"\\(.)")
_NONCE_BYTES = 12


def key_of(values: Sequence[str]) -> str | None:
    """Return the key that the header's values hold, or None without one. Raises Problem 400."""
    if not values:
        return None
    if len(values) > 1:
        raise Problem(400, f"Send one {HEADER} only.")
    if _FORM.fullmatch(values[0]) is None:
        raise Problem(
            400,
            f"Send {HEADER} as 1 to 255 visible ASCII characters, best a UUID, in double quotes "
            "if there is a comma or a semicolon in it.",
        )
    value = values[0]
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def fingerprint_of(method: str, path: str, query: str, content_type: str, body: bytes) -> bytes:
    """Return what tells a request from another one that came with the same key."""
    media_type = content_type.partition(";")[0].strip().lower()
    head = msgspec.json.encode([method, path, query, media_type])
    return hashlib.sha256(head).digest() + hashlib.sha256(body).digest()


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A caller's key and what was asked with it, as far as the database may know."""

    id: bytes
    fingerprint: bytes
    _material: bytes = field(repr=False)

    @classmethod
    def of(
        cls, credential: str, caller: Sequence[str], key: str, fingerprint: bytes
    ) -> "KeyedRequest":
        """Return a caller's keyed request; `caller` is whatever tells callers apart."""
        whose = msgspec.json.encode([HEADER, *caller, key])
        material = hmac.digest(credential.encode(), whose, "sha256")
        told_apart = hmac.digest(expand(material, "fingerprint", 32), fingerprint, "sha256")
        return cls(expand(material, "id", 32), told_apart, material)

    def salted(self, salt: bytes) -> "Derived":
        """Return what derives from the request in the life of one record."""
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"record")
        return Derived(hkdf.derive(self._material), self.id + self.fingerprint)


@dataclass(frozen=True, slots=True)
class Derived(Draws):
    """The key of one record: it seals its answer, and its command draws from it."""

    _place: bytes = field(repr=False)

    def seal(self, answer: bytes) -> bytes:
        """Return an answer so that it can be read with the same credential, caller and key only."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, answer, self._place)

    def open(self, sealed: bytes) -> bytes:
        """Return a sealed answer. Raises InvalidTag when it is not this record's."""
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return self._cipher().decrypt(nonce, encrypted, self._place)

    def _cipher(self) -> AESGCM:
        return AESGCM(expand(self._key, "answer", 32))
