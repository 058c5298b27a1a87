"""`oauthapps status` of a real system, whole and with parts away."""

import asyncio
import json
import os
import pty
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.system import ROOT, System
from tests.e2e.test_faults import proxy_for, through
from tests.support.command_line import run_command
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer


async def look(system: System) -> tuple[int, Any]:
    """Return the exit status and what was found."""
    done = await run_command(("status", "--json"), system.environment)
    assert not done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_the_whole_system_is_shown_and_what_is_wrong_with_it(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> None:
    """Each part that goes away is told as what it is, and the exit status says how bad it is."""
    async with (
        proxy_for(amqp_url) as broker,
        System(
            tmp_path, database_url, smtp_port=smtp.port, amqp_url=through(broker, amqp_url)
        ) as system,
    ):

        async def is_well() -> bool:
            code, found = await look(system)
            assert code == 0, found["troubles"]
            followed = [one["connected"] for one in found["subscribers"]]
            return followed == [True, True] and bool(found["projections"][0]["clients"])

        async def tells(code: int, *words: str) -> bool:
            status, found = await look(system)
            said = " ".join(one["what"] for one in found["troubles"])
            assert status == code, found["troubles"]
            return all(word in said for word in words)

        await system.create("CI")
        await eventually(is_well, 20)

        await broker.cut()
        await eventually(lambda: tells(1, "RabbitMQ at 127.0.0.1"), 20)
        await broker.release()
        await eventually(is_well, 20)

        await smtp.stop()
        await system.create("nobody is told of")
        await eventually(lambda: tells(1, "smtp"), 20)

        await system.token.kill()
        assert await tells(3, f"token 127.0.0.1:{system.token.port}: cannot be reached")
        shown = await run_command(("status",), system.environment)
        assert shown.returncode == 3
        assert "\x1b" not in shown.stdout
        assert [line for line in shown.stdout.splitlines() if line.endswith(" ")] == []


async def test_watching_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    """On a terminal, with colours; what was seen last stays, and there is no traceback."""
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "--var", str(tmp_path), "status", "--watch", "0.1"),
        cwd=ROOT,
        env={**os.environ, "OAUTHAPPS_CONFIG": str(ROOT / "config.yml"), "TERM": "xterm"}
        | {f"OAUTHAPPS_{one}__PORT": "1" for one in ("REGISTRY", "TOKEN", "NOTIFIER")},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    os.set_blocking(leader, False)
    printed = bytearray()

    def has_looked(times: int) -> bool:
        # Nothing yet; or, at its end, nobody at the other side.
        with suppress(OSError):
            printed.extend(os.read(leader, 65536))
        return printed.count(b"oauthapps") >= times

    try:
        await eventually(lambda: has_looked(3), 30)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 3
        has_looked(0)
    finally:
        os.close(leader)
        if process.returncode is None:
            process.kill()
    assert b"\x1b[1;31mdown" in printed
    assert b"Traceback" not in printed
