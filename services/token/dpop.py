"""Tokens that are bound to a key of the client (RFC 9449, sections 5 and 8)."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from services.token.client_request import ClientRequest
from services.token.errors import InvalidDpopProof, NoNonces, UseDpopNonce
from services.token.replays import Replays
from shared.config import Settings
from shared.dpop import Proof, ProofRefused, verify_proof
from shared.secret_source import SecretSource
from shared.setting_values import ConfigurationError

# A nonce is good for the rest of its period and the one after.
NONCE_SECONDS = 300


class DpopProofs:
    """Verifies the proof of a token request, if it has one."""

    def __init__(self, settings: Settings, replays: Replays, *, secret: SecretSource) -> None:
        """Nonces derive from `secret`, so that every worker and host knows those of the others."""
        self._issuer = settings.issuer.rstrip("/")
        self._seconds = settings.token.dpop_lifetime.total_seconds()
        self._wants_nonce = settings.token.dpop_nonce
        self._replays = replays
        self._secret = secret

    def key_of(self, request: ClientRequest) -> str | None:
        """Return the thumbprint of the key that a token is to be bound to, None without a proof.

        Raises InvalidDpopProof, UseDpopNonce, NoNonces.
        """
        if request.dpop is None:
            return None
        now = datetime.now(UTC).timestamp()
        try:
            proof = verify_proof(
                request.dpop,
                method="POST",
                url=f"{self._issuer}{request.path}",
                now=now,
                seconds=self._seconds,
            )
        except ProofRefused as error:
            raise InvalidDpopProof(reason=f"DPoP: {error}") from None
        self._check_nonce(proof, now)
        name = f"dpop {proof.thumbprint} {proof.jti}"
        if not self._replays.is_new(name, until=proof.issued_at + 2 * self._seconds, now=now):
            raise InvalidDpopProof(reason="DPoP: used before")
        return proof.thumbprint

    def _check_nonce(self, proof: Proof, now: float) -> None:
        if proof.nonce is None and not self._wants_nonce:
            return
        period = int(now // NONCE_SECONDS)
        secret = self._nonce_secret()
        good = (_nonce(secret, period), _nonce(secret, period - 1))
        # As bytes: of texts it compares only ASCII.
        given = (proof.nonce or "").encode(errors="surrogatepass")
        if not any(hmac.compare_digest(one.encode(), given) for one in good):
            raise UseDpopNonce(good[0])

    def _nonce_secret(self) -> bytes:
        try:
            return hashlib.sha256(b"dpop-nonce" + self._secret().encode()).digest()
        except ConfigurationError as error:
            raise NoNonces(reason=str(error)) from None


def _nonce(secret: bytes, period: int) -> str:
    digest = hmac.new(secret, str(period).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()
