"""What the token service needs to know of a client: one record of the registry's snapshot.

The registry writes these records, the token service keeps them; the fold of the events and the
snapshot at the same position give the same records, so a checksum over them compares replicas.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime

import msgspec

from shared.events import PublicKey


class SecretRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One secret of a client. `digest` as `shared.credentials.digest_of` makes it."""

    id: str
    digest: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        """Leave the digest out of every log line and traceback."""
        return f"SecretRecord(id={self.id!r})"


class RevokedToken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One access token that was revoked before its time, by its `jti`."""

    jti: str
    expires_at: datetime


class ClientRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A client that exists. `not_before` refuses access tokens issued earlier, `revoked` some.

    From `expires_at` on it obtains none. `keys` are public JWKs, by which it may authenticate with
    assertions; `token_seconds` is the lifetime of its tokens, if it has one of its own.
    """

    client_id: str
    application_id: str
    organization_id: str
    owner_id: str
    active: bool
    scopes: tuple[str, ...]
    secrets: tuple[SecretRecord, ...]
    not_before: datetime | None = None
    expires_at: datetime | None = None
    keys: tuple[PublicKey, ...] = ()
    token_seconds: int | None = None
    revoked: tuple[RevokedToken, ...] = ()


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot: where in which history it was taken."""

    log_epoch: str
    position: int


_encode = msgspec.msgpack.Encoder().encode


def checksum(records: Iterable[ClientRecord]) -> str:
    """Return the SHA-256 over records ordered by `client_id` (code points), in hexadecimal."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(_encode(record))
    return digest.hexdigest()
