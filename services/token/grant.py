"""The client credentials grant (RFC 6749, section 4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.token.errors import InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from services.token.parameters import Parameters
from shared.sections import Resource

CLIENT_CREDENTIALS = "client_credentials"


def check_grant_type(parameters: Parameters) -> None:
    """Return if it is the one grant there is. Raises InvalidRequest, UnsupportedGrantType."""
    grant_type = parameters.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("The grant_type is missing.")
    if grant_type != CLIENT_CREDENTIALS:
        raise UnsupportedGrantType


# What one client asks for is the same again and again.
@lru_cache(1024)
def granted_scope(asked: str | None, own: tuple[str, ...], known: frozenset[str] | None) -> str:
    """Return the scopes to be granted: those asked for, or all of the application's own.

    Raises InvalidScope when one is asked for that the application does not have, or that the
    resource does not know; and when nothing would be left.
    """
    allowed = [one for one in own if known is None or one in known]
    if asked is None:
        if own and not allowed:
            raise InvalidScope
        return " ".join(allowed)
    wanted = set(asked.split(" "))
    # Two spaces are no separator (section 3.3), and what is between them is nobody's scope.
    if not wanted.issubset(allowed):
        raise InvalidScope
    return " ".join(scope for scope in allowed if scope in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which APIs a token is for: its audience, the scopes they know, and how long it is good."""

    audience: str | tuple[str, ...]
    scopes: frozenset[str] | None = None
    lifetime_seconds: int | None = None


class Targets:
    """The APIs there are (RFC 8707)."""

    def __init__(self, audience: str, resources: Mapping[str, Resource]) -> None:
        """`audience` is what tokens are for that name no resource."""
        self._audience = audience
        self._targets = {audience: Target(audience=audience)}
        for name, one in resources.items():
            scopes = None if one.scopes is None else frozenset(one.scopes)
            seconds = None if one.lifetime is None else int(one.lifetime.total_seconds())
            self._targets[name] = Target(audience=name, scopes=scopes, lifetime_seconds=seconds)

    @property
    def names(self) -> frozenset[str]:
        """Every audience that a token of ours may have."""
        return frozenset(self._targets)

    def of(self, parameters: Parameters) -> Target:
        """Return what was asked for. Raises InvalidTarget."""
        names = list(dict.fromkeys(parameters.resources)) or [self._audience]
        try:
            found = [self._targets[name] for name in names]
        except KeyError:
            raise InvalidTarget from None
        if len(found) == 1:
            return found[0]
        # One token for several: no API gets a scope or a lifetime that it would not have alone.
        known = [one.scopes for one in found if one.scopes is not None]
        seconds = [one.lifetime_seconds for one in found if one.lifetime_seconds is not None]
        return Target(
            audience=tuple(names),
            scopes=frozenset.intersection(*known) if known else None,
            lifetime_seconds=min(seconds, default=None),
        )
