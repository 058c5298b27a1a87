"""What lets us in at the mail server: login and certificate, as the configuration gives them."""

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from shared.sections import Smtp
from shared.setting_values import ConfigurationError, FileUnreadable, secret


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password."""

    username: str
    password: str = field(repr=False)

    def without_password(self, text: str) -> str:
        """Return a server's words without the password, also where it repeats our command."""
        password = self.password.encode()
        plain = b"\0" + self.username.encode() + b"\0" + password
        for spelled in (
            base64.b64encode(plain).decode(),
            base64.b64encode(password).decode(),
            self.password,
        ):
            text = text.replace(spelled, "[password]")
        return text


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in: `login` is None without authentication, `tls` without encryption."""

    login: Login | None
    tls: ssl.SSLContext | None


def access_of(settings: Smtp) -> Access:
    """Read what the settings name. Raises ConfigurationError, FileUnreadable among them."""
    tls = None if settings.tls == "none" else _trusting(settings.ca_file)
    return Access(_login_of(settings), tls)


def _login_of(settings: Smtp) -> Login | None:
    if not settings.username:
        return None
    password = secret(settings.password, settings.password_file)
    if not password:
        message = (
            "notifier.smtp.username is set and there is no password; give it in "
            "OAUTHAPPS_NOTIFIER__SMTP__PASSWORD or in the file notifier.smtp.password_file"
        )
        raise ConfigurationError(message)
    return Login(settings.username, password)


def _trusting(authority: Path | None) -> ssl.SSLContext:
    """Return a context that accepts certificates of this authority, or of the system's."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        # What is no certificate is an error of OpenSSL's, whose words name no file.
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        message = (
            f"notifier.smtp.ca_file {authority}: cannot be used ({reason}); "
            "name a PEM file, or null for the system's authorities"
        )
        raise FileUnreadable(message) from None


def unread(settings: Smtp) -> str | None:
    """Return which file cannot be read at the moment and why, None when all can."""
    try:
        _login_of(settings)
        if settings.tls != "none" and settings.ca_file is not None:
            _trusting(settings.ca_file)
    except FileUnreadable as error:
        return str(error)
    return None
