"""RabbitMQ from the Debian package, private: it shares nothing with the machine but the files."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.eventually import eventually
from tests.support.ports import answers, free_port
from tests.support.private_server import require_running, started

# The package's wrapper in /usr/sbin wants root, and then another user.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
USER = "guest"
# Evaluates the lines of its input beside the broker's node N, and answers each with a line.
CALLER = """
Loop = fun Again() ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            Bindings = erl_eval:add_binding('N', N, erl_eval:new_bindings()),
            {value, Value, _} = erl_eval:exprs(Expressions, Bindings),
            io:format("~0p~n", [Value]),
            Again()
    end
end, Loop().
"""
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


class PrivateBroker:
    """A RabbitMQ with node name, port mapper, cookie, data and ports of its own.

    Stopped or killed, it can be started again, on the same ports and with its data, until `close`.
    """

    def __init__(self, definitions: Path | None = None) -> None:
        """Take users and permissions from a file, if there is one; then there is no other user."""
        self._home = Path(tempfile.mkdtemp(prefix="broker-"))
        self._node = f"oauthapps-{secrets.token_hex(4)}@localhost"
        self._port, self._distribution_port, self._mapper_port = (free_port() for _ in range(3))
        self._mapper: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._caller: subprocess.Popen[str] | None = None
        self._configure(definitions)

    @staticmethod
    def is_installed() -> bool:
        """Tell whether this machine has the package."""
        return SERVER.exists() and shutil.which("epmd") is not None

    @property
    def url(self) -> str:
        """URL of the default virtual host."""
        return self.url_of("/")

    def url_as(self, user: str, password: str) -> str:
        """URL of the default virtual host for somebody else."""
        return self.url.replace(f"//{USER}:{USER}@", f"//{user}:{password}@")

    def url_of(self, vhost: str) -> str:
        """URL of a virtual host."""
        path = "%2F" if vhost == "/" else vhost
        return f"amqp://{USER}:{USER}@127.0.0.1:{self._port}/{path}"

    @property
    def control(self) -> dict[str, str]:
        """What `rabbitmqctl`, which lies beside the server, has to be told to find it."""
        told = ("HOME", "ERL_EPMD_PORT", "RABBITMQ_NODENAME")
        return {name: self._environment()[name] for name in told}

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start it, and return once it talks AMQP. Raises AssertionError when it does not."""
        if self._mapper is None:
            self._mapper = self._run("epmd", "-port", str(self._mapper_port))
            await eventually(lambda: answers(self._mapper_port))
        self._server = self._run(str(SERVER))
        await eventually(self._is_ready, START_SECONDS)

    async def stop(self) -> None:
        """End it as an operator does: clients are told."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash does."""
        await self._end(signal.SIGKILL)

    async def close(self) -> None:
        """End it for good, and remove what it left."""
        await self.kill()
        if self._caller is not None:
            self._caller.communicate()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    async def add_vhost(self, name: str) -> str:
        """Make a virtual host and return its URL."""
        await self._call(f'rpc:call(N, rabbit_vhost, add, [<<"{name}">>, <<"tests">>])')
        await self._call(
            f"rpc:call(N, rabbit_auth_backend_internal, set_permissions,"
            f' [<<"{USER}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>])'
        )
        return self.url_of(name)

    async def add_user(self, name: str, *, configure: str, write: str, read: str) -> str:
        """Make a user of the default virtual host with these permissions; return its URL."""
        password = secrets.token_hex(8)
        user, vhost, by = f'<<"{name}">>', '<<"/">>', '<<"tests">>'
        escaped = (one.replace("\\", "\\\\") for one in (configure, write, read))
        permissions = ", ".join(f'<<"{one}">>' for one in escaped)
        await self._call(
            f"ok = rpc:call(N, rabbit_auth_backend_internal, add_user,"
            f' [{user}, <<"{password}">>, {by}]),'
            f"ok = rpc:call(N, rabbit_auth_backend_internal, set_permissions,"
            f" [{user}, {vhost}, {permissions}, {by}])"
        )
        return self.url_as(name, password)

    async def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it; its connections are closed."""
        await self._call(f'rpc:call(N, rabbit_vhost, delete, [<<"{name}">>, <<"tests">>]), ok')

    async def _call(self, expression: str) -> None:
        """Evaluate an expression; raise AssertionError unless it gives `ok`.

        By one process for all of them: `rabbitmqctl` takes a second, an `erl` each time a third.
        """
        said = await asyncio.to_thread(self._answer_of, expression)
        assert said == "ok\n", said

    def _answer_of(self, expression: str) -> str:
        if self._caller is None:
            self._caller = subprocess.Popen(
                (
                    *("erl", "-boot", "start_clean", "-noshell", "-hidden"),
                    *("-sname", f"caller-{secrets.token_hex(4)}@localhost"),
                    *("-eval", f"N = '{self._node}', {CALLER}"),
                ),
                env=self._environment(),
                # Where a crash leaves its dump.
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self._caller.stdin is not None
        assert self._caller.stdout is not None
        self._caller.stdin.write(f"{expression}.\n")
        self._caller.stdin.flush()
        return self._caller.stdout.readline()

    def _configure(self, definitions: Path | None) -> None:
        for name in ("env.conf", "advanced.config"):
            (self._home / name).write_text("[].\n" if name.endswith("config") else "")
        (self._home / "plugins").write_text("[].\n")
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "disk_free_limit.absolute = 10MB\n"
            "log.file.level = warning\n"
            + (f"load_definitions = {definitions}\n" if definitions else "")
        )
        cookie = self._home / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # The script then becomes the server instead of watching over it.
            "detached": "1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self._home / "data"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        program = shutil.which(command[0]) or command[0]
        return started(program, *command[1:], home=self._home, environment=self._environment())

    async def _is_ready(self) -> bool:
        assert self._server is not None
        require_running(self._server, self._home)
        return await answers(self._port, AMQP_GREETING)

    async def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(how)
        try:
            await eventually(lambda: server.poll() is not None, STOP_SECONDS)
        finally:
            server.kill()
            server.wait()
