"""What a mail looks like on the wire."""

import html
import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifier import samples
from services.notifier.domain import Fact, Rule, one_line
from services.notifier.library import CannotRender
from services.notifier.rendering import Letterhead, Parts, require_sender
from shared.feed_client import Recipient
from tests.unit.notifier.factories import (
    CLIENT_ID,
    NOON,
    OWNER,
    REGISTRY,
    RULES,
    application_created,
    application_deactivated,
    application_deleted,
    context_for,
    first_use,
    library,
    recipient,
    renderer,
    secret_expiring,
    secret_rotated,
)

MESSAGE_ID = "<abc@mail.example>"
ADMINISTRATOR = "55555555-5555-4555-8555-555555555555"
NAMES = {OWNER: "Ada", ADMINISTRATOR: "Grace"}
LOCALES = ("en", "de", "fr", "uk")
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda one: one.name)
every_locale = pytest.mark.parametrize("locale", LOCALES)


def render(
    *,
    name: str = "CI",
    to: Recipient | None = None,
    sender_name: str = "OAuth Applications",
    template: str = "application_created",
    fact: Fact | None = None,
    actor: str = "cli:test",
) -> EmailMessage:
    """Return a mail as its reader's program parses it from the bytes."""
    sent = renderer(sender_name=sender_name).render(
        template,
        context_for(fact or application_created(name=name), actor=actor),
        to or recipient(),
        message_id=MESSAGE_ID,
        date=NOON,
        names=NAMES,
    )
    received = message_from_bytes(sent.as_bytes(), policy=policy.default)
    assert isinstance(received, EmailMessage)
    return received


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body(preferencelist=(kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def words(text: str) -> list[str]:
    return re.sub(r"[^\w]+", " ", text).split()


def test_the_mail_says_what_the_original_says() -> None:
    """Users of the product know these sentences."""
    mail = render(name="Build server", to=recipient(name="Ada Lovelace"))
    text = body(mail, "plain")

    assert mail["Subject"] == "OAuth application added to your account"
    assert "Hello Ada Lovelace," in text
    assert "Build server" in text
    assert "This application is authorized to use Web API." in text
    assert "Please contact the administrator if you are not aware" in text


def test_the_mail_says_which_application_when_where_and_what_to_do() -> None:
    """A reader who never heard of it must be able to tell the administrator which one it is."""
    created = application_created(name="Build server")
    text = body(render(fact=created), "plain")

    assert f"    Build server\n    Client ID: {CLIENT_ID}\n    When: May 1, 2026, 12:00" in text
    assert f"    {REGISTRY}/applications/{created.application_id}\n" in text
    assert "there is nothing to do" in text
    assert "deactivate it" in text


def test_the_signature_stands_apart() -> None:
    """Mail programs grey out what follows `-- `, which must be a line of its own (RFC 3676)."""
    assert "\n\n-- \nOAuth Applications\n" in body(render(), "plain")


@every_rule
@every_locale
def test_lines_of_text_fit_a_terminal(rule: Rule, locale: str) -> None:
    """All but those with a name or an address, which are as long as those are."""
    lines = [line for mail in samples_of(rule, locale) for line in mail.text.splitlines()]

    assert max(len(line) for line in lines if "://" not in line) <= 78


@given(name=st.text(min_size=1, max_size=255) | st.text('ab ,;:<>@()[]."\\=?', max_size=255))
@example(name="Ada, " * 30)
@example(name="Ада Лавлейс, графиня " * 6)
@example(name="=?utf-8?q?Bob_=3Cbob=40example=2Eorg=3E=2C?=")
@example(name="漢" * 255)
def test_a_name_of_any_kind_and_length_stays_one_name(name: str) -> None:
    """A comma that has lost its quotes would begin another address, of the name's choice."""
    context = context_for(application_created(name=name))
    message = renderer(sender_name=name).render(
        "application_created", context, recipient(name=name), message_id=MESSAGE_ID, date=NOON
    )
    head = message.as_bytes().partition(b"\r\n\r\n")[0].decode("ascii")
    unfolded = re.sub(r"\r\n(?= )", "", head).split("\r\n")
    (to,) = (one.removeprefix("To: ") for one in unfolded if one.startswith("To: "))
    written, _, place = to.rpartition("<" if "<" in to else " ")

    assert place.removesuffix(">") == "ada@example.com"
    assert max(map(len, head.split("\r\n"))) <= 78
    assert [address for _, address in getaddresses([to])] == ["ada@example.com"]
    assert display_name(written.strip()) == one_line(name)


def display_name(written: str) -> str:
    """Return a name from a header as RFC 5322 and RFC 2047 have it read."""
    quoted = re.fullmatch(r'"(.*)"', written)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    return str(make_header(decode_header(written)))


def samples_of(rule: Rule, locale: str) -> list[Parts]:
    """Return every mail that a rule can come to, for its owner and for somebody else."""
    return [
        renderer().parts(
            rule.template,
            context,
            samples.reader(locale=locale, is_owner=is_owner),
            date=samples.MOMENT,
            names=samples.NAMES,
        )
        for context in samples.CONTEXTS[rule.about]
        for is_owner in (True, False)
    ]


@every_rule
@every_locale
def test_text_and_html_say_the_same(rule: Rule, locale: str) -> None:
    """Readers of plain text are readers, too: all facts, all words, in the same order."""
    for mail in samples_of(rule, locale):
        page = re.sub(r"(?s)<head>.*</head>", "", mail.html)
        # Where a button leads stands behind its words.
        page = re.sub(r'<a href="([^"]*)"[^>]*>(.*?)</a>', r"\2 \1", page)
        shown = html.unescape(re.sub(r"<[^>]+>", " ", page))

        assert words(shown) == words(mail.text)


@every_rule
def test_every_language_has_its_own_words(rule: Rule) -> None:
    """A file that was forgotten would be read in English."""
    mails = {locale: samples_of(rule, locale) for locale in LOCALES}

    assert {parts.locales for locale in LOCALES for parts in mails[locale]} == {
        (locale,) for locale in LOCALES
    }
    assert len({mails[locale][0].subject for locale in LOCALES}) == len(LOCALES)
    assert len({mails[locale][0].text.splitlines()[0] for locale in LOCALES}) == len(LOCALES)


def test_whoever_is_not_the_owner_reads_whose_application_it_is() -> None:
    """An administrator has no application of that name."""
    mine = body(render(), "plain")
    theirs = body(render(to=recipient(user_id=ADMINISTRATOR, name="Grace")), "plain")

    assert "added to your account" in mine
    assert "Owner:" not in mine
    assert "your account" not in theirs
    assert "    Owner: Ada\n" in theirs


@pytest.mark.parametrize(
    ("actor", "line"),
    [
        (f"user:{OWNER}", "By: you"),
        (f"user:{ADMINISTRATOR}", "By: Grace"),
        ("user:gone", "By: an administrator"),
        ("cli:root", "By: an administrator"),
    ],
)
def test_the_mail_says_who_did_it(actor: str, line: str) -> None:
    """By name if there is one; and never by an account of a machine."""
    assert f"    {line}\n" in body(render(actor=actor), "plain")


def test_what_nobody_did_names_nobody() -> None:
    """The service itself acted, or time did."""
    assert "By:" not in body(render(actor="service:registry"), "plain")
    warning = render(template="secret_expiring", fact=secret_expiring(), actor="")
    assert "By:" not in body(warning, "plain")
    assert "When:" not in body(warning, "plain")


def test_the_mail_about_a_new_address_says_where_and_when() -> None:
    """By both a reader knows whether it was they."""
    text = body(render(template="first_use", fact=first_use(), actor=""), "plain")

    assert "\n    When: May 1, 2026, 12:00" in text
    assert "\n    Address: 203.0.113.7\n" in text
    assert "By:" not in text


@pytest.mark.parametrize(
    ("locale", "zone", "when"),
    [
        ("en", "America/New_York", "May 1, 2026, 8:00\u202fAM EDT"),
        ("en_GB", "Europe/London", "1 May 2026, 13:00 BST"),
        ("de", "Europe/Berlin", "1. Mai 2026, 14:00 MESZ"),
        ("fr", "Europe/Paris", "1 mai 2026, 14:00 UTC+02:00"),
        ("fr_CA", "America/Toronto", "1 mai 2026, 08 h 00 HAE"),
        ("uk", "Europe/Kyiv", "1 травня 2026\u202fр., 15:00 GMT+03:00"),  # noqa: RUF001 - Ukrainian
        ("ja", "Asia/Tokyo", "May 1, 2026, 9:00\u202fPM GMT+09:00"),
        ("en", "Nowhere/Land", "May 1, 2026, 12:00\u202fPM UTC"),
    ],
)
def test_times_are_the_readers(locale: str, zone: str, when: str) -> None:
    """In their zone, and as their language writes them; in English for whoever gets English."""
    mail = render(to=recipient(locale=locale, time_zone=zone))

    assert spaced(when) in spaced(body(mail, "plain"))


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("locale", "days", "subject"),
    [
        ("en", 7, "Client secret expires in 7 days: CI"),
        ("en", 1, "Client secret expires in 1 day: CI"),
        ("de", 1, "Client-Secret läuft in 1 Tag ab: CI"),
        ("de", 7, "Client-Secret läuft in 7 Tagen ab: CI"),
        ("fr", 7, "Un secret client expire dans 7 jours : CI"),
        ("uk", 1, "Термін дії секрету клієнта закінчується через 1 день: CI"),
        ("uk", 3, "Термін дії секрету клієнта закінчується через 3 дні: CI"),
        ("uk", 7, "Термін дії секрету клієнта закінчується через 7 днів: CI"),
    ],
)
def test_numbers_have_their_plural(locale: str, days: int, subject: str) -> None:
    """Ukrainian has three; and days are counted from when the mail is sent."""
    expiring = secret_expiring(days_before=days)
    mail = render(template="secret_expiring", fact=expiring, to=recipient(locale=locale))

    assert spaced(mail["Subject"]) == subject


def test_the_reason_of_a_deactivation_is_told() -> None:
    """Whoever is not asked wants to know why."""
    fact = application_deactivated("organization_disabled")
    mail = body(render(template="application_deactivated", fact=fact), "plain")

    assert "organization that it belongs to was disabled" in spaced(mail)


def test_a_rotation_says_until_when_the_earlier_secret_is_good() -> None:
    """That is how long there is time to change over."""
    mail = body(render(template="secret_rotated", fact=secret_rotated()), "plain")

    assert "New secret ends in: h1nt" in mail
    assert "Earlier secrets valid until: May 2, 2026" in mail


def test_an_application_that_is_gone_is_not_linked_to() -> None:
    """The link would lead to an error."""
    mail = render(template="application_deleted", fact=application_deleted())

    assert "https://" not in body(mail, "plain")
    assert "href" not in body(mail, "html")


def test_an_address_by_itself_is_greeted_without_a_name() -> None:
    """Nobody knows who reads it."""
    mail = render(to=recipient(user_id="mailto:ops@example.com", name=""))

    assert body(mail, "plain").startswith("Hello,\n")
    assert str(mail["To"]) == "ada@example.com"


def test_the_headers_are_complete() -> None:
    """Date, Message-ID and Auto-Submitted are what spam filters and vacation replies look at.

    The last part of a multipart/alternative is the one that the sender likes best.
    """
    mail = render()

    assert mail["Message-ID"] == MESSAGE_ID
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == NOON
    assert mail["From"].addresses[0].addr_spec == "oauthapps@example.com"
    assert mail["To"].addresses[0].addr_spec == "ada@example.com"
    assert mail["Content-Language"] == "en"
    assert mail.get_content_type() == "multipart/alternative"
    assert [one.get_content_type() for one in mail.iter_parts()] == ["text/plain", "text/html"]


def test_names_of_any_script_arrive_as_they_are() -> None:
    """Not everybody is called Ada."""
    mail = render(name="Збірка 👩‍💻", to=recipient(name="Ольга, «Оля»"), sender_name="Застосунки")

    assert mail["To"].addresses[0].display_name == "Ольга, «Оля»"
    assert mail["From"].addresses[0].display_name == "Застосунки"
    assert "Збірка 👩‍💻" in body(mail, "plain")
    assert "Збірка 👩‍💻" in body(mail, "html")


def test_the_wire_is_seven_bit() -> None:
    """A server without 8BITMIME takes the mail, too."""
    sent = (
        renderer(sender_name="Ü")
        .render(
            "application_created",
            context_for(application_created(name="Ünï" * 80)),
            recipient(name="Ö"),
            message_id=MESSAGE_ID,
            date=NOON,
        )
        .as_bytes()
    )

    assert sent.isascii()
    assert max(map(len, sent.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "attack", ["x\r\nBcc: all@example.com\r\n\r\nhi", "x\nBcc: y@z", "x\rBcc: a@b"]
)
def test_a_header_cannot_be_injected(attack: str) -> None:
    """Neither through an application's name nor through a person's."""
    mail = render(name=attack, to=recipient(name=attack), sender_name=attack)

    assert mail["Bcc"] is None
    assert len(mail["To"].addresses) == 1
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Content-Language", "Auto-Submitted",
        "MIME-Version", "Content-Type",
    }  # fmt: skip


def test_markup_in_a_name_is_shown_not_obeyed() -> None:
    """A name can be chosen by somebody else than the reader."""
    page = body(render(name="<img src=x onerror=alert(1)>"), "html")

    assert "<img" not in page
    assert "&lt;img" in page


def test_a_long_name_cannot_widen_the_page() -> None:
    """On a telephone the rest of the mail would be beyond the edge."""
    page = body(render(name="w" * 255), "html")
    (cell, *_) = re.findall(r'<td class="fact" style="([^"]*)"', page)

    assert "overflow-wrap:anywhere" in cell
    assert page.count("table-layout:fixed") == 2


def test_a_name_that_is_written_leftwards_turns_nothing_else() -> None:
    """Marks of direction in a name end with the name."""
    assert "<bdi>\u202eevil</bdi>" in body(render(name="\u202eevil"), "html")


def test_template_syntax_in_a_name_is_only_a_name() -> None:
    """Names are data, never templates."""
    assert "{{ 7 * 7 }}" in body(render(name="{{ 7 * 7 }}"), "plain")


@pytest.mark.parametrize(
    "address", ["", "nobody", "a@b@c", "a b@example.com", "ü@example.com", "a@b\r\nBcc: c@d"]
)
def test_an_address_that_is_none_is_a_permanent_failure(address: str) -> None:
    """Trying again would not make it one; and the reason does not repeat it."""
    with pytest.raises(CannotRender) as refused:
        render(to=recipient(email=address))

    assert not address or address not in str(refused.value)


def test_a_sender_that_is_no_address_is_refused_at_the_start() -> None:
    """Before the first mail is due, not after."""
    with pytest.raises(CannotRender, match="sender"):
        require_sender(
            Letterhead(sender_name="x", sender_address="not an address", registry_url=REGISTRY)
        )


def test_a_template_that_is_gone_is_a_permanent_failure() -> None:
    """It was removed after the mail was recorded; somebody has to bring it back."""
    with pytest.raises(CannotRender, match="no template once"):
        render(template="once")


def test_a_value_that_is_missing_is_an_error_with_its_place() -> None:
    """An empty place in a mail helps nobody."""
    context = context_for(application_created())
    del context["active"]
    with pytest.raises(CannotRender, match=r"en/application_created/body.txt, line \d+.*active"):
        renderer().render(
            "application_created", context, recipient(), message_id=MESSAGE_ID, date=NOON
        )


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("en", "en"), ("en_GB", "en"), ("de", "de"), ("de-AT", "de"), ("fr_CA", "fr"),
        ("uk_UA", "uk"), ("DE", "de"), ("", "en"), ("zh-Hant", "en"), ("_", "en"),
    ],
)  # fmt: skip
def test_every_reader_has_a_language(locale: str, language: str) -> None:
    """Who reads none of ours gets English; the header says what it is."""
    assert library().locale_for(locale) == language
    mail = render(to=recipient(locale=locale))
    assert mail["Content-Language"] == language
    assert f'<html lang="{language}">' in body(mail, "html")
