"""A mail server that keeps what it takes, and fails as it is told."""

import asyncio
import ssl
from base64 import b64decode
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import Enum, auto
from types import TracebackType
from typing import Any, Literal, Self

from aiosmtpd.smtp import MISSING, SMTP

Step = Literal["AUTH", "MAIL", "RCPT", "DATA"]
MECHANISMS = frozenset({"LOGIN", "PLAIN"})


class Drop(Enum):
    """When a connection breaks off, seen from the 250 that answers the final dot."""

    BEFORE_ANSWER = auto()
    AFTER_ANSWER = auto()


@dataclass(frozen=True, slots=True)
class TakenMail:
    """A mail whose final dot arrived, answered or not; how, and from whom if that was proved."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class SmtpServer:
    """Listens on a free port of loopback between `__aenter__` and `__aexit__`.

    `starttls` makes it offer that, `tls` makes it speak nothing else. With `users`, names and
    passwords, it takes mail only from them; it offers the mechanisms where there is encryption.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
        mechanisms: Collection[str] = MECHANISMS,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self.taken: list[TakenMail] = []
        self.connections = 0
        self.logins: list[str] = []
        self._starttls = starttls
        self._tls = tls
        self._users = users or {}
        self._mechanisms = frozenset(mechanisms)
        self._answers: dict[Step, deque[str]] = {
            "AUTH": deque(), "MAIL": deque(), "RCPT": deque(), "DATA": deque()
        }  # fmt: skip
        self._drops: deque[Drop] = deque()
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._open: set[SMTP] = set()
        self._server: asyncio.Server | None = None

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

    async def start(self) -> None:
        """Listen, also again after `stop`, then on the same port."""
        self._server = await asyncio.get_running_loop().create_server(
            self._greet, self.host, self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._open:
            _cut(connection)
        self._open.clear()
        # The transports close in the loop's next turn.
        await asyncio.sleep(0)

    def answer(self, step: Step, reply: str, *, times: int = 1) -> None:
        """Answer the next so many of a step with a reply such as `451 4.3.0 later`.

        `DATA` is the answer to the final dot: the mail is then among `taken`, though refused.
        """
        self._answers[step].extend([reply] * times)

    def drop(self, when: Drop) -> None:
        """Break off the next connection that sends a final dot."""
        self._drops.append(when)

    def hold(self) -> None:
        """Say nothing after a final dot until `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        """Answer those who wait, and from now on at once."""
        self._may_answer.set()

    def _greet(self) -> SMTP:
        self.connections += 1
        connection = SMTP(
            self,
            enable_SMTPUTF8=True,
            ident="test",
            tls_context=self._starttls,
            auth_require_tls=self._tls is None,
            auth_exclude_mechanism=MECHANISMS - self._mechanisms,
        )
        self._open.add(connection)
        return connection

    def _next(self, step: Step) -> str | None:
        waiting = self._answers[step]
        return waiting.popleft() if waiting else None

    async def handle_AUTH(  # noqa: N802 - the name aiosmtpd calls, as below
        self, server: SMTP, session: Any, _envelope: Any, words: list[str]
    ) -> str:
        mechanism, first = words
        self.logins.append(mechanism)
        reply = self._next("AUTH")
        if reply is not None:
            return reply
        if mechanism == "PLAIN":
            _, user, password = b64decode(first).split(b"\0")
        else:
            user, answer = b64decode(first), await server.challenge_auth("Password:")
            password = b"" if answer is MISSING else answer
        if self._users.get(user.decode()) != password.decode():
            return "535 5.7.8 wrong user name or password"
        session.authenticated, session.auth_data = True, user.decode()
        return "235 2.7.0 welcome"

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self._users and not session.authenticated:
            return "530 5.7.0 who are you"
        reply = self._next("MAIL")
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 sender taken"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        reply = self._next("RCPT")
        if reply is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply or "250 2.1.5 recipient taken"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        self.taken.append(
            TakenMail(
                envelope.mail_from,
                tuple(envelope.rcpt_tos),
                bytes(envelope.content),
                encrypted=self._tls is not None or session.ssl is not None,
                user=session.auth_data if session.authenticated else None,
            )
        )
        await self._may_answer.wait()
        drop = self._drops.popleft() if self._drops else None
        reply = self._next("DATA") or "250 2.0.0 taken"
        if drop is Drop.AFTER_ANSWER:
            await server.push(reply)
        if drop is not None:
            _cut(server, flush=drop is Drop.AFTER_ANSWER)
        return reply


def _cut(connection: SMTP, *, flush: bool = False) -> None:
    transport = connection.transport
    if not isinstance(transport, asyncio.WriteTransport):
        return
    if flush:
        transport.close()
    else:
        transport.abort()
