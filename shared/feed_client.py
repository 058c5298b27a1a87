"""The registry's internal interface, as token service and notifier call it."""

from collections.abc import AsyncIterator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from shared import clock_check, request_ids
from shared.clients import ClientRecord, SnapshotHead
from shared.clock_check import ClockCheck
from shared.envelope import Page, decode_page
from shared.failures import PermanentFailure, TransientFailure
from shared.revocation import TokenRevocation
from shared.secret_source import Secret
from shared.setting_values import ConfigurationError
from shared.tracing import traceparent
from shared.trust import trusted
from shared.usage import FirstUses, UsageReport

ANSWER_SECONDS = 10.0
# So many people may be asked for in one question.
MOST_RECIPIENTS = 100
# Without this last line a snapshot that broke off would look like a smaller one.
SNAPSHOT_END = '{"end":true}'
T = TypeVar("T")


class RegistryUnavailable(TransientFailure):
    """The registry did not give a usable answer."""


class RegistryRefused(TransientFailure):
    """The registry does not accept the service credential."""


class ReportRefused(PermanentFailure):
    """The registry does not understand a report of usage; one of the two is of another version."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to write to: asked for when a mail is sent, kept nowhere."""

    id: str
    email: str
    name: str
    locale: str
    active: bool
    # An older registry does not tell it.
    time_zone: str = "UTC"


class Administrators(msgspec.Struct, frozen=True):
    """The ids of the active users who administer an organization."""

    administrators: tuple[str, ...]


class _Credential(httpx.Auth):
    """Presents the service credential as it is at this moment."""

    def __init__(self, credential: Secret) -> None:
        self._credential = credential

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the header. Raises RegistryRefused."""
        credential = self._credential
        try:
            presented = credential if isinstance(credential, str) else credential()
        except ConfigurationError as error:
            raise RegistryRefused(str(error)) from None
        request.headers["Authorization"] = f"Bearer {presented}"
        yield request


class FeedClient:
    """A connection to the registry. Every call raises RegistryUnavailable or RegistryRefused."""

    def __init__(self, url: str, credential: Secret, *, page_size: int = 5000) -> None:
        self._page_size = page_size
        self._url = url
        self.clock = ClockCheck(f"the registry at {url}")
        self._http = httpx.AsyncClient(
            base_url=url,
            auth=_Credential(credential),
            verify=trusted(),
            timeout=ANSWER_SECONDS,
            # Proxies of the environment are for the outside world, not for our own services.
            trust_env=False,
            event_hooks={"request": [_carry]},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return the events after a position; wait up to so many seconds when there are none."""
        parameters = {"after": after, "limit": self._page_size, "wait": wait}
        response = await self._get("/internal/feed", parameters, seconds=ANSWER_SECONDS + wait)
        return decode_page(response.content)

    async def head(self) -> SnapshotHead:
        """Return the log's epoch and its last position."""
        response = await self._get("/internal/feed/head", {})
        return _decode(SnapshotHead, response.content)

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return a user as they are now, or None when there is no such user."""
        try:
            response = await self._get(f"/internal/recipients/{user_id}", {})
        except _NotFound:
            return None
        return _decode(Recipient, response.content)

    async def recipients(self, user_ids: Sequence[str]) -> dict[str, Recipient]:
        """Return those of these users that there are, by id, in as few answers as there can be."""
        found: dict[str, Recipient] = {}
        for first in range(0, len(user_ids), MOST_RECIPIENTS):
            some = await self._recipients(user_ids[first : first + MOST_RECIPIENTS])
            found.update((one.id, one) for one in some)
        return found

    async def _recipients(self, user_ids: Sequence[str]) -> list[Recipient]:
        try:
            response = await self._get("/internal/recipients", {"id": list(user_ids)})
        except _NotFound:
            # An older registry, during an upgrade.
            each = [await self.recipient(one) for one in user_ids]
            return [one for one in each if one is not None]
        return _decode(list[Recipient], response.content)

    async def administrators(self, organization_id: str) -> tuple[str, ...]:
        """Return the ids of the active users who administer an organization now.

        An organization that is unknown has none; a registry that does not know the question is
        unavailable, so that nobody takes it for one without administrators.
        """
        response = await self._get(f"/internal/organizations/{organization_id}/administrators", {})
        return _decode(Administrators, response.content).administrators

    async def first_uses(self, after: int) -> FirstUses:
        """Return tokens that applications obtained from new addresses, after a number."""
        response = await self._get("/internal/first-uses", {"after": after})
        return _decode(FirstUses, response.content)

    async def report_usage(self, report: UsageReport) -> None:
        """Hand in a report of usage; the same one again is counted once.

        Raises ReportRefused when it will never be taken, RegistryUnavailable, RegistryRefused.
        """
        await self._tell("/internal/usage", report, refused=(400, 413, 422))

    async def revoke_token(self, told: TokenRevocation) -> None:
        """Tell that a client revoked one of its access tokens; again changes nothing.

        Raises ReportRefused when the application is gone, RegistryUnavailable, RegistryRefused.
        """
        await self._tell("/internal/revocations", told, refused=(400, 404, 413, 422))

    async def _tell(self, path: str, told: msgspec.Struct, *, refused: Collection[int]) -> None:
        asked_at = clock_check.wall()
        try:
            response = await self._http.post(path, content=msgspec.json.encode(told))
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        self.clock.compare_date(response.headers.get("date"), asked_at=asked_at)
        if response.status_code in refused:
            message = f"registry: answered with status {response.status_code}"
            raise ReportRefused(message)
        await _refuse(response)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[SnapshotHead, AsyncIterator[ClientRecord]]]:
        """Open the snapshot of all clients; the records come ordered by `client_id`."""
        try:
            async with self._http.stream("GET", "/internal/snapshot") as response:
                await _refuse(response)
                lines = response.aiter_lines()
                head = _decode(SnapshotHead, await anext(lines))
                yield head, _records(lines)
        except (httpx.HTTPError, StopAsyncIteration) as error:
            message = f"registry: snapshot broke off ({type(error).__name__})"
            raise RegistryUnavailable(message) from None

    async def _get(
        self,
        path: str,
        parameters: Mapping[str, str | int | float | list[str]],
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> httpx.Response:
        asked_at = clock_check.wall()
        try:
            response = await self._http.get(path, params=parameters, timeout=seconds)
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        self.clock.compare_date(response.headers.get("date"), asked_at=asked_at)
        await _refuse(response)
        return response

    def _unreached(self, error: httpx.HTTPError) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"registry at {self._url}: no answer ({type(error).__name__}); "
            "start it, or correct registry.internal_url"
        )


async def _carry(request: httpx.Request) -> None:
    """Let a request say what it is part of."""
    place, request_id = traceparent(), request_ids.current()
    if place is not None:
        request.headers["traceparent"] = place
    if request_id is not None:
        request.headers["X-Request-Id"] = request_id


class _NotFound(RegistryUnavailable):
    """The registry has no such thing."""


async def _refuse(response: httpx.Response) -> None:
    if response.status_code in (401, 403):
        message = "registry: the service credential is not accepted; both sides need the same file"
        raise RegistryRefused(message)
    if response.status_code == 404:
        raise _NotFound("registry: no such thing")
    if response.status_code != 200:
        message = f"registry: answered with status {response.status_code}"
        raise RegistryUnavailable(message)


def _decode(kind: type[T], content: bytes | str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        message = f"registry: unexpected answer ({error})"
        raise RegistryUnavailable(message) from None


async def _records(lines: AsyncIterator[str]) -> AsyncIterator[ClientRecord]:
    """Yield every record. Raises RegistryUnavailable when the closing line is missing."""
    decoder = msgspec.json.Decoder(ClientRecord)
    async for line in lines:
        if line == SNAPSHOT_END:
            return
        try:
            record = decoder.decode(line)
        except msgspec.MsgspecError as error:
            message = f"registry: unexpected line of the snapshot ({type(error).__name__})"
            raise RegistryUnavailable(message) from None
        yield record
    message = "registry: snapshot broke off before its end"
    raise RegistryUnavailable(message)
