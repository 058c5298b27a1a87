"""What does not fit what there is already: names, owners and organizations; nothing appended."""

from tests.integration.registry.api import Api, problem


async def test_a_taken_name_is_a_conflict_with_a_pointer(api: Api) -> None:
    """On creation and on renaming, with the words of the page."""
    await api.create("CI")
    other = await api.create("Other")
    head = await api.house.head()

    answers = [
        await api.http.post("/api/applications", json={"name": " CI "}),
        await api.http.patch(f"/api/applications/{other['id']}", json={"name": "CI"}),
    ]

    for answer in answers:
        document = problem(answer, 409, "#/name")
        assert document["detail"] == "The application with the given name already exists."
    assert await api.house.head() == head


async def test_an_owner_who_does_not_belong_there_is_refused(api: Api) -> None:
    """Whoever asks, and whichever of the two is meant."""
    elsewhere = await api.house.directory.add_organization("Elsewhere", global_access=True)
    admin_user = await api.user(
        "admin@example.com",
        administrator=True,
        organizations=[api.house.organization.id, elsewhere.id],
    )
    admin = await api.client_of(admin_user)
    head = await api.house.head()
    body = {"name": "A", "owner": "owner@example.com", "organization": "Elsewhere"}

    problem(await api.http.post("/api/applications", json=body, headers=admin), 422, "#/owner")
    assert await api.house.head() == head


async def test_a_disabled_owner_or_organization_is_refused(api: Api) -> None:
    """An administrator cannot create for somebody who left."""
    elsewhere = await api.house.directory.add_organization("Elsewhere")
    left = await api.user("left@example.com", organizations=["Example", "Elsewhere"])
    own = await api.client_of(left, organization_id=api.house.organization.id)
    admin = await api.client_of(await api.user("admin@example.com", administrator=True))
    await api.house.directory.set_user_active(left.id, active=False)
    body = {"name": "A", "owner": left.id, "organization": "Example"}

    problem(await api.http.post("/api/applications", json=body, headers=admin), 422, "#/owner")

    await api.house.directory.set_user_active(left.id, active=True)
    await api.house.pool.execute(
        "UPDATE registry.organizations SET active = false WHERE id = $1", elsewhere.id
    )
    body = {"name": "A", "organization": "Elsewhere"}
    problem(await api.http.post("/api/applications", json=body, headers=own), 422, "#/organization")


async def test_of_several_organizations_one_must_be_chosen(api: Api) -> None:
    """Where one may be at work in any of them, a guess would put it where others see it."""
    await api.house.directory.add_organization("Elsewhere", global_access=True)
    both = await api.user("both@example.com", organizations=["Example", "Elsewhere"])
    headers = await api.client_of(both)

    problem(
        await api.http.post("/api/applications", json={"name": "A"}, headers=headers),
        422,
        "#/organization",
    )
