"""Whatever comes to the token endpoint: an answer by the RFC, and never an echo."""

import asyncio
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.token.app import create_app
from shared.clients import SnapshotHead
from tests.integration.token.house import House
from tests.unit.token.factories import Application, client_record

# RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E.
ALLOWED = {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}
STATUSES = {400, 401, 405, 415}

CANARY = "cAnArY"
WORDS = st.sampled_from(
    ["grant_type", "client_id", "client_secret", "scope", "resource", "client_assertion", CANARY]
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.just("client_credentials"),
    st.text(max_size=5).map(lambda text: f"{CANARY}{text}"),
)
FORMS = st.lists(st.tuples(WORDS, VALUES), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode(
        "utf-8", "surrogatepass"
    )
)
NASTY = [
    # Half a character, as only JSON can bring it.
    b'{"grant_type":"client_credentials","client_id":"\\ud800","client_secret":"\\ud800"}',
    b'{"grant_type":"client_credentials","client_secret":"x"}',
    b"[" * 10_000,
    b'{"client_id":' + b"9" * 10_000 + b"}",
    b"grant_type=client_credentials&client_id=%00&client_secret=%00",
    b"&=&" * 1000,
]
BODIES = st.one_of(
    st.sampled_from(NASTY),
    FORMS,
    st.binary(max_size=200),
    st.dictionaries(WORDS, VALUES).map(msgspec.json.encode),
)
HEADERS = st.lists(
    st.one_of(
        st.tuples(
            st.just(b"content-type"),
            st.sampled_from(
                [b"application/x-www-form-urlencoded", b"application/json", b"text/plain", b"\xff"]
            ),
        ),
        st.tuples(
            st.just(b"authorization"),
            st.one_of(
                st.binary(max_size=60),
                st.binary(max_size=60).map(lambda value: b"Basic " + value),
                st.sampled_from([b"Basic Y0FuQXJZOmNBbkFyWQ==", b"basic Og==", b"Basic"]),
            ),
        ),
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application without a network; its registry is not there."""
    house = House(Path(tmp_path_factory.mktemp("fuzz")))
    house.make_keys("EdDSA")
    loop = asyncio.new_event_loop()
    app = create_app(house.settings(catch_ups_per_second=1000.0))

    async def fill() -> None:
        from services.token.projection import Projection

        async def records() -> Any:
            yield client_record(Application())

        store = Projection(house.var / "projection", map_size=2**24)
        await store.replace_all(SnapshotHead(log_epoch="e", position=1), records())
        store.close()

    loop.run_until_complete(fill())
    lifespan = app.router.lifespan_context(app)
    loop.run_until_complete(lifespan.__aenter__())

    def request(method: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
        return loop.run_until_complete(_request(app, method, headers, body))

    yield request
    loop.run_until_complete(lifespan.__aexit__(None, None, None))
    loop.close()


async def _request(
    app: Any, method: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/oauth2-token",
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)
    start, end = sent
    return start["status"], dict(start["headers"]), end["body"]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "X"]),
    headers=HEADERS,
    body=BODIES,
)
def test_every_request_gets_an_answer_of_the_rfc(
    endpoint: Any, method: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Never a 500, never an echo, never cacheable, only the characters that are allowed."""
    status, answered, text = endpoint(method, headers, body)

    assert status in STATUSES
    assert answered[b"content-type"] == b"application/json"
    assert answered[b"cache-control"] == b"no-store"
    assert (b"www-authenticate" in answered) == (status == 401)
    assert CANARY.encode() not in text
    document = msgspec.json.decode(text)
    assert set(document) == {"error", "error_description"}
    assert set(document["error"] + document["error_description"]) <= ALLOWED
