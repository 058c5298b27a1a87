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

from services.notifier.domain import context_of, one_line
from services.notifier.rendering import CannotRender, Renderer, language_for
from shared.feed_client import Recipient
from tests.unit.notifier.factories import CLIENT_ID, NOON, application_created, recipient

MESSAGE_ID = "<abc@mail.example>"
REGISTRY = "https://registry.example"


def renderer(
    *, sender_name: str = "OAuth Applications", sender_address: str = "oauthapps@example.com"
) -> Renderer:
    return Renderer(sender_name=sender_name, sender_address=sender_address, registry_url=REGISTRY)


def render(
    *, name: str = "CI", to: Recipient | None = None, sender_name: str = "OAuth Applications"
) -> EmailMessage:
    """Return a mail as its reader's program parses it from the bytes."""
    sent = renderer(sender_name=sender_name).render(
        "application_created",
        context_of(application_created(name=name)),
        to or recipient(),
        message_id=MESSAGE_ID,
        date=NOON,
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


def test_the_mail_says_which_application_where_and_what_to_do() -> None:
    """A reader who never heard of it must be able to tell the administrator which one it is."""
    text = body(render(name="Build server"), "plain")

    assert f"    Build server\n    Client ID: {CLIENT_ID}\n    Registry: {REGISTRY}\n" in text
    assert "there is nothing to do" in text
    assert "deactivate it" in text


def test_the_signature_stands_apart() -> None:
    """Mail programs grey out what follows `-- `, which must be a line of its own (RFC 3676)."""
    assert "\n\n-- \nOAuth Applications\n" in body(render(), "plain")


def test_lines_of_text_fit_a_terminal() -> None:
    """All but those with a name, which are as long as the name is."""
    assert max(map(len, body(render(), "plain").splitlines())) <= 78


@given(name=st.text(min_size=1, max_size=255) | st.text('ab ,;:<>@()[]."\\=?', max_size=255))
@example(name="Ada, " * 30)
@example(name="Ада Лавлейс, графиня " * 6)
@example(name="=?utf-8?q?Bob_=3Cbob=40example=2Eorg=3E=2C?=")
@example(name="漢" * 255)
def test_a_name_of_any_kind_and_length_stays_one_name(name: str) -> None:
    """A comma that has lost its quotes would begin another address, of the name's choice."""
    renderer = Renderer(sender_name=name, sender_address="a@b.example", registry_url=REGISTRY)
    context = context_of(application_created(name=name))
    message = renderer.render(
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


def test_text_and_html_say_the_same() -> None:
    """Readers of plain text are readers, too."""
    mail = render(name="Build <server>")
    page = re.sub(r"(?s)<head>.*</head>", "", body(mail, "html"))
    shown = html.unescape(re.sub(r"<[^>]+>", " ", page))

    assert words(shown) == words(body(mail, "plain"))


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
            context_of(application_created(name="Ünï" * 80)),
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
    (cell,) = re.findall(r'<td class="fact" style="([^"]*)"', page)

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
        renderer(sender_address="not an address")


def test_a_variable_that_does_not_exist_is_an_error() -> None:
    """An empty place in a mail helps nobody."""
    with pytest.raises(CannotRender, match="application_name"):
        renderer().render("application_created", {}, recipient(), message_id=MESSAGE_ID, date=NOON)


@pytest.mark.parametrize("locale", ["en", "en_GB", "de", "", "zh-Hant"])
def test_every_reader_has_a_language(locale: str) -> None:
    """Who reads none of ours gets the first."""
    assert language_for(locale) == "en"
