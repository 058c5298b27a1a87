"""The client credentials grant (RFC 6749, section 4.4)."""

from services.token.errors import InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from services.token.parameters import Parameters
from shared.clients import ClientRecord

CLIENT_CREDENTIALS = "client_credentials"


def check_grant_type(parameters: Parameters) -> None:
    """Return if it is the one grant there is. Raises InvalidRequest, UnsupportedGrantType."""
    grant_type = parameters.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("The grant_type is missing.")
    if grant_type != CLIENT_CREDENTIALS:
        raise UnsupportedGrantType


def granted_scope(parameters: Parameters, client: ClientRecord) -> str:
    """Return the scopes to be granted: those asked for, or all of the application's.

    Raises InvalidScope when one is asked for that the application does not have.
    """
    asked = parameters.get("scope")
    if asked is None:
        return " ".join(client.scopes)
    wanted = set(asked.split(" ")) - {""}
    if not wanted or not wanted.issubset(client.scopes):
        raise InvalidScope
    return " ".join(scope for scope in client.scopes if scope in wanted)


def check_resources(parameters: Parameters, audience: str) -> None:
    """Return if tokens are issued for what was asked. Raises InvalidTarget (RFC 8707)."""
    if any(resource != audience for resource in parameters.resources):
        raise InvalidTarget
