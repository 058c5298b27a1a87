"""`oauthapps up`: what a newcomer meets first."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from shared.problem import KEYS_MISSING
from tests.e2e.system import ROOT
from tests.support.eventually import eventually
from tests.support.ports import free_port

PARTS = ("registry", "token", "notifier", "smtp")


@dataclass
class Up:
    """A running `up`, and what it has printed."""

    process: asyncio.subprocess.Process
    printed: str
    ports: dict[str, int]

    async def token(self, http: httpx.AsyncClient, credentials: str) -> httpx.Response:
        """Ask for a token with `client_id:secret`."""
        client_id, secret = credentials.split(":")
        return await http.post(
            f"http://127.0.0.1:{self.ports['token']}/oauth2-token",
            data={"grant_type": "client_credentials"},
            auth=(client_id, secret),
        )


async def start(
    var: Path, *options: str, ports: dict[str, int] | None = None
) -> tuple[asyncio.subprocess.Process, dict[str, int]]:
    """Start `up` on free ports."""
    ports = ports or {part: free_port() for part in PARTS}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services", "up", "--var", str(var)),
        *(word for part, port in ports.items() for word in (f"--{part}-port", str(port))),
        *options,
        cwd=ROOT,
        env={**os.environ, "OAUTHAPPS_CONFIG": str(ROOT / "config.yml")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    return process, ports


@contextlib.asynccontextmanager
async def up(var: Path, *options: str) -> AsyncIterator[Up]:
    """Run `up` until it is ready, end it with Ctrl-C and see that it leaves nothing behind."""
    process, ports = await start(var, *options)
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(60):
            while not printed.endswith("\nready\n"):
                line = await process.stdout.readline()
                assert line, (await process.communicate())[1].decode()
                printed += line.decode()
        yield Up(process, printed, ports)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
    assert not list((var / "postgres" / "data").glob("postmaster.pid"))


def credentials_in(printed: str) -> str:
    """Return what the printed curl line presents."""
    found = re.search(r"-u '([^']+)'", printed)
    assert found is not None
    return found[1]


async def test_the_first_start_gives_a_token_and_a_mail_and_the_second_keeps_all(
    tmp_path: Path,
) -> None:
    """A newcomer has something to try; what was made is there tomorrow and shown no more."""
    async with httpx.AsyncClient() as http:
        async with up(tmp_path) as first:
            credentials = credentials_in(first.printed)
            assert first.printed.count("password ") == 2
            assert (await first.token(http, credentials)).status_code == 200
            mails = await eventually(lambda: list((tmp_path / "mail").glob("*.eml")))
            assert b"OAuth application added to your account" in mails[0].read_bytes()
            assert (tmp_path / "oauth_private.key").stat().st_mode & 0o777 == 0o600
        async with up(tmp_path) as second:
            assert "password" not in second.printed
            assert "oas_" not in second.printed
            assert (await second.token(http, credentials)).status_code == 200
            assert len(list((tmp_path / "mail").glob("*.eml"))) == 1, "no mail is sent twice"


async def test_without_keys_everything_runs_and_says_the_sentence(tmp_path: Path) -> None:
    """Keys are the administrator's business: nothing else breaks, and no restart is needed."""
    (tmp_path / "oauth_private.key").write_text("not a key\n")
    (tmp_path / "oauth_private.key").chmod(0o600)
    async with httpx.AsyncClient() as http, up(tmp_path) as running:
        assert "not ready: keys:" in running.printed
        answer = await running.token(http, credentials_in(running.printed))
        assert answer.status_code == 503
        assert answer.json()["error_description"] == KEYS_MISSING
        registry = f"http://127.0.0.1:{running.ports['registry']}"
        answer = await http.post(f"{registry}/api/applications", json={"name": "CI"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == KEYS_MISSING
        assert (await http.get(f"{registry}/readyz")).status_code == 200

        (tmp_path / "oauth_private.key").unlink()
        await _openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out", tmp_path)
        await _openssl("pkey -pubout -in oauth_private.key -out", tmp_path, "oauth_public.key")

        async def issued() -> str:
            answer = await running.token(http, credentials_in(running.printed))
            assert answer.status_code == 200
            return str(answer.json()["access_token"])

        token = await eventually(issued)

        async def accepted() -> bool:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await http.get(f"{registry}/api/applications", headers=headers)
            return answer.status_code == 200

        assert await eventually(accepted)


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """Before anything is started, and with the option that helps."""
    async with up(tmp_path / "one") as running:
        process, _ = await start(tmp_path / "two", ports=running.ports)
        out, err = await process.communicate()
        assert process.returncode == 1
        assert out == b""
        assert len(err.splitlines()) == 1
        assert str(running.ports["registry"]) in err.decode()
        assert b"--registry-port" in err
        assert not (tmp_path / "two" / "postgres").exists()


async def test_a_second_up_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """Two of them would fight over one database."""
    async with up(tmp_path):
        process, _ = await start(tmp_path)
        _, err = await process.communicate()
        assert process.returncode == 1
        assert len(err.splitlines()) == 1
        assert b"--var" in err


async def test_a_typo_in_the_configuration_is_one_clear_line(tmp_path: Path) -> None:
    """It names the file, the setting and what could have been meant."""
    config = tmp_path / "config.yml"
    config.write_text("token:\n  max_stalenes: 1h\n")
    process, _ = await start(tmp_path, "--config", str(config))
    _, err = await process.communicate()
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    for part in (str(config), "token.max_stalenes", "max_staleness"):
        assert part in err.decode()


async def test_an_address_of_no_broker_is_one_clear_line_before_anything_is_made(
    tmp_path: Path,
) -> None:
    """The passwords of a first start must not be made and then lost."""
    process, _ = await start(tmp_path, "--amqp-url", "localhost")
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert len(err.splitlines()) == 1
    assert b"bus.url: give a URL such as amqp://" in err
    assert not (tmp_path / "postgres").exists()


async def _openssl(command: str, folder: Path, out: str = "oauth_private.key") -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl", *command.split(), out, cwd=folder, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
