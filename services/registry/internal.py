"""`/internal/…`: the feed, the snapshot and whom to write to, for our own services only."""

import uuid

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.registry.addresses import first_uses
from services.registry.clock import now
from services.registry.directory import Directory
from services.registry.domain import ApplicationNotFound, RevokeToken
from services.registry.event_store import EventStore
from services.registry.feed import Feed, snapshot
from services.registry.handlers import Context, change_application
from services.registry.usage import UsageRecords
from shared import request_ids
from shared.feed_client import MOST_RECIPIENTS, Administrators
from shared.postgres import Pool
from shared.problem import FieldError, Problem
from shared.revocation import TokenRevocation
from shared.secret_source import SecretSource
from shared.security_log import path_of, security
from shared.service_credential import is_presented
from shared.setting_values import ConfigurationError
from shared.usage import FirstUses, UsageReport
from shared.web import json_response, read_body

LIMIT = 10_000
WAIT_SECONDS = 60.0
REPORT_BYTES = 1_000_000
REVOCATION_BYTES = 4096


class InternalApi:
    """The handlers of `/internal/…`."""

    def __init__(
        self,
        credential: SecretSource,
        *,
        pool: Pool,
        feed: Feed,
        store: EventStore,
        directory: Directory,
        usage: UsageRecords,
    ) -> None:
        self._credential = credential
        self._pool = pool
        self._feed = feed
        self._store = store
        self._directory = directory
        self._usage = usage

    @property
    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/internal/feed", self.feed, methods=["GET"]),
            Route("/internal/feed/head", self.head, methods=["GET"]),
            Route("/internal/snapshot", self.snapshot, methods=["GET"]),
            Route("/internal/recipients", self.recipients, methods=["GET"]),
            Route("/internal/recipients/{id}", self.recipient, methods=["GET"]),
            Route(
                "/internal/organizations/{id}/administrators", self.administrators, methods=["GET"]
            ),
            Route("/internal/usage", self.usage, methods=["POST"]),
            Route("/internal/first-uses", self.first_uses, methods=["GET"]),
            Route("/internal/revocations", self.revoke_token, methods=["POST"]),
        ]

    async def feed(self, request: Request) -> Response:
        """Return the envelopes after a position."""
        self._authenticate(request)
        after = int(_number(request, "after", 0, 2.0**63 - 1024))
        limit = int(_number(request, "limit", 1000, LIMIT)) or 1
        wait = _number(request, "wait", 0, WAIT_SECONDS)
        page = await self._feed.internal(after, limit, wait)
        return Response(page, media_type="application/json")

    async def head(self, request: Request) -> Response:
        """Return the log's epoch and last position."""
        self._authenticate(request)
        head = await self._store.head()
        return json_response({"log_epoch": head.log_epoch, "position": head.position})

    async def snapshot(self, request: Request) -> Response:
        """Return all clients as they are at one position."""
        self._authenticate(request)
        return StreamingResponse(snapshot(self._pool), media_type="application/x-ndjson")

    async def recipient(self, request: Request) -> Response:
        """Return whom to write to."""
        self._authenticate(request)
        try:
            user_id = str(uuid.UUID(request.path_params["id"]))
        except ValueError:
            raise Problem(404, "There is no such user.") from None
        recipient = await self._directory.recipient(user_id)
        if recipient is None:
            raise Problem(404, "There is no such user.")
        return json_response(recipient, headers={"Cache-Control": "no-store"})

    async def recipients(self, request: Request) -> Response:
        """Return whom to write to, of the users with one of these ids."""
        self._authenticate(request)
        asked = request.query_params.getlist("id")
        if len(asked) > MOST_RECIPIENTS:
            raise Problem(400, f"Ask for at most {MOST_RECIPIENTS} users at once.")
        found = await self._directory.recipients(asked)
        return json_response(found, headers={"Cache-Control": "no-store"})

    async def administrators(self, request: Request) -> Response:
        """Return who administers an organization; nobody does so where there is none."""
        self._authenticate(request)
        found = await self._directory.administrators(request.path_params["id"])
        told = Administrators(administrators=tuple(found))
        return json_response(told, headers={"Cache-Control": "no-store"})

    async def usage(self, request: Request) -> Response:
        """Take a report of usage."""
        self._authenticate(request)
        body = await read_body(request, limit=REPORT_BYTES)
        try:
            report = msgspec.json.decode(body, type=UsageReport)
            is_new = await self._usage.take(report)
        except (msgspec.MsgspecError, asyncpg.DataError, asyncpg.CheckViolationError):
            raise Problem(422, "That is no report of usage.") from None
        return json_response({"new": is_new})

    async def first_uses(self, request: Request) -> Response:
        """Return tokens that applications obtained from new addresses, after a number."""
        self._authenticate(request)
        after = int(_number(request, "after", 0, 2.0**63 - 1024))
        head = await self._store.head()
        found = FirstUses(log_epoch=head.log_epoch, items=await first_uses(self._pool, after))
        return json_response(found, headers={"Cache-Control": "no-store"})

    async def revoke_token(self, request: Request) -> Response:
        """Note that a client ended one of its access tokens (RFC 7009)."""
        self._authenticate(request)
        body = await read_body(request, limit=REVOCATION_BYTES)
        try:
            told = msgspec.json.decode(body, type=TokenRevocation)
            application_id = str(uuid.UUID(told.application_id))
        except (msgspec.MsgspecError, ValueError):
            raise Problem(422, "That is no revocation.") from None
        context = Context(
            # The same token is revoked once, however often it is told.
            command_id=str(uuid.uuid5(uuid.UUID(application_id), told.jti)),
            actor="service:token",
            now=now,
            correlation_id=request_ids.current(),
        )
        command = RevokeToken(jti=told.jti, revoked_at=now(), expires_at=told.expires_at)
        try:
            await change_application(self._store, application_id, command, context)
        except ApplicationNotFound:
            raise Problem(404, "There is no such application.") from None
        return json_response({"revoked": True})

    def _authenticate(self, request: Request) -> None:
        try:
            credential = self._credential()
        except ConfigurationError:
            raise Problem(503, "No service can be recognised at the moment.") from None
        if not is_presented(credential, request.headers.get("authorization")):
            security.warning("service credential refused", path=path_of(request.url.path))
            raise Problem(
                401,
                "This address is for the services of this installation.",
                headers={"WWW-Authenticate": 'Bearer realm="oauthapps internal"'},
            )


def _number(request: Request, name: str, default: float, most: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        detail = f"Give a number from 0 to {most:.0f}."
        raise Problem(400, detail, errors=[FieldError(detail, parameter=name)])
    return value
