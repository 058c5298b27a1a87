"""The grids: what is in them, how they are filtered, sorted and paged, and where one is at work."""

import re
from html import unescape

from tests.integration.pages.visitor import Visitor
from tests.integration.registry.api import Api


async def furnish(api: Api, *names: str, organization_id: str | None = None) -> None:
    """Give the user applications."""
    for name in names:
        await api.application_of(api.house.owner, name=name, organization_id=organization_id)


def links(visitor: Visitor, words: str) -> list[str]:
    """Return where links with these words lead."""
    found = re.findall(rf'<a [^>]*href="([^"]+)"[^>]*>{words}', visitor.page)
    return [unescape(one) for one in found]


async def test_it_begins_with_what_to_do(api: Api, olga: Visitor) -> None:
    """An empty grid says how it is filled; one with filters that nothing fits."""
    await api.http.delete(f"/api/applications/{api.application_id}")
    await olga.get("/my-user")
    assert "No applications yet" in olga.page
    await olga.get("/my-user?name=x")
    assert "No application fits" in olga.page


async def test_filters_and_orders_are_in_the_address(api: Api, olga: Visitor) -> None:
    """So that they can be kept, sent and gone back to."""
    await furnish(api, "Beta", "alpha", "Gamma ray", "gamma <b>")
    await olga.get("/my-user")
    assert olga.names() == ["alpha", "Beta", "caller", "gamma <b>", "Gamma ray"]
    await olga.get("/my-user?name=GAMMA&sort=-name")
    assert olga.names() == ["Gamma ray", "gamma <b>"]
    assert 'value="GAMMA"' in olga.page
    (turned,) = links(olga, "Application Name")
    await olga.get(turned)
    assert olga.names() == ["gamma <b>", "Gamma ray"]
    await olga.get("/my-user?status=inactive")
    assert olga.names() == []
    await olga.get("/my-user?status=wrong", 400)
    assert "Give one of" in olga.page
    await olga.get("/my-user?sort=wrong", 400)


async def test_long_grids_have_pages(api: Api, olga: Visitor) -> None:
    """Each application on one of them; a place that is none any more is the first page."""
    await furnish(api, *(f"App {n:02}" for n in range(60)))
    seen = []
    await olga.get("/my-user?name=app")
    while True:
        seen += olga.names()
        after = links(olga, "Next page")
        if not after:
            break
        await olga.get(after[0])
    assert seen == [f"App {n:02}" for n in range(60)]
    await olga.get(links(olga, "First page")[0])
    assert olga.names()[0] == "App 00"
    await olga.get("/my-user?cursor=nonsense")
    assert olga.names()[0] == "App 00"


async def test_organizations_appear_where_there_is_a_choice(api: Api, olga: Visitor) -> None:
    """One: nothing. At work in a common one: only that. In one with global access: all."""
    directory = api.house.directory
    await olga.get("/my-user")
    assert "Switch" not in olga.page
    assert ">Organization<" not in olga.page.partition("<table")[2]

    everywhere = await directory.add_organization("Everywhere", global_access=True)
    await api.house.pool.execute(
        "INSERT INTO registry.memberships (user_id, organization_id) VALUES ($1, $2)",
        api.house.owner.id,
        everywhere.id,
    )
    await furnish(api, "There", organization_id=everywhere.id)
    await furnish(api, "Here")
    await olga.get("/my-user")
    # At work where the alphabet begins.
    assert olga.names() == ["There", "caller", "Here"] or set(olga.names()) == {
        "There",
        "Here",
        "caller",
    }
    await olga.get(f"/my-user?organization={everywhere.id}")
    assert olga.names() == ["There"]
    await olga.get("/my-user/applications/new")
    assert '<select name="organization"' in olga.page

    await olga.get("/my-user")
    await olga.follow(
        await olga.send("/my-user/organization", organization=api.house.organization.id)
    )
    assert olga.names() == ["caller", "Here"]
    await olga.get("/my-user/applications/new")
    assert '<select name="organization"' not in olga.page
    await olga.send("/my-user/applications/new", 200, name="Implied", active="on")
    await olga.get("/my-user?name=implied")
    assert olga.names() == ["Implied"]
    # Somebody else's is none of theirs.
    other = await directory.add_organization("Other")
    await olga.send("/my-user/organization", organization=other.id)
    await olga.get("/my-user")
    assert "Other" not in olga.page


async def test_an_address_that_leads_nowhere_is_a_page_for_people(olga: Visitor) -> None:
    """And a problem for programs."""
    await olga.get("/nothing/here", 404, headers={"Accept": "text/html,*/*"})
    assert "There is nothing at this address" in olga.page
    assert "Olga Owner" in olga.page
    answer = await olga.http.get("/nothing/here")
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
    assert (await olga.http.post("/api/nothing")).status_code == 404
