"""The files of templates: ours, and those of `var/templates` that replace them, one by one.

`<locale>/<template>/subject.txt`, `body.txt`, `body.html`, and what they share: `<locale>/_base`
and `_layout`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from services.notifier.rules import known_locale
from shared.setting_values import ConfigurationError

# For readers of no language that there are templates in.
DEFAULT_LOCALE = "en"
PARTS = ("subject.txt", "body.txt", "body.html")
SIZE_LIMIT = 256 * 1024
MOST_FILES = 2000
BASE, LAYOUT = "_base", "_layout"
_SHIPPED = files("services.notifier") / "templates"


class TemplateRefused(ConfigurationError):
    """A template cannot be used; the message names the file, the line if it can, and why."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text, and where it came from."""

    text: str
    origin: str


def read_sources(overrides: Path | None) -> dict[str, Source]:
    """Return every file, those of a folder before ours. Raises TemplateRefused."""
    sources = dict(_files_in(_SHIPPED, "ours"))
    if overrides is not None and overrides.is_dir():
        sources.update(_files_in(overrides, str(overrides)))
    if len(sources) > MOST_FILES:
        message = f"{overrides}: more than {MOST_FILES} templates; is this the right folder?"
        raise TemplateRefused(message)
    return sources


def _files_in(folder: Traversable, origin: str) -> Iterator[tuple[str, Source]]:
    """Yield the files of a folder of templates, three levels deep and no deeper."""
    for locale in _children(folder, origin):
        place = f"{origin}/{locale.name}"
        if locale.name == LAYOUT:
            for file in _children(locale, place):
                yield f"{LAYOUT}/{file.name}", _read(file, f"{place}/{file.name}")
            continue
        _require_locale(locale.name, place)
        for template in _children(locale, place):
            inside = f"{place}/{template.name}"
            for file in _children(template, inside):
                name = f"{inside}/{file.name}"
                if template.name != BASE and file.name not in PARTS:
                    message = f"{name}: no part of a mail; choose from: {', '.join(PARTS)}"
                    raise TemplateRefused(message)
                yield f"{locale.name}/{template.name}/{file.name}", _read(file, name)


def _children(folder: Traversable, place: str) -> list[Traversable]:
    """Return what is in a folder, but for what editors and mounts leave there."""
    try:
        found = [one for one in folder.iterdir() if not one.name.startswith(".")]
    except OSError as error:
        message = (
            f"{place}: cannot be read ({error.strerror}); templates are files such as "
            f"{DEFAULT_LOCALE}/application_created/body.txt"
        )
        raise TemplateRefused(message) from None
    return sorted((one for one in found if not one.name.endswith("~")), key=lambda one: one.name)


def _require_locale(name: str, place: str) -> None:
    try:
        written = known_locale(name)
    except ValueError:
        written = ""
    if written != name:
        message = f"{place}: a folder here is named by a locale such as de or fr_CA, or {LAYOUT}"
        raise TemplateRefused(message)


def _read(file: Traversable, name: str) -> Source:
    try:
        with file.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
        if len(content) > SIZE_LIMIT:
            message = f"{name}: larger than {SIZE_LIMIT // 1024} KiB, which no mail needs"
            raise TemplateRefused(message)
        return Source(content.decode("utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"{name}: cannot be read ({reason})"
        raise TemplateRefused(message) from None
