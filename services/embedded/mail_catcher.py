"""A mail server on loopback that keeps every mail as a file."""

import asyncio
import os
import socket
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from shared.logs import get_logger

log = get_logger(__name__)


class MailCatcher:
    """Takes mail on a listening socket and writes `<time>-<number>.eml` for each."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder = folder
        self._listener = listener
        self._numbers = count(1)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, enable_SMTPUTF8=True, ident="oauthapps mail catcher"),
            sock=self._listener,
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

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Answer 250 once the mail is in its file."""
        try:
            self._keep(envelope)
        except OSError as error:
            log.warning("mail not kept", reason=error.strerror)
            return "451 4.3.0 cannot keep the mail just now"
        return "250 2.0.0 kept"

    def _keep(self, envelope: Any) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{next(self._numbers):04d}"
        head = f"X-Envelope-From: {envelope.mail_from}\r\n" + "".join(
            f"X-Envelope-To: {one}\r\n" for one in envelope.rcpt_tos
        )
        draft = self._folder / f".{name}"
        with draft.open("wb") as file:
            file.write(head.encode() + envelope.original_content)
            file.flush()
            os.fsync(file.fileno())
        # Seen whole or not at all.
        draft.rename(self._folder / f"{name}.eml")
