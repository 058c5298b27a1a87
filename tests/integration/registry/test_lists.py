"""Lists of applications: which, in which order, page after page."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from services.registry import lists, organization_names, samples
from services.registry.filters import SORTS, Filter, Order, Sort
from services.registry.name_search import key_of
from services.registry.organization_names import copy_names
from services.registry.verification import verify
from services.registry.views import ApplicationView
from shared.cursors import InvalidCursor
from tests.integration.registry.house import House, append
from tests.unit.registry.factories import NOON, deactivated

NEVER = datetime.min.replace(tzinfo=UTC)
USED = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = [
    "Zürich",
    "zebra",
    "Ärger",
    "apple",
    "Apple 2",
    "Pineapple",
    "apple apple",
    "b_c",
    "b%c",
    "it's \\",
    "a & b | !c:*",
]


@pytest_asyncio.fixture
async def furnished(house: House) -> House:
    """Two organizations with applications of all kinds, some of one age and one name."""
    other = await house.directory.add_organization("another")
    await house.pool.execute(
        "INSERT INTO registry.memberships VALUES ($1, $2)", house.owner.id, other.id
    )
    async with house.store() as store:
        for number, name in enumerate(NAMES):
            for organization in (house.organization, other):
                told = house.application(name, organization_id=organization.id)
                at = timedelta(minutes=number // 2)
                await store.append(replace(told.creation(), time=NOON + at))
                if number % 3 == 0:
                    event = deactivated(name, **told.subject)
                    await store.append(append(told.id, 1, event))
                if number % 2:
                    await house.pool.execute(
                        "UPDATE registry.applications SET last_used_at = $2 WHERE id = $1",
                        told.id,
                        USED + timedelta(days=number // 3),
                    )
    return house


async def all_pages(
    house: House, wanted: Filter, order: Order, limit: int
) -> list[ApplicationView]:
    """Return a whole list, read page by page."""
    found: list[ApplicationView] = []
    cursor: str | None = None
    while True:
        page, cursor = await house.lists.page(wanted, order, limit=limit, cursor=cursor)
        found += page
        assert len(page) <= limit
        if cursor is None:
            return found
        assert len(page) == limit


KEYS: dict[Sort, Callable[[ApplicationView], Any]] = {
    "name": lambda one: (key_of(one.name), one.id),
    "organization": lambda one: (one.organization.name.lower(), key_of(one.name), one.id),
    "status": lambda one: (not one.active, key_of(one.name), one.id),
    "created": lambda one: (one.created_at, one.id),
    "last_used": lambda one: (
        one.last_used_at or NEVER,
        one.created_at if one.last_used_at is None else NEVER,
        one.id,
    ),
}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", SORTS)
async def test_every_order_is_kept_across_pages(
    furnished: House,
    sort: Sort,
    descending: bool,  # noqa: FBT001
) -> None:
    """Also where many have the same name, age or last use."""
    whole = await all_pages(furnished, Filter(), Order(sort, descending), limit=200)
    assert len(whole) == 2 * len(NAMES)
    assert sorted(whole, key=KEYS[sort], reverse=descending) == whole
    for limit in (1, 4, 9):
        assert whole == await all_pages(furnished, Filter(), Order(sort, descending), limit)


async def test_every_page_leads_back_to_the_one_before(furnished: House) -> None:
    """Also across the stretches that an order is made of, and with a filter by name."""
    wanted = (Filter(), Filter(name="a"), Filter(active=True))
    for one, sort, descending in product(wanted, SORTS, (False, True)):
        await assert_leads_back(furnished, one, Order(sort, descending))


async def assert_leads_back(furnished: House, wanted: Filter, order: Order) -> None:
    """Go through a list to its end, and back and forth between each two pages."""
    pages = [await furnished.lists.page_between(wanted, order, limit=3)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await furnished.lists.page_between(wanted, order, limit=3, cursor=cursor))
    assert pages[0].previous_cursor is None
    for before, page in reversed(list(pairwise(pages))):
        cursor = page.previous_cursor
        back = await furnished.lists.page_between(wanted, order, limit=3, cursor=cursor)
        assert back.items == before.items
        cursor = back.next_cursor
        forth = await furnished.lists.page_between(wanted, order, limit=3, cursor=cursor)
        assert forth.items == page.items


async def test_the_way_back_ends_in_a_whole_first_page(furnished: House) -> None:
    """Although something was removed in front meanwhile."""
    first = await furnished.lists.page_between(Filter(), limit=3)
    second = await furnished.lists.page_between(Filter(), limit=3, cursor=first.next_cursor)
    await furnished.pool.execute(
        "DELETE FROM registry.applications WHERE id = $1", first.items[0].id
    )
    back = await furnished.lists.page_between(Filter(), limit=3, cursor=second.previous_cursor)

    assert back.items == [*first.items[1:], second.items[0]]
    assert back.previous_cursor is None


FILTERS: dict[str, tuple[Filter, Callable[[ApplicationView], bool]]] = {
    "active": (Filter(active=True), lambda one: one.active),
    "inactive": (Filter(status="inactive"), lambda one: not one.active),
    "expired": (Filter(status="expired"), lambda _: False),
    "name": (Filter(name="PP"), lambda one: "pp" in one.name),
    "used": (Filter(last_used_since=USED), lambda one: one.last_used_at is not None),
    "used long ago": (
        Filter(last_used_before=USED + timedelta(days=1)),
        lambda one: one.last_used_at == USED,
    ),
}


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(("wanted", "is_meant"), FILTERS.values(), ids=FILTERS)
async def test_a_filter_leaves_out_what_is_not_meant(
    furnished: House,
    wanted: Filter,
    is_meant: Callable[[ApplicationView], bool],
    sort: Sort,
) -> None:
    """In every order, and whatever the size of the page."""
    whole = await all_pages(furnished, Filter(), Order(sort), limit=200)

    assert list(filter(is_meant, whole)) == await all_pages(furnished, wanted, Order(sort), limit=2)


@pytest.mark.parametrize("way", ["walk", "collect", "choose"])
async def test_a_name_is_found_on_every_way(
    furnished: House, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginning of names, elsewhere, and both, walked and collected, page by page."""
    # As if there were many; then a sample decides, or here the price of collecting.
    monkeypatch.setattr(samples, "FEW", 0)
    await furnished.pool.execute("ANALYZE registry.applications")
    if way != "choose":
        monkeypatch.setattr(lists, "COLLECTED", {"walk": 1e9, "collect": 0.0}[way])
    names = ("apple", "app", "pp", "a", "e", "z", "nowhere")
    others = (Filter(), Filter(active=True), Filter(status="active"))
    for sort, descending in product(SORTS, (False, True)):
        order = Order(sort, descending)
        whole = await all_pages(furnished, Filter(), order, limit=200)
        for name, other in product(names, others):
            found = await all_pages(furnished, replace(other, name=name), order, limit=3)

            assert found == [
                one
                for one in whole
                if name in key_of(one.name) and (other == Filter() or one.active)
            ]


@pytest.mark.parametrize("owned", [0, 1000])
async def test_what_an_owner_has_is_found_however_much_it_is(
    furnished: House, owned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collected where it is little, walked where it is much."""
    monkeypatch.setattr(lists, "OWNED", owned)
    stranger = await furnished.directory.add_user(
        "stranger@example.com", name="Stranger", organizations=[furnished.organization.id]
    )
    for sort in SORTS:
        whole = await all_pages(furnished, Filter(), Order(sort), limit=200)
        for wanted in (
            Filter(owner_id=furnished.owner.id),
            Filter(visible_owner=furnished.owner.id),
            Filter(owner_id=furnished.owner.id, name="e"),
        ):
            assert await all_pages(furnished, wanted, Order(sort), limit=3) == [
                one for one in whole if wanted.name is None or "e" in key_of(one.name)
            ]
        assert await all_pages(furnished, Filter(owner_id=stranger.id), Order(sort), 3) == []


@pytest.mark.parametrize("name", NAMES)
async def test_every_part_of_a_name_finds_it(furnished: House, name: str) -> None:
    """Without regard to case and accents, and no character has a meaning of its own."""
    parts = {name[at : at + length] for length in (1, 2, 3, 4, 255) for at in range(len(name))} - {
        " "
    }
    for part in {*parts, *map(str.upper, parts), key_of(name)}:
        found = await all_pages(furnished, Filter(name=part), Order(), limit=200)

        meant = sorted(2 * [one for one in NAMES if key_of(part) in key_of(one)], key=key_of)
        assert [one.name for one in found] == meant, part


async def test_parts_in_another_order_are_no_part(furnished: House) -> None:
    """The index knows the parts; the name itself decides."""
    async with furnished.store() as store:
        await store.append(furnished.application("abcd bcde").creation())

    assert await all_pages(furnished, Filter(name="abcde"), Order(), limit=5) == []


async def test_a_cursor_is_good_for_its_query_alone(furnished: House) -> None:
    """Anywhere else it would leave out what nobody notices."""
    _, cursor = await furnished.lists.page(Filter(), Order(), limit=1)

    for wanted, order in (
        (Filter(active=True), Order()),
        (Filter(), Order("created")),
        (Filter(), Order(descending=True)),
        (Filter(visible_owner=furnished.owner.id), Order()),
    ):
        with pytest.raises(InvalidCursor, match="another query"):
            await furnished.lists.page(wanted, order, limit=1, cursor=cursor)


async def rename(house: House, before: str, after: str) -> None:
    """Rename an organization."""
    await house.pool.execute(
        "UPDATE registry.organizations SET name = $2 WHERE name = $1", before, after
    )


async def test_an_organization_that_is_renamed_moves_in_the_list(furnished: House) -> None:
    """The list reads a copy of its name."""
    order = Order("organization")
    before = await all_pages(furnished, Filter(), order, limit=5)
    await rename(furnished, "another", "Zoo")

    assert await copy_names(furnished.pool) == len(NAMES)

    after = await all_pages(furnished, Filter(), order, limit=5)
    half = len(NAMES)
    assert ["another"] * half == [one.organization.name for one in before[:half]]
    assert [one.id for one in before] == [one.id for one in after[half:] + after[:half]]
    assert await copy_names(furnished.pool) == 0


async def test_a_renamed_organization_is_found_before_its_name_is_copied(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was renamed twice, and the copying was broken off in between."""
    monkeypatch.setattr(organization_names, "BATCH", 2)
    another = (await furnished.directory.organization("another")).id
    wanted = Filter(organization_ids=frozenset({another}))

    async def found() -> int:
        return len(await all_pages(furnished, wanted, Order("organization"), limit=3))

    for before, after in (("another", "Zoo"), ("Zoo", "Mine"), ("Mine", "another")):
        await rename(furnished, before, after)
        (row,) = await furnished.pool.fetch(
            "SELECT id, name FROM registry.organizations WHERE former_names <> '{}'"
        )
        assert await organization_names.copy_batch(furnished.pool, row["id"], row["name"]) in (0, 2)
        assert await found() == len(NAMES)

    await copy_names(furnished.pool)
    assert await found() == len(NAMES)
    assert (await verify(furnished.pool)).problems == ()
    keys = await furnished.pool.fetch(
        "SELECT DISTINCT organization_key FROM registry.applications WHERE organization_id = $1",
        another,
    )
    assert [row["organization_key"] for row in keys] == ["another"]


async def test_a_name_that_was_changed_again_meanwhile_is_copied_next(furnished: House) -> None:
    """Forgetting the names before would leave applications that nobody finds."""
    await rename(furnished, "another", "Zoo")
    another = (await furnished.directory.organization("Zoo")).id
    await rename(furnished, "Zoo", "Mine")

    # By one who has read the name before.
    while await organization_names.copy_batch(furnished.pool, UUID(another), "Zoo"):
        pass
    await copy_names(furnished.pool)

    items = await all_pages(
        furnished, Filter(organization_ids=frozenset({another})), Order(), limit=50
    )
    assert len(items) == len(NAMES)


async def test_a_letter_that_becomes_many_does_not_burst_the_index(house: House) -> None:
    """U+FDFA is eighteen letters without its form, and a key of an index has its limit."""
    async with house.store() as store:
        await store.append(house.application("\ufdfa" * 255).creation())

    assert len(await all_pages(house, Filter(name="\ufdfa"), Order(), limit=5)) == 1
