"""Templates that replace ours: found by locale, refused with their place, never half in force."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.notifier import samples
from services.notifier.library import Library, chain_of
from services.notifier.rendering import VARIABLES, Parts, try_out
from services.notifier.template_files import TemplateRefused, read_sources
from shared.events import ApplicationCreated
from tests.unit.notifier.factories import RULES, renderer

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a template into the folder of an installation."""

    def one(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return one


def read(folder: Path) -> Library:
    """Read templates as the service does: those of a folder before ours, all tried out."""
    library = Library(read_sources(folder), VARIABLES)
    try_out(renderer(templates=library), RULES)
    return library


def mail(library: Library, locale: str, template: str = "application_created") -> Parts:
    return renderer(templates=library).parts(
        template,
        samples.CONTEXTS[ApplicationCreated][0],
        samples.reader(locale=locale),
        date=samples.MOMENT,
    )


def refused(folder: Path) -> str:
    with pytest.raises(TemplateRefused) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there_replaces_nothing(tmp_path: Path) -> None:
    """Most installations have none."""
    library = read(tmp_path / "none")

    assert library.locales == ("de", "en", "fr", "uk")
    assert len(library.templates) == 7


def test_one_file_replaces_one_file(tmp_path: Path, write: Write) -> None:
    """All others stay ours."""
    write("de/application_created/subject.txt", "Neu: {{ application_name }}\n")
    library = read(tmp_path)

    assert mail(library, "de").subject == "Neu: Build server"
    assert mail(library, "de").text.startswith("Guten Tag")
    assert mail(library, "en").subject == "OAuth application added to your account"


def test_a_locale_takes_from_the_one_above_what_it_does_not_have(
    tmp_path: Path, write: Write
) -> None:
    """File by file: Canadian, else French, else English."""
    write("fr_CA/application_created/subject.txt", "Nouvelle application\n")
    write("fr/application_created/body.txt", "{% extends '_base/body.txt' %}\n")
    library = read(tmp_path)

    canadian = mail(library, "fr_CA")
    assert canadian.subject == "Nouvelle application"
    assert canadian.text.startswith("Bonjour Ada Lovelace,")
    assert canadian.locales == ("fr",)
    assert "autorisée" in canadian.html
    assert mail(library, "fr").subject == "Application OAuth ajoutée à votre compte"
    assert library.locale_for("fr_CA") == "fr_CA"
    assert library.locale_for("fr_BE") == "fr"


@pytest.mark.parametrize(
    ("locale", "chain"),
    [
        ("fr_CA", ("fr_CA", "fr", "en")),
        ("fr-CA", ("fr_CA", "fr", "en")),
        ("zh_Hant_TW", ("zh_Hant_TW", "zh_Hant", "zh", "en")),
        ("en_GB", ("en_GB", "en")),
        ("en", ("en",)),
    ],
)
def test_the_way_back_ends_in_english(locale: str, chain: tuple[str, ...]) -> None:
    """The nearest first."""
    assert chain_of(locale) == chain


def test_another_language_can_be_added(tmp_path: Path, write: Write) -> None:
    """What is not translated yet is English."""
    write("es/application_created/subject.txt", "Aplicación OAuth añadida\n")
    library = read(tmp_path)

    assert library.locales == ("de", "en", "es", "fr", "uk")
    assert mail(library, "es_MX").subject == "Aplicación OAuth añadida"
    assert mail(library, "es").text.startswith("Hello")


def test_another_template_can_be_added(tmp_path: Path, write: Write) -> None:
    """For a rule of the installation's own; every variable can be in it."""
    names = sorted(VARIABLES - {"subject"})
    write("en/mine/subject.txt", "Mine\n")
    write("en/mine/body.txt", "\n".join(f"{{{{ {name} }}}}" for name in [*names, "subject"]))
    write("en/mine/body.html", "{% extends '_base/body.html' %}\n")
    library = read(tmp_path)

    assert "mine" in library.templates


def test_the_frame_of_all_mails_can_be_replaced(tmp_path: Path, write: Write) -> None:
    """Whoever has a house style changes one file."""
    write("_layout/body.html", "<p>House style</p>{% block content %}{% endblock %}\n")
    library = read(tmp_path)

    for locale in library.locales:
        assert mail(library, locale).html.startswith("<p>House style</p>")


BODY = "{% extends '_base/body.txt' %}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ secret }}", ["line 1", "no variable secret", "secret_hint"]),
        ("\n\n{{ application.digest }}", ["line 3", "no variable application"]),
        ("{% if false %}\n{{ digest }}\n{% endif %}", ["line 2", "no variable digest"]),
        ("{% extends '_base/body.txt' %}\n{% block lead %}{{ nam }}{% endblock %}", ["line 2"]),
        ("{{ reason }}", ["line 1", "'reason' is undefined", "ApplicationCreated"]),
        ("{% if application_name %}", ["line 1", "end of template"]),
        ("{{ application_name | shout }}", ["line 1", "shout"]),
        ("{{ application_name.owner }}", ["line 1", "owner"]),
        ("x\n{{ 1 / 0 }}", ["line 2", "ZeroDivisionError"]),
        ("{{ client_id | datetime }}", ["ValueError"]),
        ("{% include 'nothing.txt' %}", ["nothing.txt"]),
        ("{{ ''.__class__.__mro__ }}", ["line 1", "SecurityError"]),
        ("{% set x = [] %}{{ x.append(1) }}", ["line 1", "SecurityError"]),
        ("{{ lipsum() }}", ["no variable lipsum"]),
    ],
)
def test_a_broken_template_names_file_line_and_reason(
    tmp_path: Path, write: Write, text: str, says: list[str]
) -> None:
    """Found when it is read, in every branch that there is, and not when a mail is due."""
    write("fr/application_created/body.txt", text)

    told = refused(tmp_path)

    assert f"{tmp_path}/fr/application_created/body.txt" in told
    assert [one for one in says if one not in told] == [], told


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fr/application_created/body.htm", "choose from: subject.txt, body.txt, body.html"),
        ("french/application_created/body.txt", "named by a locale"),
        ("fr-CA/application_created/body.txt", "named by a locale"),
        ("de/mine/body.txt", "there is no en/mine/subject.txt"),
        ("notes.txt", "named by a locale"),
        ("de/notes.txt", "cannot be read"),
    ],
)
def test_a_file_in_the_wrong_place_is_refused(
    tmp_path: Path, write: Write, name: str, says: str
) -> None:
    """A template that nobody would ever use is a mistake."""
    write(name, "x")

    assert says in refused(tmp_path)


@pytest.mark.parametrize("name", [".git/config", "de/application_created/body.txt~", "de/.x/y"])
def test_what_editors_and_mounts_leave_behind_is_not_looked_at(
    tmp_path: Path, write: Write, name: str
) -> None:
    """It is no template, and no mistake."""
    write(name, "{{ nonsense")

    assert mail(read(tmp_path), "de").text.startswith("Guten Tag")


def test_a_file_that_no_mail_needs_is_refused(tmp_path: Path, write: Write) -> None:
    """Five megabytes would be sent to everybody."""
    write("en/application_created/body.txt", "x" * 5_000_000)

    assert "larger than 256 KiB" in refused(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, write: Write) -> None:
    """An image ended up here."""
    write("en/application_created/body.txt", "")
    (tmp_path / "en/application_created/body.txt").write_bytes(b"\xff\xfe")

    assert "not UTF-8" in refused(tmp_path)


def test_a_template_that_would_never_end_is_refused_with_its_place(
    tmp_path: Path, write: Write
) -> None:
    """The notifier has other mails to send."""
    loops = (
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ i * j }}{% endfor %}{% endfor %}"
    )
    write("en/application_created/body.txt", f"Hello\n{loops}\n")

    reason = refused(tmp_path)

    assert f"{tmp_path}/en/application_created/body.txt, line 2: SecurityError" in reason
    assert "does too much" in reason
