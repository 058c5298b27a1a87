"""Client authentication: who presents which secret, and whether it is right (RFC 6749, 2.3.1)."""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from hmac import compare_digest

import msgspec

from services.token.assertions import ASSERTION_TYPE
from services.token.errors import InvalidClient, InvalidRequest
from services.token.parameters import Parameters, form_decode
from shared.clients import ClientRecord, SecretRecord
from shared.credentials import digest_of, is_well_formed_client_id, is_well_formed_secret

# Compared against when there is no client, so that "unknown" takes the time that "wrong" takes.
_NO_SECRETS = (SecretRecord(id="", digest="0" * 64),)

NOT_FORM_ENCODED = "Basic credentials are not form-encoded base64"
FindClient = Callable[[str], ClientRecord | None]
CatchUp = Callable[[], Awaitable[None]]


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """What a client presents. `digest` is the secret's, as it is compared and remembered."""

    client_id: str
    client_secret: str
    digest: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "digest", digest_of(self.client_secret))

    def __repr__(self) -> str:
        """Leave the secret out of every log line and traceback."""
        return f"Credentials(client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a client has signed instead (RFC 7523)."""

    token: str = field(repr=False)


class Authenticated(msgspec.Struct, frozen=True, gc=False):
    """A client, and which of its secrets it has presented."""

    client: ClientRecord
    secret_id: str


def presented(authorization: str | None, parameters: Parameters) -> Credentials | Assertion:
    """Return the credentials of a request. Raises InvalidRequest, InvalidClient."""
    body_id, body_secret = parameters.get("client_id"), parameters.get("client_secret")
    assertion, kind = (
        parameters.get("client_assertion"),
        parameters.get("client_assertion_type"),
    )
    is_signed = assertion is not None or kind is not None
    if (authorization is not None) + (body_secret is not None) + is_signed > 1:
        raise InvalidRequest("Two ways of client authentication in one request.")
    if is_signed:
        if assertion is None or kind is None:
            raise InvalidRequest("client_assertion and client_assertion_type belong together.")
        if kind != ASSERTION_TYPE:
            raise InvalidClient(reason="unknown type of assertion")
        return Assertion(assertion)
    if authorization is not None:
        credentials = _basic(authorization)
        if body_id is not None and body_id != credentials.client_id:
            raise InvalidRequest("The client_id of the body is not that of the header.")
        return credentials
    if body_id is None and body_secret is None:
        raise InvalidClient(reason="no credentials")
    if body_id is None:
        raise InvalidRequest("The client_id is missing.")
    if body_secret is None:
        raise InvalidClient(reason="no secret")
    return Credentials(body_id, body_secret)


def _basic(authorization: str) -> Credentials:
    """Return the two halves, each form-decoded (RFC 6749, 2.3.1). Raises InvalidClient."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient(reason="not the Basic scheme")
    client_id = ""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        client_id, colon, client_secret = decoded.partition(":")
        if not colon:
            raise InvalidClient(reason="Basic credentials without a colon")
        credentials = Credentials(form_decode(client_id), form_decode(client_secret))
    except ValueError:
        known = client_id if is_well_formed_client_id(client_id) else None
        raise InvalidClient(reason=NOT_FORM_ENCODED, client_id=known) from None
    if not credentials.client_id or not credentials.client_secret:
        raise InvalidClient(reason="half of the Basic credentials is empty")
    return credentials


async def authenticate(
    credentials: Credentials, find: FindClient, catch_up: CatchUp, now: datetime
) -> Authenticated:
    """Return the client whose credentials these are. Raises InvalidClient, always the same.

    The reason is for the log, which learns the Client ID too when it has the form of one.

    Whatever is wrong may have been changed a moment ago: the projection gets one bounded chance
    to catch up. For every reason, so that the time taken does not tell them apart.
    """
    client_id, secret = credentials.client_id, credentials.client_secret
    if not is_well_formed_client_id(client_id):
        raise InvalidClient(reason="not a Client ID")
    if not is_well_formed_secret(secret):
        raise InvalidClient(reason="not a Client Secret", client_id=client_id)
    digest = credentials.digest
    found = _examine(find(client_id), digest, now)
    if isinstance(found, str):
        await catch_up()
        found = _examine(find(client_id), digest, now)
    if isinstance(found, str):
        raise InvalidClient(reason=found, client_id=client_id)
    return found


def _examine(client: ClientRecord | None, digest: str, now: datetime) -> Authenticated | str:
    """Return who it is, or what is wrong; the comparison is made whatever else is wrong."""
    secrets = (client.secrets if client is not None else ()) or _NO_SECRETS
    found = [one for one in secrets if compare_digest(digest, one.digest)]
    if client is None:
        return "unknown client"
    if not found:
        return "wrong secret"
    live = [one for one in found if one.expires_at is None or one.expires_at > now]
    if not live:
        return "secret expired"
    return state_of(client, now) or Authenticated(client, live[0].id)


def state_of(client: ClientRecord, now: datetime) -> str | None:
    """Return why a client obtains nothing now, whatever it presents; None if it does."""
    if client.expires_at is not None and client.expires_at <= now:
        return "client expired"
    return None if client.active else "client deactivated"
