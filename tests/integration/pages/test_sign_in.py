"""Signing in with an identity provider: a real one, in the test."""

import json
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from oidc_provider_mock import User as Someone
    from oidc_provider_mock import run_server_in_thread

from services.registry.pages.provider import Provider, ProviderUnavailable, SignInRefused
from services.registry.pages.routes import provider_of
from shared.config import Settings
from shared.sections import Registry, SignIn
from shared.setting_values import ConfigurationError
from tests.integration.pages.visitor import PASSWORD, Visitor, visitor_of
from tests.integration.registry.api import Api, api_of
from tests.integration.registry.house import house_in
from tests.integration.token.house import serving
from tests.support.postgres import Databases

START = "/login/sso"


def someone(sub: str, **claims: Any) -> Someone:
    """Return somebody whom the provider knows, with a verified address."""
    email = f"{sub}@example.com"
    return Someone(sub=sub, claims={"email": email, "email_verified": True, "name": sub, **claims})


PEOPLE = (
    someone("owner"),
    someone("new", locale="de_AT", zoneinfo="Europe/Vienna"),
    someone("chief", groups=["admins", "others"], zoneinfo="Middle/Earth"),
    someone("unverified", email_verified=False),
    Someone(sub="nameless", claims={}),
)


@pytest.fixture(scope="module", name="issuer")
def _issuer() -> Iterator[str]:
    """A running provider."""
    with run_server_in_thread(user_claims=PEOPLE) as server:
        yield f"http://localhost:{server.server_port}"


def settings_of(issuer: str, **given: Any) -> SignIn:
    """Return the settings of a sign-in."""
    return SignIn(issuer=issuer, client_id="us", client_secret=SecretStr("secret"), **given)


@asynccontextmanager
async def registry(databases: Databases, var: Path, sign_in: SignIn) -> AsyncIterator[Api]:
    """Run a registry whose people sign in."""
    async with house_in(databases) as house, api_of(house, var, sign_in=sign_in) as api:
        yield api


@pytest_asyncio.fixture
async def api(databases: Databases, tmp_path: Path, issuer: str) -> AsyncIterator[Api]:
    """A registry that adds whoever is new, and knows administrators by their groups."""
    sign_in = settings_of(
        issuer,
        organization="Example",
        administrator_claim="groups",
        administrator_values=("admins",),
    )
    async with registry(databases, tmp_path, sign_in) as api:
        yield api


@asynccontextmanager
async def browser(api: Api) -> AsyncIterator[Visitor]:
    """Open a browser in which nobody is logged in."""
    async with AsyncExitStack() as stack:
        yield Visitor(await stack.enter_async_context(visitor_of(api).http))


async def sign_in(visitor: Visitor, sub: str, start: str = START) -> str:
    """Go to the provider and be somebody there; return the address it leads back to."""
    begun = await visitor.http.get(start)
    assert begun.status_code == 303, begun.text
    async with httpx.AsyncClient() as http:
        answer = await http.post(begun.headers["location"], data={"sub": sub})
    assert answer.status_code in (302, 303), answer.text
    return str(answer.headers["location"])


def back(url: str) -> str:
    """Return the path and query of the address that leads back."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_signs_nobody_in(api: Api, site: str) -> None:
    """Who is logged in at the provider would have a session here without having asked for one."""
    async with browser(api) as visitor:
        answer = await visitor.http.get(f"{START}?next=/my-user", headers={"Sec-Fetch-Site": site})

    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fmy-user")


async def test_who_is_known_by_a_verified_address_is_let_in(api: Api) -> None:
    """And led to the page that was asked for."""
    async with browser(api) as visitor:
        asked = await visitor.get("/my-user?name=x", 303)
        await visitor.follow(asked)
        assert f'href="{START}?next=%2Fmy-user%3Fname%3Dx"' in visitor.page
        url = await sign_in(visitor, "owner", f"{START}?next=%2Fmy-user%3Fname%3Dx")
        answer = await visitor.http.get(back(url))
        assert (answer.status_code, answer.headers["location"]) == (303, "/my-user?name=x")
        await visitor.get("/my-user")
        assert "Olga Owner" in visitor.page


async def test_what_is_sent_to_the_provider(api: Api) -> None:
    """Code with PKCE; state and nonce are others each time; no secret."""
    async with browser(api) as visitor:
        sent = [(await visitor.http.get(START)).headers["location"] for _ in range(2)]

    one, other = (parse_qs(urlsplit(url).query) for url in sent)
    assert one["response_type"] == ["code"]
    assert one["code_challenge_method"] == ["S256"]
    assert one["redirect_uri"] == ["http://localhost:8001/login/sso/callback"]
    for name in ("state", "nonce", "code_challenge"):
        assert one[name] != other[name]
    assert "secret" not in sent[0]


async def test_who_is_new_is_added_and_the_role_follows_the_claim(api: Api) -> None:
    """With name and language, in the organization of the settings; it is all in the audit."""
    async with browser(api) as visitor:
        await visitor.get(back(await sign_in(visitor, "new")), 303)
        await visitor.get("/my-user")
    async with browser(api) as visitor:
        await visitor.get(back(await sign_in(visitor, "chief")), 303)
        await visitor.get("/system/oauth-applications")
    directory = api.house.directory
    new, chief = [await directory.user(f"{one}@example.com") for one in ("new", "chief")]
    await api.house.pool.execute(
        "UPDATE registry.users SET administrator = true WHERE id = $1", new.id
    )
    async with browser(api) as visitor:
        await visitor.get(back(await sign_in(visitor, "new")), 303)
        await visitor.get("/system/oauth-applications", 403)

    assert [one.name for one in new.organizations] == ["Example"]
    assert (new.locale, new.administrator, chief.administrator) == ("de_AT", False, True)
    # A zone that nobody knows keeps nobody out.
    assert (new.time_zone, chief.time_zone) == ("Europe/Vienna", "UTC")
    rows = await api.house.pool.fetch(
        "SELECT DISTINCT actor FROM registry.directory_audit WHERE subject_id = $1", new.id
    )
    assert [row["actor"] for row in rows] == ["service:sign-in"]


@pytest.mark.parametrize(
    ("sub", "words"),
    [("unverified", "no verified e-mail address"), ("nameless", "no verified e-mail address")],
)
async def test_an_address_that_is_not_verified_opens_nothing(
    api: Api, sub: str, words: str
) -> None:
    """Anybody can claim one."""
    async with browser(api) as visitor:
        await visitor.get(back(await sign_in(visitor, sub)), 403)
        assert words in visitor.page
        await visitor.get("/my-user", 303)


async def test_who_is_disabled_or_unknown_is_told_whom_to_ask(
    databases: Databases, tmp_path: Path, issuer: str
) -> None:
    """Nobody is added where no organization is set."""
    async with (
        registry(databases, tmp_path, settings_of(issuer)) as api,
        browser(api) as visitor,
    ):
        await visitor.get(back(await sign_in(visitor, "new")), 403)
        assert "nobody has added you" in visitor.page
        await api.house.directory.set_user_active(api.house.owner.id, active=False)
        await visitor.get(back(await sign_in(visitor, "owner")), 403)
        assert "disabled here" in visitor.page


async def test_only_the_browser_that_began_it_ends_it_and_once(api: Api) -> None:
    """A link with somebody else's code must not log anybody in."""
    async with browser(api) as visitor, browser(api) as victim:
        url = back(await sign_in(visitor, "owner"))
        await victim.get(url, 403)
        await sign_in(victim, "new")
        await victim.get(url, 403)
        await victim.get("/my-user", 303)
        await visitor.get(url, 303)
        again = await visitor.http.get(url)
        assert again.status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "",
        "error=access_denied",
        "code=x",
        "code=x&state=y",
        "state=&code=",
        "iss=https://evil.example",
    ],
)
async def test_what_the_provider_did_not_say_is_refused(api: Api, query: str) -> None:
    """With a page that says to begin once more."""
    async with browser(api) as visitor:
        await sign_in(visitor, "owner")
        await visitor.get(f"/login/sso/callback?{query}", 403)
        await visitor.get("/my-user", 303)


async def test_a_code_that_the_provider_does_not_know_is_refused(api: Api) -> None:
    """Also with the right state."""
    async with browser(api) as visitor:
        url = await sign_in(visitor, "owner")
        state = parse_qs(urlsplit(url).query)["state"][0]
        await visitor.get(f"/login/sso/callback?code=wrong&state={state}", 403)


async def test_a_provider_that_is_away_is_a_sentence(databases: Databases, tmp_path: Path) -> None:
    """And passwords go on."""
    async with (
        registry(databases, tmp_path, settings_of("http://localhost:1")) as api,
        browser(api) as visitor,
    ):
        await visitor.get(START, 503)
        assert "identity provider does not answer" in visitor.page


async def test_a_client_secret_that_comes_late_is_waited_for(
    databases: Databases, tmp_path: Path, issuer: str
) -> None:
    """Passwords go on meanwhile, and nobody has to restart the registry."""
    file = tmp_path / "client_secret"
    sign_in = SignIn(issuer=issuer, client_id="us", client_secret_file=file)
    async with registry(databases, tmp_path, sign_in) as api, browser(api) as visitor:
        await visitor.get(START, 503)
        told = (await api.http.get("/readyz")).json()["checks"]["secrets"]
        assert f"secret file {file}: cannot be read" in told

        file.write_text("secret\n")
        assert (await visitor.http.get(START)).status_code == 303


async def test_passwords_can_be_switched_off(
    databases: Databases, tmp_path: Path, issuer: str
) -> None:
    """Then there is no field for one, and none is taken."""
    async with (
        registry(databases, tmp_path, settings_of(issuer, passwords=False)) as api,
        browser(api) as visitor,
    ):
        await visitor.get("/login")
        assert 'type="password"' not in visitor.page
        await visitor.send("/login", 403, email="owner@example.com", password=PASSWORD)


@pytest.mark.parametrize(
    ("sign_in", "words"),
    [
        (SignIn(issuer="https://id.example"), "client_id"),
        (SignIn(issuer="https://id.example", client_id="us"), "client_secret_file"),
        (SignIn(passwords=False), "nobody could log in"),
    ],
)
def test_what_is_missing_is_said_at_the_start(sign_in: SignIn, words: str) -> None:
    """And not to the first who wants to log in."""
    with pytest.raises(ConfigurationError, match=words):
        provider_of(Settings(registry=Registry(sign_in=sign_in)))


class TestIdToken:
    """What an ID token must say, checked against a provider that says something else."""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"aud": "another"},
            {"iss": "https://another.example"},
            {"nonce": "another"},
            {"exp": 1},
            {"nonce": None},
            {"sub": None},
            {"azp": "another"},
        ],
        ids=json.dumps,
    )
    async def test_one_that_is_not_for_this_sign_in_is_refused(self, wrong: dict[str, Any]) -> None:
        """Signed or not: it was made for somebody else, or for another time."""
        async with lying(wrong) as (provider, answer):
            with pytest.raises(SignInRefused):
                await provider.person("ticket", answer)

    async def test_one_that_is_in_order_is_taken(self) -> None:
        """So that the tests above fail for what they say."""
        async with lying({}) as (provider, answer):
            person = await provider.person("ticket", answer)
        assert person.email == "ada@example.com"

    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    async def test_one_that_is_not_signed_with_the_providers_key_is_refused(
        self, algorithm: str
    ) -> None:
        """Least of all with our own secret, or with nothing."""
        async with lying({}, algorithm=algorithm) as (provider, answer):
            with pytest.raises(SignInRefused):
                await provider.person("ticket", answer)


@asynccontextmanager
async def lying(
    wrong: dict[str, Any], *, algorithm: str = "ES256"
) -> AsyncIterator[tuple[Provider, dict[str, str]]]:
    """Run a provider whose ID tokens say something wrong; yield ours and what a browser brings."""
    liar = Liar(wrong, algorithm)
    async with serving(liar.app) as url:
        liar.issuer = url
        provider = Provider(settings_of(url), "http://localhost:8001/login/sso/callback")
        asked = parse_qs(urlsplit(await provider.address("ticket")).query)
        liar.nonce = asked["nonce"][0]
        yield provider, {"state": asked["state"][0], "code": "code"}


class Liar:
    """A provider of three addresses."""

    def __init__(self, wrong: dict[str, Any], algorithm: str) -> None:
        self.issuer = self.nonce = ""
        self._wrong = wrong
        self._algorithm = algorithm
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _metadata(self, _request: Request) -> Response:
        places = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
        found = {name: f"{self.issuer}/{place}" for name, place in places.items()}
        return JSONResponse({"issuer": self.issuer, **found})

    async def _keys(self, _request: Request) -> Response:
        public = self._key.public_key()
        key = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
        return JSONResponse({"keys": [{**key, "kid": "1", "use": "sig"}]})

    async def _token(self, _request: Request) -> Response:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "us",
            "sub": "ada",
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce,
            "email": "ada@example.com",
            "email_verified": True,
            **self._wrong,
        }
        key: Any = {"none": None, "HS256": "secret" * 8}.get(self._algorithm, self._key)
        signed = jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            key,
            algorithm=self._algorithm,
            headers={"kid": "1"},
        )
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": signed})


async def test_a_provider_that_leads_elsewhere_is_not_followed() -> None:
    """What it is configured with is the only place that is asked."""

    async def moved(_request: Request) -> Response:
        return Response(status_code=302, headers={"Location": "http://169.254.169.254/"})

    app = Starlette(routes=[Route("/.well-known/openid-configuration", moved)])
    async with serving(app) as url:
        provider = Provider(settings_of(url), "http://registry.example/login/sso/callback")
        with pytest.raises(ProviderUnavailable):
            await provider.address("ticket")
