"""Handing a mail to the mail server, and telling apart how that can end."""

import asyncio
import contextlib
import re
import ssl
import unicodedata
from collections.abc import Iterator

import aiosmtplib
import aiosmtplib.protocol

from services.notifier.smtp_access import Login, access_of
from shared.failures import PermanentFailure, TransientFailure
from shared.sections import Smtp
from shared.setting_values import ConfigurationError

QUIT_SECONDS = 0.5
# A mail server that stops says so with this code, whatever the command was (RFC 5321, 3.8).
SERVICE_CLOSING = 421
START_INPUT = 354
_ADDRESS = re.compile(r"[^\s<>@]+@[^\s<>@]+")
# What is looked at of a server's words: they have no limit, and looking for addresses takes time.
WORDS_LIMIT = 2000
# The server wants a login or encryption, whatever the command was (RFC 4954, section 6).
ACCESS_CODES = frozenset({530, 534, 535, 538})
_LEADING_DOT = re.compile(rb"(?m)^\.")
_LOST = (aiosmtplib.SMTPException, OSError, ValueError, EOFError)


class MailDeferred(TransientFailure):
    """The server did not take the mail now: it answered 4xx, or the connection went."""


class MailServerUnavailable(MailDeferred):
    """The server cannot be reached, or does not accept us or our sender: not about the mail."""


class MailRefused(PermanentFailure):
    """The server will never take this mail: it answered 5xx."""


class OutcomeUnknown(TransientFailure):
    """The mail was handed over whole and no answer came; it may have been taken (RFC 1047)."""


class Mailer:
    """One connection, used for one mail after the other and thrown away on any error.

    `in_doubt` stays true when a call was cancelled between the final dot and the answer: then
    nobody knows whether the mail was taken. Login and certificates are read for each connection.
    """

    def __init__(self, settings: Smtp) -> None:
        self._settings = settings
        self._client: aiosmtplib.SMTP | None = None
        self.in_doubt = False

    async def deliver(self, content: bytes, *, sender: str, recipient: str) -> None:
        """Return once the server has taken the mail, given with its line ends.

        Raises MailDeferred, MailServerUnavailable, MailRefused, OutcomeUnknown.
        """
        self.in_doubt = False
        try:
            client = await self._begin(sender)
            with _as_failures():
                await client.rcpt(recipient)
            await self._hand_over(client, content)
        except BaseException:
            self._drop()
            raise

    async def _begin(self, sender: str) -> aiosmtplib.SMTP:
        """Return a connection on which the mail has begun."""
        kept = self._client
        if kept is not None and kept.is_connected:
            try:
                await kept.mail(sender)
            except aiosmtplib.SMTPResponseException as error:
                if error.code != SERVICE_CLOSING:
                    raise _sender_refused(error) from None
            except _LOST:
                pass
            else:
                return kept
        # A connection that was closed while it rested says nothing about the mail: a new one.
        self._drop()
        client = await self._connected()
        with _as_failures():
            try:
                await client.mail(sender)
            except aiosmtplib.SMTPResponseException as error:
                raise _sender_refused(error) from None
        return client

    async def _connected(self) -> aiosmtplib.SMTP:
        settings = self._settings
        try:
            access = access_of(settings)
        except ConfigurationError as error:
            raise MailServerUnavailable(str(error)) from None
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=settings.timeout.total_seconds(),
            use_tls=settings.tls == "tls",
            # Below, so that a server without it can be told from one that is away.
            start_tls=False,
            tls_context=access.tls,
        )
        self._client = client
        login = access.login
        try:
            await client.connect()
            if settings.tls == "starttls":
                await _encrypt(client)
            if login is not None:
                await _log_in(client, login)
        except aiosmtplib.SMTPResponseException as error:
            # A 5xx here is about us and our configuration, never about the mail.
            words = f"{error.code} {error.message}"
            if login is not None:
                words = login.without_password(words)
            message = f"mail server does not accept us: {presentable(words)}"
            raise MailServerUnavailable(message) from None
        except _LOST as error:
            raise MailServerUnavailable(_why_not_reached(error)) from None
        return client

    async def _hand_over(self, client: aiosmtplib.SMTP, content: bytes) -> None:
        with _as_failures():
            # Not `client.data`: it cannot tell a loss before the mail from one after it.
            answer = await client.execute_command(b"DATA")
            if answer.code != START_INPUT:
                raise _judged(answer.code, answer.message)
            if client.protocol is None:
                raise aiosmtplib.SMTPServerDisconnected("Connection lost")
            client.protocol.write(_dotted(content))
        self.in_doubt = True
        try:
            answer = await self._answer(client.protocol)
        except _LOST as error:
            self.in_doubt = False
            message = f"no usable answer after the mail was handed over ({type(error).__name__})"
            raise OutcomeUnknown(message) from None
        self.in_doubt = False
        if not 200 <= answer.code < 300:
            raise _judged(answer.code, answer.message)

    async def _answer(self, protocol: aiosmtplib.protocol.SMTPProtocol) -> aiosmtplib.SMTPResponse:
        """Return the answer to the final dot; for this one the server may take its time."""
        return await protocol.read_response(timeout=self._settings.answer_timeout.total_seconds())

    async def close(self) -> None:
        """Take leave of the server, if it answers at once."""
        client = self._client
        if client is not None and client.is_connected:
            with contextlib.suppress(*_LOST):
                async with asyncio.timeout(QUIT_SECONDS):
                    await client.quit()
        self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


async def _encrypt(client: aiosmtplib.SMTP) -> None:
    """Go on in TLS, or not at all: whoever can alter the traffic can also hide the offer."""
    await client.ehlo()
    if not client.supports_extension("starttls"):
        message = "mail server does not offer STARTTLS; check notifier.smtp.tls and .port"
        raise MailServerUnavailable(message)
    await client.starttls()


async def _log_in(client: aiosmtplib.SMTP, login: Login) -> None:
    await client.ehlo()
    if not client.supports_extension("auth"):
        # Many offer it in TLS only.
        message = "mail server offers no login; check notifier.smtp.tls, .port and .username"
        raise MailServerUnavailable(message)
    await client.login(login.username, login.password)


def _why_not_reached(error: BaseException) -> str:
    """Return what an operator can act on; the library wraps the network's errors in its own."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"mail server's certificate is not accepted ({cause.verify_message}); "
            "check notifier.smtp.host and .ca_file"
        )
    if isinstance(cause, ssl.SSLError):
        return f"no TLS with the mail server ({cause.reason}); check notifier.smtp.tls and .port"
    return f"mail server cannot be reached ({type(cause).__name__})"


@contextlib.contextmanager
def _as_failures() -> Iterator[None]:
    """Turn what the library raises, before the mail is handed over, into ours."""
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        first = error.recipients[0]
        raise _judged(first.code, first.message) from None
    except aiosmtplib.SMTPResponseException as error:
        raise _judged(error.code, error.message) from None
    except ValueError:
        # Also what the library does not put on the wire: it could be read as a second command.
        raise MailRefused("the address cannot be used in SMTP") from None
    except (aiosmtplib.SMTPException, OSError, EOFError) as error:
        message = f"connection to the mail server lost ({type(error).__name__})"
        raise MailDeferred(message) from None


def _sender_refused(error: aiosmtplib.SMTPResponseException) -> MailServerUnavailable:
    """Return what a reply to MAIL FROM means: the server knows nothing of the mail yet but whose.

    So it is about us, also when it is a 5xx: mails wait until sender or server are put right.
    """
    reply = presentable(f"{error.code} {error.message}")
    return MailServerUnavailable(f"mail server does not take mail from us: {reply}")


def _judged(code: int, words: str) -> MailDeferred | MailRefused:
    """Return what a reply means for the mail (RFC 5321, section 4.2.1)."""
    reply = presentable(f"{code} {words}")
    if code in ACCESS_CODES:
        return MailServerUnavailable(f"mail server does not accept us: {reply}")
    return MailRefused(reply) if 500 <= code < 600 else MailDeferred(reply)


def _dotted(content: bytes) -> bytes:
    """Return the mail as it follows DATA, with the final dot (RFC 5321, section 4.5.2)."""
    stuffed = _LEADING_DOT.sub(b"..", content)
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def presentable(words: str) -> str:
    """Return a server's words on one line, without controls and the addresses that servers repeat.

    Of many words the first.
    """
    head, rest = words[:WORDS_LIMIT], words[WORDS_LIMIT:]
    shown = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in head)
    kept = shown.split()
    if rest:
        # The last may be half an address.
        kept = [*kept[:-1], "…"]
    return _ADDRESS.sub("[address]", " ".join(kept))
