"""A mail server on loopback that keeps every mail as a file."""

import asyncio
import os
import secrets
import socket
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from shared.logs import get_logger
from shared.recurring import Recurring

log = get_logger(__name__)

# A bare CR gets through in an address, and would begin a header of the sender's own.
_LINE_ENDS = bytes.maketrans(b"\r\n", b"??")


class MailCatcher:
    """Takes mail on a listening socket and writes `<UTC time>-<number>-<random>.eml` for each.

    A file holds the mail as it was received, below `X-Envelope-From` and one `X-Envelope-To` for
    each recipient.
    """

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder = folder
        self._listener = listener
        self._numbers = count(1)
        self._sessions: set[_Conversation] = set()
        self._server: asyncio.Server | None = None
        # The notifier sends each of them again until it can be.
        self._unkept = Recurring(log, "mail not kept", over="mail is kept again")

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Conversation(self, self._sessions), sock=self._listener
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for conversation in self._sessions.copy():
            conversation.cut()

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Answer 250 once the mail is in its file, 451 when the disk does not take it."""
        try:
            # In a thread: the services share this loop, and a disk may take its time.
            await asyncio.to_thread(self._keep, envelope)
        except OSError as error:
            self._unkept.say(f"{self._folder}: {error.strerror}")
            return "451 4.3.0 cannot keep the mail just now"
        self._unkept.over()
        return "250 2.0.0 kept"

    def _keep(self, envelope: Any) -> None:
        # Random, since another catcher may write here, and the clock may be set back.
        unique = f"{next(self._numbers):04d}-{secrets.token_hex(4)}"
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{unique}"
        draft = self._folder / f".{name}"
        try:
            with draft.open("xb") as file:
                file.write(_head(envelope) + envelope.original_content)
                file.flush()
                os.fsync(file.fileno())
            # Seen whole or not at all.
            draft.rename(self._folder / f"{name}.eml")
        except OSError:
            _remove(draft)
            raise


class _Conversation(SMTP):
    """One client, known to the catcher for as long as it is connected."""

    def __init__(self, catcher: MailCatcher, known: "set[_Conversation]") -> None:
        super().__init__(catcher, enable_SMTPUTF8=True, ident="oauthapps mail catcher")
        self._known = known

    def cut(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._known.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._known.discard(self)
        super().connection_lost(error)


def _head(envelope: Any) -> bytes:
    lines = [("From", envelope.mail_from), *(("To", one) for one in envelope.rcpt_tos)]
    return b"".join(
        # Bytes that are no UTF-8 came in as surrogates, and go out as the bytes they were.
        b"X-Envelope-%s: %s\r\n"
        % (name.encode(), address.encode(errors="surrogateescape").translate(_LINE_ENDS))
        for name, address in lines
    )


def _remove(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except OSError as error:
        # The first failure is the one to tell; this one leaves a hidden file at most.
        log.debug("draft not removed", reason=error.strerror)
