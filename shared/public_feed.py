"""The registry's public feed, read by any system that has a client with the scope `events:read`."""

import time
from typing import Any

import httpx

from shared.envelope import Page, decode_cloudevents
from shared.failures import TransientFailure
from shared.trust import trusted

PAGE_SIZE = 1000
ANSWER_SECONDS = 30.0
# A token is asked for anew so long before it expires.
RENEWAL_SECONDS = 30.0


class FeedUnavailable(TransientFailure):
    """The public feed cannot be read just now; the reason says what to do."""


class PublicFeed:
    """Reads `GET /api/events` with access tokens that it obtains itself."""

    def __init__(
        self,
        registry_url: str,
        *,
        token_url: str,
        client_id: str,
        client_secret: str,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._events_url = f"{registry_url.rstrip('/')}/api/events"
        self._token_url = token_url
        self._credentials = httpx.BasicAuth(client_id, client_secret)
        self._page_size = page_size
        self._token: str | None = None
        self._renew_at = 0.0
        self._http = httpx.AsyncClient(verify=trusted(), timeout=ANSWER_SECONDS, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return the events after a position; wait so many seconds when there are none.

        Raises FeedUnavailable, UndecodableEvent.
        """
        response = await self._get(after, wait)
        if response.status_code == 401:
            # Withdrawn meanwhile, or the keys were replaced: once more with a fresh one.
            self._token = None
            response = await self._get(after, wait)
        if response.status_code != 200:
            raise FeedUnavailable(_refusal(response.status_code))
        try:
            head = int(response.headers["log-head"])
            log_epoch = response.headers["log-epoch"]
        except (KeyError, ValueError) as error:
            message = f"registry: unexpected answer ({type(error).__name__})"
            raise FeedUnavailable(message) from None
        entries = decode_cloudevents(response.content)
        return Page(log_epoch=log_epoch, head=head, entries=entries)

    async def _get(self, after: int, wait: float) -> httpx.Response:
        parameters: dict[str, Any] = {"after": after, "limit": self._page_size, "wait": wait}
        headers = {"Authorization": f"Bearer {await self._access_token()}"}
        try:
            return await self._http.get(
                self._events_url, params=parameters, headers=headers, timeout=wait + ANSWER_SECONDS
            )
        except httpx.HTTPError as error:
            message = f"registry: no answer ({type(error).__name__})"
            raise FeedUnavailable(message) from None

    async def _access_token(self) -> str:
        if self._token is not None and time.monotonic() < self._renew_at:
            return self._token
        form = {"grant_type": "client_credentials", "scope": "events:read"}
        try:
            response = await self._http.post(self._token_url, data=form, auth=self._credentials)
            response.raise_for_status()
            answer = response.json()
            self._token = str(answer["access_token"])
            seconds = float(answer["expires_in"])
        except httpx.HTTPStatusError as error:
            raise FeedUnavailable(_token_refusal(error.response.status_code)) from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            message = f"token service: no usable answer ({type(error).__name__})"
            raise FeedUnavailable(message) from None
        self._renew_at = time.monotonic() + max(1.0, seconds - RENEWAL_SECONDS)
        return self._token


def _refusal(status: int) -> str:
    if status == 403:
        return "registry: the client needs the scope events:read, and an owner with global access"
    return f"registry: answered with status {status}"


def _token_refusal(status: int) -> str:
    if status in (400, 401):
        return (
            f"token service: no token for the feed's own client (status {status}); is its "
            "application active, the secret right, and events:read among its scopes?"
        )
    return f"token service: answered with status {status}"
