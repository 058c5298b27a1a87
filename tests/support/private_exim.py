"""Exim from the Debian package, private: a configuration, a queue and a port of its own."""

import grp
import os
import pwd
import subprocess
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.eventually import eventually
from tests.support.ports import answers, free_port
from tests.support.private_server import require_running, started

SERVER = Path("/usr/sbin/exim4")
START_SECONDS = 20.0
# The account that the package makes; Exim delivers nothing as root.
ACCOUNT = "Debian-exim"
_CONFIGURATION = """
primary_hostname = mail.example
exim_user = {user}
exim_group = {group}
never_users =
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
smtp_accept_max = 50
acl_smtp_rcpt = rcpt
keep_environment =

begin acl
rcpt:
  require message = 5.1.1 nobody of that name lives here
          domains = {domain}
          verify  = recipient
  accept

begin routers
people:
  driver = accept
  local_parts = {people}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = {home}/maildir
  maildir_format
  user = {user}
  group = {group}
"""


class PrivateExim:
    """Takes mail for some people of one domain, and keeps it in a maildir."""

    def __init__(self, *people: str, domain: str = "example.com") -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="exim-")
        self._home = Path(self._folder.name)
        self._server: subprocess.Popen[bytes] | None = None
        root = os.geteuid() == 0
        user = pwd.getpwnam(ACCOUNT) if root else pwd.getpwuid(os.geteuid())
        for folder in (self._home, *(self._home / one for one in ("spool", "log", "maildir"))):
            folder.mkdir(exist_ok=True)
            if root:
                os.chown(folder, user.pw_uid, user.pw_gid)
        self._configuration = self._home / "exim.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                user=user.pw_name,
                group=grp.getgrgid(user.pw_gid).gr_name,
                home=self._home,
                port=self.port,
                domain=domain,
                people=" : ".join(people),
            )
        )

    @staticmethod
    def is_installed() -> bool:
        """Tell whether this machine has the package."""
        return SERVER.exists()

    @property
    def taken(self) -> list[bytes]:
        """The mails that were delivered, as they lie there."""
        return [one.read_bytes() for one in sorted((self._home / "maildir" / "new").glob("*"))]

    @property
    def messages(self) -> list[EmailMessage]:
        """The same, parsed."""
        return [message_from_bytes(one, policy=policy.default) for one in self.taken]

    async def __aenter__(self) -> Self:
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        self._server = started(
            *(SERVER, "-C", self._configuration, "-bdf"), home=self._home, environment=environment
        )
        try:
            await eventually(self._is_ready, START_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    async def _is_ready(self) -> bool:
        assert self._server is not None
        require_running(self._server, self._home)
        return await answers(self.port)

    def _end(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._folder.cleanup()
