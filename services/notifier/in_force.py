"""Rules and templates that are in force, and how they are replaced while the service runs.

They are read together, since each rule must have a template that is made for its event. What is
refused changes nothing: those that are in force stay so, and the reason is told in the log, as a
metric and in `/readyz`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge

from services.notifier import samples
from services.notifier.domain import Context, Rule
from services.notifier.library import Library
from services.notifier.rendering import VARIABLES, Letterhead, Renderer, require_sender, try_out
from services.notifier.rules import parse_rules, refusal
from services.notifier.template_files import read_sources
from shared.config import Settings, load
from shared.logs import get_logger
from shared.setting_values import ConfigurationError

LOOK_SECONDS = 2.0
# Files that a folder of templates is watched for; what it may hold more is refused when read.
MOST_WATCHED = 5000
log = get_logger(__name__)

RELOADS = Counter(
    "oauthapps_notifier_reloads_total",
    "Changed rules and templates, by whether they are in force now.",
    ["outcome"],
)
REFUSED = Gauge(
    "oauthapps_notifier_reload_refused",
    "1 while rules or templates as they stand are refused, and older ones are in force.",
)


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Rules, and templates that each of them was tried with."""

    rules: tuple[Rule, ...]
    library: Library


def letterhead_of(settings: Settings) -> Letterhead:
    """Return who writes."""
    return Letterhead(
        sender_name=settings.notifier.sender_name,
        sender_address=settings.notifier.sender_address,
        registry_url=settings.public_url,
    )


def correspondence_of(settings: Settings) -> Correspondence:
    """Read rules and templates, and try every one. Raises ConfigurationError."""
    rules = parse_rules(settings.notifier.rules, config=settings.config)
    library = Library(read_sources(settings.in_var(settings.notifier.templates)), VARIABLES)
    for rule in rules:
        if rule.template not in library.templates:
            reason = f"no template {rule.template}; choose from: {', '.join(library.templates)}"
            raise refusal(settings.config, reason, rule.name, "template")
    try_out(Renderer(library, letterhead_of(settings)), rules)
    return Correspondence(rules, library)


class InForce:
    """What holds now. Raises ConfigurationError, or CannotRender for a sender that is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        letterhead = letterhead_of(settings)
        require_sender(letterhead)
        self._seen = self._look()
        first = correspondence_of(settings)
        self.rules = first.rules
        self.renderer = Renderer(first.library, letterhead)
        self.trouble: str | None = None

    def sample_for(self, template: str) -> Context:
        """Return data to show a template with: of the first event that a rule has it for."""
        about = [rule.about for rule in self.rules if rule.template == template]
        return samples.contexts_for(about[:1])[0]

    async def watch(self) -> None:
        """Replace what changes, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # A folder may lie on a slow disk, and templates take a while to try.
            seen = await asyncio.to_thread(self._look)
            if seen != self._seen:
                self._seen = seen
                await self._replace()

    async def _replace(self) -> None:
        try:
            new = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            self._refuse(str(error))
        except Exception as error:
            log.exception("rules and templates could not be read")
            self._refuse(f"unexpected {type(error).__name__}; see the log")
        else:
            self.rules = new.rules
            self.renderer.library = new.library
            self.trouble = None
            REFUSED.set(0)
            RELOADS.labels("applied").inc()
            log.info("rules and templates replaced", rules=len(new.rules))

    def _refuse(self, reason: str) -> None:
        self.trouble = f"the last change is refused, what was before stays in force: {reason}"
        REFUSED.set(1)
        RELOADS.labels("refused").inc()
        log.warning("rules and templates stay as they were", reason=reason)

    def _read(self) -> Correspondence:
        settings = self._settings
        if settings.config is not None:
            # Nothing but the rules is taken from it: the rest holds from the start on.
            rules = load(settings.config, settings.var).notifier.rules
            notifier = settings.notifier.model_copy(update={"rules": rules})
            settings = settings.model_copy(update={"notifier": notifier})
        return correspondence_of(settings)

    def _look(self) -> tuple[object, ...]:
        """Return what differs whenever a file does."""
        settings = self._settings
        files = list(files_below(settings.in_var(settings.notifier.templates)))
        if settings.config is not None:
            files.append(settings.config)
        return tuple(map(_mark_of, sorted(files)))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder of templates, as deep as they do."""
    pattern = ("*", "*/*", "*/*/*")
    # A folder that is removed while it is read ends the look: the next one finds what there is.
    with suppress(OSError):
        for count, file in enumerate(one for level in pattern for one in folder.glob(level)):
            if count >= MOST_WATCHED:
                return
            yield file


def _mark_of(file: Path) -> tuple[object, ...]:
    try:
        found = file.stat()
    except OSError:
        return (file, None)
    return (file, found.st_mtime_ns, found.st_size, found.st_ino)
