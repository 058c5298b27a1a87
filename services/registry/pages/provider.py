"""Sign-in with an identity provider: OpenID Connect, authorization code with PKCE.

All that a sign-in needs to be checked by derives from one ticket, which the browser that began it
holds in a cookie: nothing is kept here, and nobody else's browser can end it. OpenID Connect
Core 1.0, section 3.1; RFC 7636; RFC 9700.
"""

import hashlib
import hmac
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

with warnings.catch_warnings():
    # It would rather have another HTTP client than the one that everything else here uses.
    warnings.simplefilter("ignore")
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import AsyncOAuth2Client

from services.registry.time_zones import is_time_zone
from shared import base64url
from shared.logs import get_logger
from shared.problem import Problem
from shared.secret_source import SecretSource
from shared.sections import SignIn
from shared.setting_values import ConfigurationError
from shared.setting_values import secret as read_secret

SCOPE = "openid email profile"
ALGORITHMS = ["RS256", "ES256", "PS256", "RS384", "ES384", "RS512", "ES512", "EdDSA"]
ANSWER_SECONDS = 10.0
LEEWAY_SECONDS = 60
log = get_logger(__name__)


class ProviderUnavailable(Problem):
    """The identity provider does not answer as it should."""

    def __init__(self, reason: str) -> None:
        log.warning("identity provider does not answer as it should", reason=reason)
        super().__init__(
            503, "The identity provider does not answer at the moment. Please try again."
        )


class SignInRefused(Exception):
    """The identity provider, or what it says, is no reason to let anybody in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who signed in, as the provider says. The address is one that it has verified."""

    email: str
    name: str
    locale: str
    time_zone: str
    claims: Mapping[str, Any]


class Provider:
    """The identity provider. What it says of itself is read at each sign-in: it may change."""

    def __init__(self, settings: SignIn, redirect_uri: str) -> None:
        """Raise ConfigurationError when something is missing."""
        has_secret = (settings.client_secret, settings.client_secret_file) != (None, None)
        if settings.client_id is None or not has_secret:
            message = (
                "registry.sign_in needs client_id, and the client secret in "
                "OAUTHAPPS_REGISTRY__SIGN_IN__CLIENT_SECRET or in the file "
                "registry.sign_in.client_secret_file"
            )
            raise ConfigurationError(message)
        assert settings.issuer is not None  # noqa: S101 - whoever makes one has asked
        self._issuer = settings.issuer.rstrip("/")
        self._client_id = settings.client_id
        self.secret = SecretSource(
            lambda: read_secret(settings.client_secret, settings.client_secret_file) or "",
            str(settings.client_secret_file),
        )
        self._redirect_uri = redirect_uri

    async def address(self, ticket: str) -> str:
        """Return where a browser goes to sign in. Raises ProviderUnavailable."""
        async with self._client() as client:
            metadata = await self._metadata(client)
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=_drawn(ticket, "state"),
                nonce=_drawn(ticket, "nonce"),
                code_verifier=_drawn(ticket, "verifier"),
            )
        return str(address)

    async def person(self, ticket: str, answer: Mapping[str, str]) -> Person:
        """Return who signed in; `answer` is the query with which the provider sent them back.

        Raises SignInRefused, ProviderUnavailable.
        """
        if not hmac.compare_digest(
            answer.get("state", "").encode(), _drawn(ticket, "state").encode()
        ):
            raise SignInRefused("state")
        if answer.get("iss", self._issuer).rstrip("/") != self._issuer:
            # Of another provider, to mix the two up. RFC 9207.
            raise SignInRefused("iss")
        if "code" not in answer:
            raise SignInRefused(answer.get("error", "no code"))
        async with self._client() as client:
            metadata = await self._metadata(client)
            try:
                tokens = await client.fetch_token(
                    metadata["token_endpoint"],
                    code=answer["code"],
                    code_verifier=_drawn(ticket, "verifier"),
                )
                keys = KeySet.import_key_set(await _read(client, metadata["jwks_uri"]))
                claims = self._claims(tokens, keys, _drawn(ticket, "nonce"))
                if "email" not in claims and "userinfo_endpoint" in metadata:
                    claims.update(await _about(client, metadata["userinfo_endpoint"], claims))
            except OAuthError as error:
                raise SignInRefused(str(error.error)) from None
            except httpx.HTTPError as error:
                raise ProviderUnavailable(type(error).__name__) from None
        return _person_of(claims)

    def _claims(self, tokens: Mapping[str, Any], keys: KeySet, nonce: str) -> dict[str, Any]:
        """Return what the ID token says. Raises SignInRefused unless it is all in order."""
        try:
            token = jwt.decode(str(tokens.get("id_token")), keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self._issuer_of(token.claims)},
                    "aud": {"essential": True, "value": self._client_id},
                },
                params={
                    "nonce": nonce,
                    "client_id": self._client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError) as error:
            raise SignInRefused(type(error).__name__) from None
        return dict(claims)

    def _issuer_of(self, claims: Mapping[str, Any]) -> str:
        """Return our issuer as the provider writes it: with a slash at its end, or without."""
        with_slash = f"{self._issuer}/"
        return with_slash if claims.get("iss") == with_slash else self._issuer

    def _client(self) -> AsyncOAuth2Client:
        try:
            secret = self.secret()
        except ConfigurationError as error:
            raise ProviderUnavailable(str(error)) from None
        return AsyncOAuth2Client(
            self._client_id,
            secret,
            scope=SCOPE,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            timeout=ANSWER_SECONDS,
        )

    async def _metadata(self, client: AsyncOAuth2Client) -> Mapping[str, Any]:
        found: dict[str, Any] = await _read(
            client, f"{self._issuer}/.well-known/openid-configuration"
        )
        needed = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
        if any(not isinstance(found.get(one), str) for one in needed):
            raise ProviderUnavailable("metadata")
        if found["issuer"].rstrip("/") != self._issuer:
            raise ProviderUnavailable("metadata of another issuer")
        return found


async def _about(
    client: AsyncOAuth2Client, url: str, claims: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return what the provider says elsewhere of who signed in (section 5.3)."""
    found = await _read(client, url, withhold_token=False)
    if found.get("sub") != claims["sub"]:
        raise SignInRefused("userinfo of somebody else")
    wanted = found.keys() - claims.keys()
    return {name: found[name] for name in wanted}


def _person_of(claims: Mapping[str, Any]) -> Person:
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise SignInRefused("no verified e-mail address")
    return Person(
        email=email,
        name=str(claims.get("name") or email.partition("@")[0]),
        locale=str(claims.get("locale") or "en"),
        time_zone=_time_zone_of(claims),
        claims=claims,
    )


def _time_zone_of(claims: Mapping[str, Any]) -> str:
    """Return the claim `zoneinfo`; what names no zone here must not keep anybody out."""
    claimed = str(claims.get("zoneinfo") or "UTC")
    return claimed if is_time_zone(claimed) else "UTC"


async def _read(client: AsyncOAuth2Client, url: str, *, withhold_token: bool = True) -> Any:
    try:
        answer = await client.request("GET", url, withhold_token=withhold_token)
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderUnavailable(type(error).__name__) from None
    if not isinstance(found, dict):
        raise ProviderUnavailable("not an object")
    return found


def _drawn(ticket: str, purpose: str) -> str:
    """Return 43 characters of the ticket's: as many as RFC 7636 wants at least."""
    digest = hmac.new(ticket.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64url.encode(digest).decode()
