"""Applications on the pages: added, changed, stopped, replaced, removed."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.registry.clock import now
from services.registry.filters import Filter
from services.registry.usage import UsageRecords
from shared.credentials import digest_of
from shared.problem import KEYS_MISSING
from shared.usage import Failure, UsageReport, Use
from tests.integration.pages.visitor import (
    PASSWORD,
    Visitor,
    credentials,
    give_password,
    next_of,
    visitor_of,
)
from tests.integration.registry.api import Api
from tests.support.eventually import eventually

NEW = "/my-user/applications/new"


async def test_the_credentials_are_shown_once(api: Api, olga: Visitor) -> None:
    """Client ID and Client Secret, with what to do with them; nowhere else, ever."""
    await olga.get(NEW)
    answer = await olga.send(
        NEW, 200, name="CI", description="<b>nightly</b>", scopes=["applications:read"], active="on"
    )
    client_id, secret = credentials(olga.page)
    view = await api.house.views.find_by_client_id(client_id)
    assert view is not None

    assert "we cannot show it to you again" in olga.page
    assert (
        f"curl -u &#39;{client_id}:{secret}&#39;" in olga.page
        or f"{client_id}:{secret}" in olga.page
    )
    assert answer.headers["cache-control"] == "no-store"
    assert (view.name, view.description, view.active) == ("CI", "<b>nightly</b>", True)
    kept = await api.house.pool.fetchval(
        "SELECT digest FROM registry.application_secrets WHERE id = $1", view.secrets[0].id
    )
    assert kept == digest_of(secret)
    for page in ("/my-user", f"/applications/{view.id}", f"/applications/{view.id}/edit"):
        await olga.get(page)
        assert secret not in olga.page
        assert "<b>nightly" not in olga.page


async def test_a_form_that_is_sent_twice_adds_one_and_shows_its_secret(
    api: Api, olga: Visitor
) -> None:
    """Whoever clicks twice sees the second answer only."""
    await olga.get(NEW)
    sent = dict(olga.fields)
    await olga.send(NEW, 200, name="CI", active="on", **sent)
    once = credentials(olga.page)
    await olga.send(NEW, 200, name="CI", active="on", **sent)

    assert credentials(olga.page) == once
    items, _ = await api.house.lists.page(Filter(name="CI"), limit=10)
    assert len(items) == 1


async def test_going_back_much_later_shows_the_secret_to_nobody(api: Api, olga: Visitor) -> None:
    """A browser offers to send the form again."""
    await olga.get(NEW)
    sent = dict(olga.fields)
    await olga.send(NEW, 200, name="CI", active="on", **sent)
    _, secret = credentials(olga.page)
    await api.house.pool.execute("UPDATE registry.events SET time = time - interval '1 min'")

    await olga.send(NEW, 409, name="CI", active="on", **sent)

    assert secret not in olga.page
    assert "sent before" in olga.page


async def test_a_name_that_exists_is_said_at_its_field_and_nothing_is_lost(olga: Visitor) -> None:
    """In the words of the product that people come from."""
    await olga.add("CI")
    await olga.get(NEW)
    await olga.send(NEW, 409, name="CI", description="Another", active="on")

    assert "The application with the given name already exists." in olga.page
    assert 'aria-invalid="true"' in olga.page
    assert ">Another</textarea>" in olga.page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "This value should not be blank."),
        ({"name": "x" * 256}, "The name is too long"),
        ({"name": "X", "description": "x\x07"}, "The description must not contain control"),
        ({"name": "X", "scopes": ["nope"]}, "There is no such scope"),
        ({"name": "X", "scopes": ["events:read"]}, "Only an administrator"),
        ({"name": "X", "expires_at": "2001-01-01T00:00"}, "Give a time in the future"),
        ({"name": "X", "expires_at": "soon"}, "Give a date and a time"),
        ({"name": "X", "organization": "Nowhere"}, "There is no such organization"),
    ],
)
async def test_what_cannot_be_is_said_at_its_field(
    olga: Visitor, fields: dict[str, Any], words: str
) -> None:
    """The same sentences as over REST."""
    await olga.get(NEW)
    await olga.send(NEW, 422, active="on", **fields)

    assert words in olga.page


async def test_a_session_that_ended_costs_nothing_that_was_typed(api: Api, olga: Visitor) -> None:
    """After the login the form is there again as it was."""
    await olga.get(NEW)
    await api.house.pool.execute("DELETE FROM registry.sessions")
    answer = await olga.send(
        NEW, name="Nightly & more", description="Line 1\nLine 2", scopes=["applications:read"]
    )
    after = next_of(answer)
    await olga.follow(answer)
    login = await olga.send(
        answer.headers["location"], email="owner@example.com", password=PASSWORD
    )
    await olga.follow(login)

    assert login.headers["location"] == after
    assert 'value="Nightly &amp; more"' in olga.page
    assert "Line 1\nLine 2</textarea>" in olga.page
    assert "proof" not in after


async def test_an_application_is_edited(api: Api, olga: Visitor) -> None:
    """Name, description, scopes, expiry, active; Client ID and owner are not for change."""
    application_id, client_id, _ = await olga.add("CI")
    await olga.get(f"/applications/{application_id}/edit?back=/my-user?name=Bu")
    assert f'value="{client_id}" disabled' in olga.page
    answer = await olga.send(
        f"/applications/{application_id}/edit",
        name="Build",
        description="More",
        expires_at="2099-01-01T10:30",
    )
    view = await api.house.views.find(application_id)
    assert view is not None
    await olga.follow(answer)

    assert (view.name, view.description, view.scopes, view.active) == ("Build", "More", [], False)
    assert view.expires_at is not None
    assert "Saved successfully" in olga.page
    assert olga.names() == ["Build"]
    await olga.get("/my-user")
    assert "Saved successfully" not in olga.page


async def test_a_change_by_somebody_else_is_not_overwritten_unseen(api: Api, olga: Visitor) -> None:
    """What was typed is kept, and stands if it is sent once more."""
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/edit"
    await olga.get(path)
    await api.http.patch(
        f"/api/applications/{application_id}",
        content=b'{"description": "from elsewhere"}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    await olga.send(path, 409, name="Mine", active="on")

    assert "Somebody else has changed" in olga.page
    assert 'value="Mine"' in olga.page
    await olga.send(path, name="Mine", active="on")
    view = await api.house.views.find(application_id)
    assert view is not None
    assert (view.name, view.description) == ("Mine", "")


async def test_an_edit_survives_a_session_that_ended(api: Api, olga: Visitor) -> None:
    """With what was typed, and a change of somebody else's meanwhile is still noticed."""
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/edit"
    await olga.get(path)
    await api.house.pool.execute("DELETE FROM registry.sessions")
    answer = await olga.send(path, name="Typed", description="Before")
    await olga.follow(answer)
    login = await olga.send(
        answer.headers["location"], email="owner@example.com", password=PASSWORD
    )
    await api.http.post(f"/api/applications/{application_id}/revoke-tokens")
    await olga.follow(login)

    assert 'value="Typed"' in olga.page
    assert ">Before</textarea>" in olga.page
    await olga.send(path, 409, name="Typed", description="Before")
    await olga.send(path, name="Typed", description="Before")
    view = await api.house.views.find(application_id)
    assert view is not None
    assert (view.name, view.active) == ("Typed", False)


async def test_a_wrong_field_does_not_hide_somebody_elses_change(api: Api, olga: Visitor) -> None:
    """The form still is of the version that was looked at."""
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/edit"
    await olga.get(path)
    await olga.send(path, 422, name="", active="on")
    await api.http.post(f"/api/applications/{application_id}/revoke-tokens")
    await olga.send(path, 409, name="Build", active="on")


@pytest.mark.parametrize("page", ["edit", "deactivate", "rotate-secret", "delete"])
async def test_cancel_leads_to_no_other_site(olga: Visitor, page: str) -> None:
    """The address of the page is anybody's to write."""
    application_id, _, _ = await olga.add("CI")
    for elsewhere in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        await olga.get(f"/applications/{application_id}/{page}", params={"back": elsewhere})
        assert "evil" not in olga.page
        assert "javascript:" not in olga.page


async def test_an_edit_that_is_sent_twice_is_done_once(api: Api, olga: Visitor) -> None:
    """And is no conflict with itself."""
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/edit"
    await olga.get(path)
    sent = dict(olga.fields)
    for _ in range(2):
        await olga.send(path, name="Build", active="on", **sent)

    view = await api.house.views.find(application_id)
    assert view is not None
    assert view.version == 2


async def test_stopping_is_asked_about_and_says_what_will_stop(api: Api, olga: Visitor) -> None:
    """Activating is not."""
    application_id, _, _ = await olga.add("CI")
    moment = now() - timedelta(minutes=3)
    used = Use(
        application_id=application_id,
        secret_id=str(uuid4()),
        day=moment.date(),
        count=412,
        last_used_at=moment,
    )
    earlier = moment - timedelta(days=2)
    before = msgspec.structs.replace(used, day=earlier.date(), last_used_at=earlier)
    await UsageRecords(api.house.pool).take(
        UsageReport(reporter=str(uuid4()), sequence=1, uses=[before, used])
    )
    base = f"/applications/{application_id}"
    await olga.get(f"{base}/deactivate?back=/my-user")
    assert "Are you sure you want to deactivate the application?" in olga.page
    assert "Used 412 times in the last 24 hours, last 3 minutes ago." in olga.page
    assert "Yes, do it" in olga.page
    await olga.follow(await olga.send(f"{base}/deactivate"))
    assert "Deactivated successfully" in olga.page
    assert "Inactive" in olga.page
    await olga.follow(await olga.send(f"{base}/activate", back="/my-user"))
    assert "Activated successfully" in olga.page
    await olga.get(f"{base}/delete?back=/my-user")
    assert "Yes, Delete" in olga.page
    sent = dict(olga.fields)
    await olga.follow(await olga.send(f"{base}/delete"))
    assert "Deleted successfully" in olga.page
    await olga.follow(await olga.send(f"{base}/delete", **sent))
    assert "Deleted successfully" in olga.page
    assert olga.names() == ["caller"]


async def test_a_secret_is_replaced_and_revoked(api: Api, olga: Visitor) -> None:
    """The new one is shown once; the old one lives on as long as was chosen."""
    application_id, _, before = await olga.add("CI")
    base = f"/applications/{application_id}"
    await olga.get(f"{base}/rotate-secret")
    sent = dict(olga.fields)
    await olga.send(f"{base}/rotate-secret", 200, overlap="3600")
    _, secret = credentials(olga.page)
    assert secret != before
    await olga.send(f"{base}/rotate-secret", 200, overlap="3600", **sent)
    assert credentials(olga.page)[1] == secret
    await olga.send(f"{base}/rotate-secret", 409, overlap="0", **sent)
    view = await api.house.views.find(application_id)
    assert view is not None
    old, new = view.secrets
    assert old.expires_at is not None
    assert new.hint == secret[-4:]

    await olga.get(base)
    assert f"…{old.hint}" in olga.page
    await olga.get(f"{base}/secrets/{old.id}/revoke?back={base}")
    await olga.follow(await olga.send(f"{base}/secrets/{old.id}/revoke"))

    assert "Secret revoked" in olga.page
    view = await api.house.views.find(application_id)
    assert view is not None
    assert [one.id for one in view.secrets] == [new.id]
    await olga.get(f"{base}/secrets/{old.id}/revoke", 404)


async def test_the_page_of_an_application_tells_its_whole_story(api: Api, olga: Visitor) -> None:
    """Who did what, when; also after its end."""
    application_id, client_id, _ = await olga.add("CI")
    base = f"/applications/{application_id}"
    await olga.get(f"{base}/edit")
    await olga.send(f"{base}/edit", name="Build", active="on")
    await olga.get(f"{base}/revoke-tokens")
    await olga.send(f"{base}/revoke-tokens")
    await api.http.post(f"/api{base}/deactivate")
    await olga.get(base)

    told = re.findall(r"<li><p><strong>(.*?)</strong>", olga.page)
    assert told == [
        "Deactivated",
        "Access tokens revoked",
        "Changed: name",
        "Created",
    ]
    assert "Name: Build" in olga.page
    assert f"by client <code>{api.client_id}</code>" in olga.page
    assert client_id in olga.page
    await api.http.delete(f"/api{base}")
    await olga.get(base)
    assert "Deleted" in olga.page
    assert "More Options" not in olga.page


async def test_nobody_meets_what_is_not_theirs(api: Api, olga: Visitor) -> None:
    """On no page, and by no form: it might as well not be there."""
    other = await api.user("other@example.com")
    theirs, _ = await api.application_of(other, name="Theirs")
    await olga.get("/my-user")
    assert "Theirs" not in olga.page
    for page in ("", "/edit", "/deactivate", "/rotate-secret", "/delete", "/revoke-tokens"):
        await olga.get(f"/applications/{theirs}{page}", 404)
    for form in ("activate", "deactivate", "revoke-tokens"):
        await olga.send(f"/applications/{theirs}/{form}", 404)
    await olga.send(f"/applications/{theirs}/edit", 404, name="Mine", version="1")
    await olga.get("/system/oauth-applications", 403)
    await olga.get("/system/oauth-applications/new", 403)
    await olga.send("/system/oauth-applications/new", 403, name="X", owner="other@example.com")
    for wrong in ("x", "00000000-0000-4000-8000-000000000000"):
        await olga.get(f"/applications/{wrong}", 404)


async def test_administrators_see_and_add_for_those_they_are_over(api: Api) -> None:
    """Those of their organization; with global access all."""
    elsewhere = await api.house.directory.add_organization("Elsewhere")
    local = await api.user("local@example.com", administrator=True)
    far = await api.user("far@example.com", organizations=[elsewhere.id])
    await api.application_of(far, name="Far")
    await give_password(api, local)
    async with visitor_of(api).http as http:
        visitor = Visitor(http)
        await visitor.log_in("local@example.com", to="/system/oauth-applications")
        assert visitor.names() == ["caller"]
        new = "/system/oauth-applications/new"
        await visitor.get(new)
        await visitor.send(new, 200, name="Ours", owner="owner@example.com", active="on")
        credentials(visitor.page)
        await visitor.get(new)
        await visitor.send(new, 403, name="X", owner="far@example.com", active="on")
        await visitor.send(new, 422, name="X", owner="nobody@example.com", active="on")
        assert "There is no such user" in visitor.page
        await visitor.get("/system/oauth-applications?owner=owner@example.com&name=our")
        assert visitor.names() == ["Ours"]
        await visitor.get("/system/oauth-applications?owner=nobody@example.com")
        assert "No application fits" in visitor.page


async def test_many_organizations_are_named_and_not_listed(api: Api) -> None:
    """A page with a thousand boxes helps nobody, and is large."""
    everywhere = await api.house.directory.add_organization("Everywhere", global_access=True)
    for n in range(30):
        await api.house.directory.add_organization(f"Branch {n}")
    chief = await api.user("chief@example.com", organizations=[everywhere.id], administrator=True)
    await give_password(api, chief)
    await api.application_of(chief, name="Chief's")
    async with visitor_of(api).http as http:
        visitor = Visitor(http)
        await visitor.log_in("chief@example.com", to="/system/oauth-applications")
        assert "Branch 7" not in visitor.page
        await visitor.get("/system/oauth-applications?of=EXAM")
        assert visitor.names() == ["caller"]
        await visitor.get("/system/oauth-applications?of=nowhere")
        assert visitor.names() == []
        new = "/system/oauth-applications/new"
        await visitor.get(new)
        assert "Branch 7" not in visitor.page
        await visitor.send(
            new, 200, name="Named", owner="owner@example.com", organization="Example", active="on"
        )


async def test_without_keys_nothing_is_added_and_everybody_is_told(api: Api, olga: Visitor) -> None:
    """Also when they went while the form was open."""
    await olga.get(NEW)
    api.issuer.keys.clear()
    await api.http.get("/api/applications")
    forms = dict(olga.fields)

    async def missing() -> bool:
        await olga.get("/my-user")
        return KEYS_MISSING in olga.page

    await eventually(missing, 40)
    assert "disabled" in olga.page
    await olga.send(NEW, 503, name="X", active="on", **forms)
    assert KEYS_MISSING in olga.page


async def test_public_keys_are_given_and_taken_away(api: Api, olga: Visitor) -> None:
    """Pasted as PEM or as a set; what is no key is said at the field, with what was typed."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/edit"
    await olga.get(path)
    await olga.send(path, 422, name="CI", active="on", keys="-----BEGIN", **olga.fields)
    assert "There is something beside the PEM keys." in olga.page
    assert "-----BEGIN" in olga.page
    await olga.get(path)
    await olga.follow(await olga.send(path, name="CI", active="on", keys=pem, **olga.fields))
    await olga.get(f"/applications/{application_id}")
    assert "Public keys" in olga.page
    assert "Changed: keys" in olga.page
    await olga.get(path)
    assert "&#34;keys&#34;" in olga.page
    await olga.follow(await olga.send(path, name="CI", active="on", keys="", **olga.fields))
    view = await api.house.views.find(application_id)
    assert view is not None
    assert view.jwks is None


async def test_what_was_refused_is_shown_with_its_reason(api: Api, olga: Visitor) -> None:
    """To the owner, who can do something about it."""
    application_id, _, _ = await olga.add("CI")
    await olga.get(f"/applications/{application_id}")
    assert "Refused" not in olga.page
    failure = Failure(
        application_id=application_id,
        reason="expired_secret",
        day=now().date(),
        count=17,
        last_at=now(),
    )
    await UsageRecords(api.house.pool).take(
        UsageReport(reporter=str(uuid4()), sequence=1, uses=[], failures=[failure])
    )
    await olga.get(f"/applications/{application_id}")
    assert "The Client Secret has expired" in olga.page
