"""Mail through a real mail server, as it is found in the field."""

from pathlib import Path

from services.notifier.deliveries import Deliveries, Filter
from shared.sections import Notifier
from tests.integration.notifier.house import Directory, record, sending
from tests.support.eventually import eventually
from tests.support.missing import missing
from tests.support.private_exim import PrivateExim
from tests.unit.notifier.factories import application_created, envelope, recipient
from tests.unit.notifier.test_dkim import ED25519, verified, written

NAMES = {
    "ada": "Ada Lovelace, Countess",
    "olga": "Ольга Ладыженская",
    "ito": "伊藤 清",
    "zoe": 'Zoë "Zo" Müller',
    "noor": "نور الهدى",
}
APPLICATION = "Ночной импорт 夜間 naïve"


async def test_names_in_several_scripts_and_a_signature_arrive_whole(
    deliveries: Deliveries, tmp_path: Path
) -> None:
    """And who is unknown there is parked in the server's own words, without the address."""
    if not PrivateExim.is_installed():
        missing("no mail server for the tests: install exim4-daemon-light")
    people = [
        recipient(user_id=one, email=f"{one}@example.com", name=name)
        for one, name in {**NAMES, "nobody": "Nobody"}.items()
    ]
    events = [
        envelope(n, application_created(name=APPLICATION, owner=one.id))
        for n, one in enumerate(people, 1)
    ]
    await record(deliveries, *events)
    async with PrivateExim(*NAMES) as exim:
        values = Notifier.model_validate(
            {
                "sender_address": "apps@example.com",
                "sender_name": "Приложения, ACME",
                "smtp": {"port": exim.port},
                "dkim": {
                    "selector": "mail",
                    "private_key_file": written(tmp_path / "key", ED25519),
                },
            }
        )
        async with sending(deliveries, Directory(*people), values):
            await eventually(lambda: len(exim.taken) == len(NAMES), 30)
            await eventually(lambda: _states(deliveries, sent=len(NAMES), parked=1))

        (parked,) = await deliveries.page(Filter(state="parked"), 10)
        messages = {one["To"].addresses[0].username: one for one in exim.messages}
        raw = exim.taken

    assert parked["recipient"] == "nobody"
    assert parked["last_error"].startswith("550 ")
    assert "nobody of that name lives here" in parked["last_error"]
    assert "@" not in parked["last_error"]
    assert {one: message["To"].addresses[0].display_name for one, message in messages.items()} == (
        NAMES
    )
    for message in messages.values():
        assert message["From"].addresses[0].display_name == "Приложения, ACME"
        assert message["List-Id"] == "<notifications.example.com>"
        assert message["Auto-Submitted"] == "auto-generated"
        body = message.get_body(("plain",))
        assert body is not None
        assert APPLICATION in body.get_content()
    # As it was signed: what this server adds stands above it.
    for content in raw:
        mail = content.replace(b"\n", b"\r\n")
        assert verified(mail[mail.index(b"DKIM-Signature") :], ED25519)


async def _states(deliveries: Deliveries, **expected: int) -> bool:
    states = [row["state"] for row in await deliveries.page(Filter(), 100)]
    return all(states.count(state) == count for state, count in expected.items())
