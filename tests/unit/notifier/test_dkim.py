"""The signature of a mail, verified by another implementation than the one that made it."""

import base64
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from services.notifier.dkim import signer_of
from services.notifier.headers import WIRE
from services.notifier.outgoing import Outgoing
from shared.sections import Dkim, Notifier
from shared.setting_values import ConfigurationError

NAME = b"mail._domainkey.example.com."
PRIVATE = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def written(path: Path, key: Any, mode: int = 0o600) -> Path:
    """Write a key file."""
    path.write_bytes(key if isinstance(key, bytes) else key.private_bytes(*PRIVATE))
    path.chmod(mode)
    return path


def record_of(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """Return what stands in the DNS."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind, raw = (
            "rsa",
            public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )
    else:
        kind, raw = "ed25519", public.public_bytes_raw()
    return f"v=DKIM1; k={kind}; p={base64.b64encode(raw).decode()}".encode()


def verified(content: bytes, key: Any) -> bool:
    """Tell whether the other implementation accepts a mail."""
    records = {NAME: record_of(key)}
    good: bool = dkim.verify(content, dnsfunc=lambda name, **_: records.get(name))
    return good


def outgoing(path: Path, **dkim: Any) -> Outgoing:
    settings = {"selector": "mail", "private_key_file": path, **dkim}
    return Outgoing(
        Notifier.model_validate({"sender_address": "apps@example.com", "dkim": settings})
    )


def mail(subject: str = "Grüße, 你好", text: str = "One  two \t three \n\n.\n\n\n") -> EmailMessage:
    message = EmailMessage(policy=WIRE)
    message["From"] = "Appś <apps@example.com>"
    message["To"] = "Ada <ada@example.com>"
    message["Subject"] = subject
    message["Message-ID"] = "<a@example.com>"
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(f"<p>{text}</p>", subtype="html", cte="quoted-printable")
    return message


@pytest.mark.parametrize("key", [RSA, ED25519])
@pytest.mark.parametrize("text", ["One  two \t three \n\n.\n\n\n", "", "x" * 5000, "\n\n"])
def test_a_signed_mail_is_verified_by_others(tmp_path: Path, key: Any, text: str) -> None:
    """Both algorithms there are, any content."""
    content = outgoing(written(tmp_path / "key", key)).content_of(mail(text=text))

    assert content.startswith(b"DKIM-Signature: ")
    assert verified(content, key)
    assert all(len(line) <= 78 for line in content.partition(b"\r\n\r\n")[0].split(b"\r\n"))


@pytest.mark.parametrize(
    ("was", "will"),
    [
        (b"Ada", b"Eve"),
        (b"One", b"Two"),
        (b"\r\nTo: ", b"\r\nSubject: another\r\nTo: "),
        (b"\r\nTo: ", b"\r\nFrom: eve@example.com\r\nTo: "),
        (b"List-Id: <notifications.example.com>", b"List-Id: <others.example.com>"),
    ],
)
def test_what_is_changed_on_the_way_is_found_out(tmp_path: Path, was: bytes, will: bytes) -> None:
    """Also a second header beside one that was signed."""
    content = outgoing(written(tmp_path / "key", ED25519)).content_of(mail())
    changed = content.replace(was, will, 1)

    assert changed != content
    assert not verified(changed, ED25519)


def test_a_server_may_fold_anew_and_strip_spaces(tmp_path: Path) -> None:
    """Relaxed: what relays do to a mail in passing is no forgery."""
    content = outgoing(written(tmp_path / "key", RSA)).content_of(mail())
    passed = content.replace(b"\r\nTo: Ada ", b"\r\nto:\r\n  Ada\t")

    assert passed != content
    assert verified(passed + b"\r\n\r\n", RSA)


def test_without_a_selector_nothing_is_signed() -> None:
    """Nor is a list made up: it is the sender's domain that names it."""
    content = Outgoing(Notifier(sender_address="apps@example.com")).content_of(mail())

    assert b"DKIM-Signature" not in content
    assert b"\r\nList-Id: <notifications.example.com>\r\n" in content
    named = Outgoing(Notifier(list_id="apps.example.org")).content_of(mail())
    assert b"\r\nList-Id: <apps.example.org>\r\n" in named


def test_the_domain_may_be_another_than_the_senders(tmp_path: Path) -> None:
    """The organization's, where the sender's is below it."""
    path = written(tmp_path / "key", ED25519)
    content = outgoing(path, domain="mail.example.com").content_of(mail())

    assert re.search(rb"d=mail\.example\.com;", content)


@pytest.mark.parametrize(
    ("key", "mode", "words"),
    [
        (RSA, 0o644, "chmod 600"),
        (b"nothing", 0o600, "no private key in it"),
        (rsa.generate_private_key(65537, 1024), 0o600, "RSA of 2048 bits"),  # noqa: S505 - refused
        (ec.generate_private_key(ec.SECP256R1()), 0o600, "or Ed25519"),
        (
            RSA.private_bytes(*PRIVATE[:2], serialization.BestAvailableEncryption(b"x")),
            0o600,
            "without a passphrase",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_named_at_the_start(
    tmp_path: Path, key: Any, mode: int, words: str
) -> None:
    """One line for the operator, and nothing of the key in it."""
    path = written(tmp_path / "key", key, mode)

    with pytest.raises(ConfigurationError, match=words) as refused:
        outgoing(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong mount, or a selector alone."""
    with pytest.raises(ConfigurationError, match="No such file"):
        signer_of(Dkim(selector="s", private_key_file=tmp_path / "none"), "a@example.com")
    with pytest.raises(ConfigurationError, match=r"notifier\.dkim\.private_key_file"):
        signer_of(Dkim(selector="s"), "a@example.com")
