"""Public keys and lifetimes of applications, and single tokens that are revoked."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from services.registry.app import create_app
from services.registry.domain import RegistryError
from services.registry.public_keys import MOST_KEYS, keys_in
from services.registry.rebuild import rebuild
from services.registry.terms import FieldRefused
from services.registry.verification import verify
from shared.clients import checksum
from shared.feed_client import FeedClient, ReportRefused
from shared.revocation import TokenRevocation
from shared.service_credential import load
from tests.integration.registry.api import Api, problem
from tests.integration.registry.test_cli import printed, refusal
from tests.integration.token.house import serving
from tests.unit.token.factories import fold

P256 = ec.generate_private_key(ec.SECP256R1()).public_key()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


def jwk_of(key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    """Return a public key as a stock library writes it."""
    return {**get_default_algorithms()[algorithm].to_jwk(key, as_dict=True), **more}


def pem_of(key: Any) -> str:
    """Return a public key as OpenSSL writes it."""
    encoding = serialization.Encoding.PEM
    return str(key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo).decode())


GOOD = {"keys": [jwk_of(P256, "ES256", kid="k1"), jwk_of(RSA, "RS256", kid="k2", use="sig")]}


async def test_an_application_is_given_keys_and_a_lifetime(api: Api) -> None:
    """With it, later, and away again; each is in its history and in the token service's records."""
    created = await api.create("CI", jwks=GOOD, token_lifetime="15m")
    assert [one["kid"] for one in created["jwks"]["keys"]] == ["k1", "k2"]
    assert created["token_lifetime"] == 900
    path = f"/api/applications/{created['id']}"
    shown = (await api.http.get(path)).json()
    assert (shown["jwks"], shown["token_lifetime"]) == (created["jwks"], 900)
    one = {"jwks": {"keys": GOOD["keys"][:1]}, "token_lifetime": 60}
    changed = (await api.http.patch(path, json=one)).json()
    assert [key["kid"] for key in changed["jwks"]["keys"]] == ["k1"]
    assert (changed["token_lifetime"], changed["version"]) == (60, 2)
    away = await api.http.patch(path, json={"jwks": None, "token_lifetime": None})
    assert (away.json()["jwks"], away.json()["token_lifetime"]) == (None, None)
    history = (await api.http.get(f"{path}/events")).json()["items"]
    assert [one["data"].get("changed") for one in history] == [
        None,
        ["keys", "token_seconds"],
        ["keys", "token_seconds"],
    ]


@pytest.mark.parametrize(
    ("jwks", "says"),
    [
        ({}, "JWK set"),
        ({"keys": {}}, "JWK set"),
        ({"keys": ["x"]}, "JWK set"),
        ({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}, "private key"),
        ({"keys": [{**GOOD["keys"][0], "d": "x"}]}, "private key"),
        ({"keys": [{"kty": "EC"}]}, "no public key"),
        ({"keys": [{"kty": []}]}, "no public key"),
        ({"keys": [{**GOOD["keys"][0], "use": "enc"}]}, "not for signatures"),
        ({"keys": [{**GOOD["keys"][0], "alg": "ES384"}]}, "signs by ES256"),
        ({"keys": [{**GOOD["keys"][0], "kid": ""}]}, "kid"),
        ({"keys": [GOOD["keys"][0], GOOD["keys"][0]]}, "same kid"),
        ({"keys": [jwk_of(P256, "ES256", kid=str(n)) for n in range(MOST_KEYS + 1)]}, "at most"),
    ],
)
async def test_other_keys_are_refused_with_the_reason(api: Api, jwks: Any, says: str) -> None:
    """With a pointer to the one that is wrong."""
    answer = await api.http.post("/api/applications", json={"name": "CI", "jwks": jwks})

    error = problem(answer, 422)["errors"][0]
    assert says in error["detail"]
    assert error["pointer"].startswith("#/jwks")


@pytest.mark.parametrize("lifetime", [0, -1, "2d", "soon", 86_401])
async def test_a_lifetime_out_of_bounds_is_refused(api: Api, lifetime: Any) -> None:
    """From a second to a day."""
    answer = await api.http.post(
        "/api/applications", json={"name": "CI", "token_lifetime": lifetime}
    )
    assert problem(answer, 422)["errors"][0]["pointer"] == "#/token_lifetime"


def test_keys_are_read_as_they_come() -> None:
    """A set, a single key, PEM, several of these; short keys and other curves are refused."""
    both = pem_of(P256) + "\n" + pem_of(RSA)
    assert [one.alg for one in keys_in(both)] == ["ES256", "RS256"]
    assert keys_in(json.dumps(GOOD["keys"][0])) == keys_in(json.dumps(GOOD))[:1]
    assert keys_in(pem_of(P256))[0].kid == keys_in(both)[0].kid
    assert keys_in("  ") == ()
    ed = ed25519.Ed25519PrivateKey.generate()
    assert keys_in(pem_of(ed.public_key()))[0].alg == "EdDSA"
    private = ed.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - that is the test
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    for text in (private, pem_of(short), pem_of(other), "x", "[]", f"{both} x", "[" * 5000):
        with pytest.raises(FieldRefused):
            keys_in(text)
    assert issubclass(FieldRefused, RegistryError)


@pytest.mark.parametrize(
    "text", ["-----BEGIN A-----" * 200_000, "-----BEGIN A-----END " * 100_000, "-----BEGIN " * 9]
)
def test_what_begins_and_never_ends_is_read_once(text: str) -> None:
    """To look for each end from each beginning would stop the service."""
    with pytest.raises(FieldRefused):
        keys_in(text)


async def test_an_administrator_gives_no_key_to_who_outranks_them(api: Api) -> None:
    """It would be as good as the secret, which they do not get either."""
    house = api.house
    everywhere = await house.directory.add_organization("Everywhere", global_access=True)
    chief = await house.directory.add_user(
        "chief@example.com",
        name="Chief",
        organizations=[everywhere.id, house.organization.id],
        administrator=True,
    )
    local = await house.directory.add_user(
        "local@example.com",
        name="Local",
        organizations=[house.organization.id],
        administrator=True,
    )
    target, _ = await api.application_of(chief, organization_id=house.organization.id)
    headers = await api.client_of(local)
    refused = await api.http.patch(
        f"/api/applications/{target}", json={"jwks": GOOD}, headers=headers
    )
    allowed = await api.http.patch(
        f"/api/applications/{target}", json={"description": "x"}, headers=headers
    )

    assert (refused.status_code, allowed.status_code) == (403, 200)


async def test_a_client_s_revocation_is_kept_and_told(api: Api, tmp_path: Path) -> None:
    """Once, however often it is told; the registry refuses the token itself."""
    created = await api.create("CI", jwks=GOOD)
    headers = {"Authorization": f"Bearer {api.issuer.token(created['client_id'], jti='t1')}"}
    assert (await api.http.get("/api/applications", headers=headers)).status_code == 200
    until = datetime.now(UTC) + timedelta(hours=1)
    told = TokenRevocation(application_id=created["id"], jti="t1", expires_at=until)
    async with (
        serving(create_app(api.settings)) as url,
        FeedClient(url, load(tmp_path / "service_credential")) as feed,
    ):
        for _ in range(2):
            await feed.revoke_token(told)
        gone = TokenRevocation(
            application_id="00000000-0000-4000-8000-000000000000", jti="x", expires_at=until
        )
        with pytest.raises(ReportRefused):
            await feed.revoke_token(gone)
        async with feed.snapshot() as (_, records):
            found = [one async for one in records]

    assert (await api.http.get("/api/applications", headers=headers)).status_code == 401
    history = (await api.http.get(f"/api/applications/{created['id']}/events")).json()["items"]
    assert [one["type"] for one in history] == [
        "ApplicationCreated",
        "TokensRevoked",
    ]
    (mine,) = [one for one in found if one.client_id == created["client_id"]]
    assert [(one.jti, one.expires_at) for one in mine.revoked] == [("t1", until)]
    assert [one.kid for one in mine.keys] == ["k1", "k2"]
    assert (await verify(api.house.pool)).problems == ()


async def test_the_snapshot_is_the_fold_of_the_events(api: Api, tmp_path: Path) -> None:
    """With keys, lifetimes and revocations: a replica that followed has the same checksum."""
    created = await api.create("CI", jwks=GOOD, token_lifetime=77)
    async with (
        serving(create_app(api.settings)) as url,
        FeedClient(url, load(tmp_path / "service_credential")) as feed,
    ):
        for n, minutes in enumerate((1, 60, 2)):
            await feed.revoke_token(
                TokenRevocation(
                    application_id=created["id"],
                    jti=f"t{n}",
                    expires_at=datetime.now(UTC) + timedelta(minutes=minutes),
                )
            )
        ordered = fold((await feed.read(0)).envelopes)
        async with feed.snapshot() as (_, records):
            found = [record async for record in records]

    assert found == ordered
    assert checksum(found) == checksum(ordered)


async def test_a_rebuild_gives_keys_and_revocations_back(api: Api) -> None:
    """They are in the log."""
    created = await api.create("CI", jwks=GOOD, token_lifetime=77)
    before = (await api.http.get(f"/api/applications/{created['id']}")).json()
    await api.house.pool.execute(
        "UPDATE registry.applications SET keys = '[]', token_seconds = 5, revoked = '[{}]'"
    )
    found = await verify(api.house.pool)
    assert "differs in keys, token_seconds, revoked" in " ".join(found.problems)
    await rebuild(api.house.pool)

    assert (await api.http.get(f"/api/applications/{created['id']}")).json() == before
    assert (await verify(api.house.pool)).problems == ()


async def test_the_command_line_reads_keys_from_a_file(api: Api, tmp_path: Path) -> None:
    """As PEM or as a set; what is wrong with it is one line."""
    house = api.house
    file, broken = tmp_path / "keys.pem", tmp_path / "broken"
    file.write_text(pem_of(P256))
    broken.write_text("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----")
    shared = ("applications", "create", "--owner", "owner@example.com", "--name")
    row = await printed(house, *shared, "A", "--keys", str(file), "--token-lifetime", "5m")
    assert (row["jwks"]["keys"][0]["alg"], row["token_lifetime"]) == ("ES256", 300)
    update = ("applications", "update", row["id"])
    away = await printed(house, *update, "--no-keys", "--token-lifetime", "default")
    assert (away["jwks"], away["token_lifetime"]) == (None, None)
    assert "no public key" in await refusal(house, *shared, "B", "--keys", str(broken))
    assert "No such file" in await refusal(house, *shared, "B", "--keys", str(tmp_path / "x"))
