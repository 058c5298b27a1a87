"""The errors of the token endpoint: the RFC's codes as objects.

The caller learns `code` and `description`; the log learns `reason` and, when it has the form of
one, the `client_id`. No description ever holds a part of the request, so each is made of the
characters that RFC 6749, section 5.2, allows.
"""

from shared.problem import KEYS_MISSING


class OAuthError(Exception):
    """The request cannot be answered with a token."""

    code = "invalid_request"
    status = 400
    description = "The request is malformed."
    retry_seconds: int | None = None

    def __init__(
        self,
        description: str | None = None,
        *,
        reason: str | None = None,
        client_id: str | None = None,
    ) -> None:
        super().__init__(reason or description or self.description)
        self.description = description or self.description
        self.reason = reason or self.description
        self.client_id = client_id


class InvalidRequest(OAuthError):
    """RFC 6749, section 5.2."""


class InvalidClient(OAuthError):
    """RFC 6749, section 5.2: one answer for all reasons, so that nobody learns which it was."""

    code = "invalid_client"
    status = 401
    description = "Client authentication failed."


class UnsupportedGrantType(OAuthError):
    """RFC 6749, section 5.2."""

    code = "unsupported_grant_type"
    description = "Only the grant type client_credentials is supported."


class InvalidScope(OAuthError):
    """RFC 6749, section 5.2."""

    code = "invalid_scope"
    description = "The application does not have the requested scope."


class InvalidTarget(OAuthError):
    """RFC 8707, section 2."""

    code = "invalid_target"
    description = "No tokens are issued for the requested resource."


class InvalidDpopProof(OAuthError):
    """RFC 9449, section 5."""

    code = "invalid_dpop_proof"
    description = "The DPoP proof is not valid."


class UseDpopNonce(OAuthError):
    """RFC 9449, section 8: the same again, with the nonce of the answer."""

    code = "use_dpop_nonce"
    description = "Send the DPoP proof again, with the nonce of the header DPoP-Nonce."

    def __init__(self, nonce: str) -> None:
        super().__init__(reason="a nonce is asked for")
        self.nonce = nonce


class TooManyFailures(OAuthError):
    """RFC 6585, section 4: credentials are not looked at for a while."""

    code = "temporarily_unavailable"
    status = 429
    description = "Too many failed attempts. Try again when Retry-After has passed."

    def __init__(self, seconds: int, *, client_id: str | None = None) -> None:
        super().__init__(reason="too many failed attempts", client_id=client_id)
        self.retry_seconds = seconds


class TooManyRevocations(OAuthError):
    """RFC 6585, section 4: each revoked token is remembered until it expires."""

    code = "temporarily_unavailable"
    status = 429
    description = "Too many tokens of this client were revoked one by one. Revoke them all at once."
    retry_seconds = 60


class RegistryAway(OAuthError):
    """RFC 7009, section 2.2.1: the token must be assumed to be good still."""

    code = "temporarily_unavailable"
    status = 503
    description = "The token could not be revoked at the moment. Please try again."


class MethodNotAllowed(InvalidRequest):
    """RFC 6749, section 3.2: the client uses POST."""

    status = 405
    description = "Use POST."


class BodyTooLarge(InvalidRequest):
    """RFC 9110, section 15.5.14."""

    status = 413
    description = "The body is too large."


class BodyTooSlow(InvalidRequest):
    """RFC 9110, section 15.5.9."""

    status = 408
    description = "The body did not arrive in time."


class UnsupportedMediaType(InvalidRequest):
    """RFC 9110, section 15.5.16."""

    status = 415
    description = "Send the parameters as application/x-www-form-urlencoded."


class KeysNotConfigured(OAuthError):
    """There are no usable signing keys."""

    code = "temporarily_unavailable"
    status = 503
    description = KEYS_MISSING


class ProjectionStale(OAuthError):
    """What is known of the clients is too old to rely on: fail closed."""

    code = "temporarily_unavailable"
    status = 503
    description = "Clients cannot be verified at the moment. Please try again."


class NoRoom(OAuthError):
    """There is no room to remember what must not come twice: fail closed."""

    code = "temporarily_unavailable"
    status = 503
    description = "Clients cannot be verified at the moment. Please try again."


class NoNonces(OAuthError):
    """There is no service credential to make nonces of: what asks for one fails closed."""

    code = "temporarily_unavailable"
    status = 503
    description = "DPoP proofs cannot be verified at the moment. Please try again."


class ServerError(OAuthError):
    """Something unforeseen; the log has it."""

    code = "server_error"
    status = 500
    description = "Something went wrong on our side."
