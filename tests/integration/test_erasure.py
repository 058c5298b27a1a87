"""`oauthapps users erase`: a person's data, in both databases, by one command."""

import json
import uuid
from datetime import timedelta
from pathlib import Path

import asyncpg

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.outcome import Verdict
from services.registry.handlers import Context, create_application
from shared.credentials import digest_of, new_client_id, new_client_secret
from tests.integration.notifier.house import migrated, record
from tests.integration.registry.house import House, house_on, now
from tests.integration.registry.test_cli import run
from tests.support.ports import free_port
from tests.unit.notifier.factories import application_created, envelope
from tests.unit.registry.factories import create, secret_facts

NOTIFIER = "OAUTHAPPS_NOTIFIER__DATABASE__URL"
HOME = "203.0.113.7"
WORDS = "550 Ada Lovelace has moved to Turin"


async def owned_application(house: House) -> str:
    """Let the owner own an application; return its id."""
    command = create(
        "CI",
        application_id=str(uuid.uuid4()),
        client_id=new_client_id(),
        organization_id=house.organization.id,
        owner_id=house.owner.id,
        secret=secret_facts(str(uuid.uuid4())),
    )
    context = Context(command_id=str(uuid.uuid4()), actor="cli:test", now=now)
    async with house.store() as store:
        await create_application(store, command, digest_of(new_client_secret()), context)
    return command.application_id


async def everything(pool: "asyncpg.Pool[asyncpg.Record]") -> str:
    """Return all that is stored in both schemas, as text."""
    tables = await pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('registry', 'notifier')"
    )
    found = []
    for table in tables:
        rows = await pool.fetch(f"SELECT t::text FROM {table['name']} AS t")  # noqa: S608 - of the catalogue
        found += [row["t"] for row in rows]
    return "\n".join(found)


async def test_a_person_is_erased_everywhere_and_their_applications_withdrawn(
    database_url: str, tmp_path: Path
) -> None:
    """By address the first time, by id ever after; the log and the mails' places stay."""
    async with house_on(database_url) as house:
        await migrated(database_url)
        owner = house.owner.id
        await run(house, "users", "update", owner, "--email", "ada@lovelace.example")
        await run(house, "users", "update", owner, "--name", "Ada Lovelace")
        await run(house, "users", "set-password", owner)
        application = await owned_application(house)
        await house.pool.execute(
            "INSERT INTO registry.sessions (id, user_id) VALUES ('x', $1)", owner
        )
        await house.pool.execute(
            "INSERT INTO registry.addresses VALUES ($1, $2, now(), now())", application, HOME
        )
        deliveries = Deliveries(house.pool)
        mails = [envelope(n, application_created(owner=owner)) for n in (1, 2, 3)]
        await record(deliveries, *mails, envelope(4, application_created()))
        for state in ("sent", "parked"):
            claim = await deliveries.claim(uuid.uuid4(), timedelta(minutes=1))
            assert claim is not None
            await deliveries.settle(claim, Verdict(state=state, reason=WORDS))
        events = await house.positions()

        # The notifier's database is away: what is done is done, and the rest is said.
        nowhere = f"postgresql://x@127.0.0.1:{free_port()}/x"
        half = await run(
            house, "users", "erase", "ada@lovelace.example", "--yes", **{NOTIFIER: nowhere}
        )
        with_notifier = {NOTIFIER: database_url}
        whole = await run(house, "users", "erase", owner, "--yes", "--json", **with_notifier)
        again = await run(house, "users", "erase", owner, "--yes", "--json", **with_notifier)
        asked = await run(house, "users", "erase", owner, given="n\n", **with_notifier)

        assert (half.returncode, half.stdout) == (1, "")
        assert f"run it again: oauthapps users erase {owner} --yes" in half.stderr
        assert whole.returncode == again.returncode == 0, whole.stderr + again.stderr
        assert json.loads(whole.stdout)["mails_withheld"] == 2
        assert json.loads(again.stdout) == {"id": owner, "erased": True, "mails_withheld": 0}
        assert asked.returncode == 1
        user = await house.directory.user(owner)
        assert (user.active, user.administrator) == (False, False)
        stored = await everything(house.pool)
        for word in ("ada@", "lovelace", "Lovelace", "Turin", "argon2", "Olga", "owner@", HOME):
            assert word not in stored, word
        view = await house.views.find(application)
        assert view is not None
        assert not view.active
        assert len(await house.positions()) == len(events) + 1
        states = [one["state"] for one in await deliveries.page(Filter(recipient=owner), 10)]
        assert sorted(states) == ["sent", "suppressed", "suppressed"]
        actions = await house.pool.fetch(
            "SELECT action FROM registry.directory_audit WHERE subject_id = $1 ORDER BY id", owner
        )
        assert [row["action"] for row in actions][-1] == "user.erased"
        unconcerned = await deliveries.page(Filter(state="due"), 10)
        assert [one["context"]["application_name"] for one in unconcerned] == ["CI"]
