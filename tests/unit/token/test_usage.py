"""Noting the use of secrets: nothing twice, and nothing lost but with the process."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from services.token.usage import Usage
from shared.failures import PermanentFailure, TransientFailure
from shared.usage import USES_OF_A_REPORT, UsageReport

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Registry:
    """Counts each report once; answers only as often as it is told to."""

    def __init__(self) -> None:
        self.taken: dict[int, UsageReport] = {}
        self.answers = True
        self.hears = True

    async def __call__(self, report: UsageReport) -> None:
        if self.hears:
            known = self.taken.setdefault(report.sequence, report)
            assert known == report, "a report that was sent again is another one"
        if not (self.hears and self.answers):
            raise TransientFailure("away")

    @property
    def count(self) -> int:
        """How many uses it knows of."""
        return sum(use.count for report in self.taken.values() for use in report.uses)


@given(some.lists(some.tuples(some.integers(0, 3), some.booleans(), some.booleans())))
async def test_every_use_is_counted_once_whatever_fails(
    moves: list[tuple[int, bool, bool]],
) -> None:
    """A report may not arrive, or arrive without its answer."""
    registry = Registry()
    usage = Usage(registry, most=100)
    for number, (secret, registry.hears, registry.answers) in enumerate(moves):
        usage.note("a", f"s{secret}", "192.0.2.1", NOON + timedelta(hours=number))
        try:
            await usage.report()
        except TransientFailure:
            assert not (registry.hears and registry.answers)
    registry.hears = registry.answers = True

    await usage.report()

    assert registry.count == len(moves)


async def test_a_report_that_is_never_taken_does_not_stand_before_the_next() -> None:
    """One of two versions may not understand the other: counts are lost, not the service."""
    heard: list[UsageReport] = []

    async def refuse_the_first(report: UsageReport) -> None:
        heard.append(report)
        if report.sequence == 1:
            raise PermanentFailure("not understood")

    usage = Usage(refuse_the_first, most=100)
    usage.note("a", "s", "192.0.2.1", NOON)
    await usage.report()
    usage.note("a", "s", "192.0.2.1", NOON)
    await usage.report()

    assert [one.sequence for one in heard] == [1, 2]


async def test_a_use_is_a_line_for_secret_and_day() -> None:
    """However many tokens: the report stays small."""
    registry = Registry()
    usage = Usage(registry, most=100)
    for minutes in (0, 1, 60 * 24):
        usage.note("a", "s", "192.0.2.1", NOON + timedelta(minutes=minutes))

    await usage.report()

    (report,) = registry.taken.values()
    assert [(use.day.day, use.count) for use in report.uses] == [(1, 2), (2, 1)]
    assert report.uses[0].last_used_at == NOON + timedelta(minutes=1)


async def test_what_is_noted_is_bounded_and_reported_in_parts() -> None:
    """A registry that is away for days must not cost the token service its memory."""
    registry = Registry()
    usage = Usage(registry, most=USES_OF_A_REPORT + 1)
    for number in range(USES_OF_A_REPORT + 10):
        usage.note("a", f"s{number}", "192.0.2.1", NOON)
    usage.note("a", "s0", "192.0.2.1", NOON)

    await usage.report()

    assert [len(one.uses) for one in registry.taken.values()] == [USES_OF_A_REPORT, 1]
    assert registry.count == USES_OF_A_REPORT + 2


async def test_addresses_are_reported_only_where_that_is_asked_for() -> None:
    """They are personal data of sorts: who needs none of it shall have none of it."""
    quiet, open_ = Registry(), Registry()
    for registry, addresses in ((quiet, False), (open_, True)):
        usage = Usage(registry, most=100, addresses=addresses)
        for minutes, address in ((0, "192.0.2.1"), (1, "192.0.2.1"), (2, "192.0.2.2")):
            usage.note("a", "s", address, NOON + timedelta(minutes=minutes))
        await usage.report()
        await usage.report()

    assert [one.addresses for one in quiet.taken.values()] == [[]]
    (report,) = open_.taken.values()
    assert [
        (one.address, one.first_seen_at.minute, one.last_seen_at.minute) for one in report.addresses
    ] == [("192.0.2.1", 0, 1), ("192.0.2.2", 2, 2)]
