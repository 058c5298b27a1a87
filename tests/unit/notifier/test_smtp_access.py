"""Login and certificate as the configuration gives them."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from services.notifier.smtp_access import Login, access_of
from shared.sections import Smtp
from shared.setting_values import ConfigurationError


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        access_of(Smtp.model_validate(values))
    return str(refused.value)


def test_nothing_is_needed_where_nothing_is_set() -> None:
    """The mail catcher of `up` asks for nothing."""
    access = access_of(Smtp())

    assert (access.login, access.tls) == (None, None)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_certificates_are_always_checked(tls: str) -> None:
    """There is no setting against it: a mail server of one's own has an authority of one's own."""
    context = access_of(Smtp.model_validate({"tls": tls})).tls

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("password", [{}, {"password": ""}])
def test_a_user_without_a_password_is_refused_with_the_remedy(password: dict[str, str]) -> None:
    """An empty one would be refused by the server, mail by mail, for days."""
    reason = refusal(username="u", **password)

    assert "notifier.smtp.username" in reason
    assert "OAUTHAPPS_NOTIFIER__SMTP__PASSWORD" in reason


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Mounted at the wrong place."""
    assert "no-such" in refusal(username="u", password_file=tmp_path / "no-such")


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Likewise."""
    reason = refusal(tls="tls", ca_file=tmp_path / "no-such.pem")

    assert "notifier.smtp.ca_file" in reason
    assert "no-such.pem: cannot be used (No such file or directory)" in reason


@pytest.mark.parametrize("content", ["", "no certificate\n"])
def test_an_authority_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    """The key instead of the certificate, or a file that was cut short."""
    file = tmp_path / "authority.pem"
    file.write_text(content)

    assert "no certificate in it" in refusal(tls="starttls", ca_file=file)


def test_a_login_does_not_show_its_password() -> None:
    """Whoever logs it, logs the user."""
    assert repr(Login("u", "p4ssword")) == "Login(username='u')"
