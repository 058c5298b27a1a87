"""The registry's HTTP side, wired as in production, beside a stand-in for the token service."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.registry.app import create_app
from services.registry.directory import User
from services.registry.handlers import Context, create_application
from shared.config import Settings
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.problem import PROBLEM_MEDIA_TYPE
from shared.sections import Database, Registry, Token
from shared.service_credential import load_or_create
from tests.integration.registry.house import House, now
from tests.integration.token.house import serving
from tests.support.ports import free_port
from tests.unit.registry.factories import create, secret_facts

ALL_SCOPES = (
    "applications:read",
    "applications:write",
    "events:read",
    "directory:read",
    "directory:write",
)


class Issuer:
    """What the registry needs of a token service: a JWKS, and tokens that are signed with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.asked = 0
        self.broken = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.rotate()
        self.app = Starlette(routes=[Route("/.well-known/jwks.json", self._jwks)])

    def rotate(self) -> None:
        """Sign with a new key from now on; the old ones stay published."""
        self.kid = uuid.uuid4().hex
        self.keys[self.kid] = ec.generate_private_key(ec.SECP256R1())

    def token(
        self,
        client_id: str,
        /,
        scopes: Iterable[str] = ALL_SCOPES,
        *,
        headers: dict[str, Any] | None = None,
        key: Any = None,
        algorithm: str = "ES256",
        **claims: Any,
    ) -> str:
        """Return an access token as RFC 9068 has it; a claim that is None is left out."""
        issued_at = int(time.time())
        everything = {
            "iss": self._settings.issuer,
            "aud": self._settings.audience,
            "sub": client_id,
            "client_id": client_id,
            "iat": issued_at,
            "exp": issued_at + 60,
            "jti": uuid.uuid4().hex,
            "scope": " ".join(scopes),
            "org": "",
            "owner": "",
            **claims,
        }
        return jwt.encode(
            {name: value for name, value in everything.items() if value is not None},
            self.keys[self.kid] if key is None else key,
            algorithm=algorithm,
            headers={"typ": "at+jwt", "kid": self.kid, **(headers or {})},
        )

    async def _jwks(self, _request: Request) -> Response:
        self.asked += 1
        await self.answering.wait()
        if self.broken:
            return Response(status_code=500)
        keys = [
            {
                **jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True),
                "kid": kid,
                "alg": "ES256",
                "use": "sig",
            }
            for kid, key in self.keys.items()
        ]
        return JSONResponse({"keys": keys})


@dataclass
class Api:
    """A running registry, an application that calls it, and those who may be asked about."""

    house: House
    settings: Settings
    issuer: Issuer
    http: httpx.AsyncClient
    client_id: str
    application_id: str

    async def client_of(self, owner: User, **given: Any) -> dict[str, str]:
        """Make an application of an owner and return the headers with which it calls."""
        _, client_id = await self.application_of(owner, **given)
        return self.headers(client_id)

    async def application_of(
        self, owner: User, *, name: str | None = None, organization_id: str | None = None
    ) -> tuple[str, str]:
        """Make an application of an owner; return its id and its Client ID."""
        command = create(
            name or f"caller {uuid.uuid4()}",
            application_id=str(uuid.uuid4()),
            client_id=new_client_id(),
            organization_id=organization_id or owner.organizations[0].id,
            owner_id=owner.id,
            secret=secret_facts(str(uuid.uuid4())),
        )
        context = Context(command_id=str(uuid.uuid4()), actor="cli:test", now=now)
        async with self.house.store() as store:
            await create_application(store, command, digest_of(new_client_secret()), context)
        return command.application_id, command.client_id

    def headers(self, client_id: str, *scopes: str, **claims: Any) -> dict[str, str]:
        """Return the header that presents a token."""
        token = self.issuer.token(client_id, scopes or ALL_SCOPES, **claims)
        return {"Authorization": f"Bearer {token}"}

    async def create(self, name: str = "CI", **body: Any) -> dict[str, Any]:
        """Create an application and return the answer."""
        answer = await self.http.post("/api/applications", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def user(self, email: str, **given: Any) -> User:
        """Add a user to the organization, unless others are given."""
        given.setdefault("organizations", [self.house.organization.id])
        return await self.house.directory.add_user(email, name=email.partition("@")[0], **given)


def problem(answer: httpx.Response, status: int, pointer: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem of that status, with that pointer; return it."""
    assert status == answer.status_code, answer.text
    assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
    document: dict[str, Any] = answer.json()
    assert status == document["status"]
    assert document["title"]
    assert document["detail"]
    if pointer is not None:
        assert pointer in [one.get("pointer") for one in document.get("errors", [])], document
    # The same problem is the same but for this.
    assert document.pop("request_id", None) == answer.headers.get("X-Request-Id")
    return document


@asynccontextmanager
async def api_of(house: House, var: Path, **registry: Any) -> AsyncIterator[Api]:
    """Wire and start a registry on a house; the token service answers already."""
    load_or_create(var / "service_credential")
    settings = Settings(
        var=var,
        registry=Registry(database=Database(url=SecretStr(house.dsn)), **registry),
        token=Token(port=free_port()),
    )
    issuer = Issuer(settings)
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(issuer.app, settings.token.port))
        await stack.enter_async_context(app.router.lifespan_context(app))
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://registry.example",
            )
        )
        api = Api(house, settings, issuer, http, "", "")
        api.application_id, api.client_id = await api.application_of(house.owner, name="caller")
        http.headers.update(api.headers(api.client_id))
        yield api


class Running:
    """An application whose lifespan has begun elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state = app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[str]:
    """Put a running registry behind a real server; yield its URL."""
    transport: Any = api.http._transport
    app: Any = Running(transport.app)
    async with serving(app) as url:
        yield url
