"""Access tokens, as a stock JWT library reads them."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from services.token.access_tokens import AccessTokens
from services.token.grant import Target
from services.token.keys import Algorithm, generate
from tests.unit.token.factories import Application, client_record

AUDIENCE = "https://api.example"
TARGET = Target(audience=AUDIENCE)
TOKENS = AccessTokens(issuer="https://token.example", lifetime_seconds=600)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_is_verified_by_a_stock_library(tmp_path: Path, algorithm: Algorithm) -> None:
    """RFC 9068, section 2: header and claims to the letter."""
    key = generate(tmp_path / "private", tmp_path / "public", algorithm)
    application = Application()
    before = int(time.time())

    token = TOKENS.sign(key, client_record(application), "a b", 600, audience=AUDIENCE)

    claims = jwt.decode(
        token,
        jwt.PyJWK(key.jwk),
        algorithms=[algorithm],
        audience="https://api.example",
        issuer="https://token.example",
    )
    assert {"typ": "at+jwt", "alg": algorithm, "kid": key.kid} == jwt.get_unverified_header(token)
    assert before <= claims["iat"] <= time.time()
    assert len(claims["jti"]) >= 20
    assert {
        "iss": "https://token.example",
        "sub": application.client_id,
        "aud": "https://api.example",
        "client_id": application.client_id,
        "iat": claims["iat"],
        "exp": claims["iat"] + 600,
        "jti": claims["jti"],
        "scope": "a b",
        "org": application.organization_id,
        "owner": application.owner_id,
    } == claims


def test_no_two_tokens_share_their_jti(tmp_path: Path) -> None:
    """It is what a token is revoked by."""
    key = generate(tmp_path / "private", tmp_path / "public", "ES256")
    record = client_record(Application())

    ids = {
        jwt.decode(
            TOKENS.sign(key, record, "", 60, audience=AUDIENCE), options={"verify_signature": False}
        )["jti"]
        for _ in range(200)
    }

    assert len(ids) == 200


def test_each_key_has_a_header_of_its_own(tmp_path: Path) -> None:
    """The prepared header must not outlive its key."""
    record = client_record(Application())
    algorithms: list[Algorithm] = ["ES256", "EdDSA", "RS256"]
    for algorithm in algorithms:
        key = generate(
            tmp_path / f"{algorithm}.private", tmp_path / f"{algorithm}.public", algorithm
        )

        header = jwt.get_unverified_header(TOKENS.sign(key, record, "a", 60, audience=AUDIENCE))

        assert (algorithm, key.kid) == (header["alg"], header["kid"])


def test_a_token_does_not_outlive_its_application() -> None:
    """APIs that only look at `exp` must not accept it past the application's end."""
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def lifetime(left: timedelta | None) -> int:
        end = None if left is None else now + left
        client = client_record(Application()).__replace__(expires_at=end)
        return TOKENS.lifetime_of(client, TARGET, now.timestamp())

    assert lifetime(None) == 600
    assert lifetime(timedelta(days=9)) == 600
    assert lifetime(timedelta(seconds=61.5)) == 61


def test_application_and_resource_may_shorten_a_token() -> None:
    """And one of them may lengthen it; of both the shorter counts."""
    client = client_record(Application())
    own = client.__replace__(token_seconds=1200)
    short = Target(audience=AUDIENCE, lifetime_seconds=30)

    assert TOKENS.lifetime_of(own, TARGET, 0.0) == 1200
    assert TOKENS.lifetime_of(client, short, 0.0) == 30
    assert TOKENS.lifetime_of(own, short, 0.0) == 30
