"""What the endpoints for clients look at of a request, besides its body."""

from collections.abc import Iterable

import msgspec

from services.token.errors import InvalidDpopProof, InvalidRequest

_WANTED = frozenset({b"content-type", b"authorization", b"dpop"})


class ClientRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One POST. `address` is whom it came from, empty if the server does not know."""

    path: str
    address: str
    content_type: str = ""
    authorization: str | None = None
    dpop: str | None = None

    def __repr__(self) -> str:
        """Leave what it was sent out of every log line and traceback."""
        return f"ClientRequest(path={self.path!r})"


def client_request(
    path: str, headers: Iterable[tuple[bytes, bytes]], address: str
) -> ClientRequest:
    """Return the request with what its headers say.

    Raises InvalidRequest when one comes twice, InvalidDpopProof for proofs (RFC 9449, section 4.3).
    """
    # Not Starlette's headers, which are decoded, all of them, for each that is asked for.
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found and name == b"dpop":
                raise InvalidDpopProof(reason="DPoP: more than one proof")
            if name in found:
                raise InvalidRequest("A header is repeated.")
            found[name] = value.decode("latin-1")
    return ClientRequest(
        path=path,
        address=address,
        content_type=found.get(b"content-type", ""),
        authorization=found.get(b"authorization"),
        dpop=found.get(b"dpop"),
    )
