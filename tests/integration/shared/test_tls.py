"""TLS to what the services talk to: a certificate is looked at before anything is said."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from shared.bus import BusUnavailable, open_publisher
from shared.postgres import NotConnected, connect
from shared.trust import trusted
from tests.support.certificates import Authority

# What a client of Postgres asks for before TLS (PostgreSQL, "Message Formats": SSLRequest).
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
AMQP = b"AMQP"
Greet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """TLS begins at once."""


async def like_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TLS begins when it was asked for."""
    assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
    writer.write(b"S")
    await writer.drain()


@asynccontextmanager
async def listening(
    context: ssl.SSLContext | None, greet: Greet = nothing
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Be a server; yield its port, and what it heard, after TLS if there is any."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await greet(reader, writer)
            if context is not None:
                await writer.start_tls(context)
            heard.append(await reader.read(4096))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def postgres(port: int, **query: object) -> str:
    """Return the URL of the server."""
    options = "&".join(f"{name}={value}" for name, value in query.items())
    return f"postgresql://registry:hunter2@127.0.0.1:{port}/registry?{options}"


async def publish(url: str) -> None:
    """Try to connect to a broker."""
    async with open_publisher(url, source="http://localhost", timeout_seconds=5):
        pass


@pytest.fixture(name="ours")
def _ours(tmp_path: Path) -> Authority:
    """An authority that the client is told to trust."""
    return Authority(tmp_path)


@pytest.fixture(name="theirs")
def _theirs(tmp_path: Path) -> Authority:
    """Another one."""
    (tmp_path / "theirs").mkdir()
    return Authority(tmp_path / "theirs")


async def test_postgres_with_a_good_certificate_is_talked_to(ours: Authority) -> None:
    """So that the tests below fail for what they say."""
    async with listening(ours.server(), like_postgres) as (port, heard):
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await connect(postgres(port, sslmode="verify-full", sslrootcert=ours.file))

    assert b"registry" in heard[0]


async def test_postgres_with_another_certificate_hears_nothing(
    ours: Authority, theirs: Authority
) -> None:
    """Somebody in the middle has one too."""
    async with listening(theirs.server(), like_postgres) as (port, heard):
        with pytest.raises(NotConnected, match=r"the certificate of Postgres at .* is not good"):
            await connect(postgres(port, sslmode="verify-full", sslrootcert=ours.file))

    assert heard in ([], [b""])


async def test_rabbitmq_with_a_good_certificate_is_talked_to(ours: Authority) -> None:
    """The authority stands in the URL."""
    async with listening(ours.server()) as (port, heard):
        with pytest.raises(BusUnavailable):
            await publish(f"amqps://registry:hunter2@127.0.0.1:{port}/?cafile={ours.file}")

    assert heard[0].startswith(AMQP)


async def test_rabbitmq_with_another_certificate_hears_nothing(
    ours: Authority, theirs: Authority
) -> None:
    """Likewise; without an authority in the URL those of the system count."""
    for query in (f"?cafile={ours.file}", ""):
        async with listening(theirs.server()) as (port, heard):
            with pytest.raises(BusUnavailable):
                await publish(f"amqps://registry:hunter2@127.0.0.1:{port}/{query}")

        assert heard in ([], [b""])


async def test_services_trust_the_authority_that_the_environment_names(
    ours: Authority, theirs: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization has its own inside; then nobody else's is good."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    trust = trusted.__wrapped__()
    for authority, is_heard in ((ours, True), (theirs, False)):
        async with (
            listening(authority.server()) as (port, heard),
            httpx.AsyncClient(verify=trust, trust_env=False) as http,
        ):
            with pytest.raises(httpx.TransportError):
                await http.get(f"https://127.0.0.1:{port}/")

        assert any(one.startswith(b"GET /") for one in heard) is is_heard
