"""Who presents which credentials, and whether they are right."""

import base64
from datetime import timedelta

import pytest

from services.token.assertions import ASSERTION_TYPE
from services.token.client_auth import Credentials, authenticate, presented
from services.token.errors import InvalidClient, InvalidRequest
from services.token.parameters import Parameters
from shared.clients import ClientRecord, SecretRecord
from shared.credentials import digest_of, new_client_id, new_client_secret
from tests.unit.token.factories import NOON, Application, client_record


def basic(pair: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(pair.encode()).decode()}"


def body(**values: str) -> Parameters:
    return Parameters(values)


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_basic_credentials_are_read_whatever_the_case_of_the_scheme(scheme: str) -> None:
    """RFC 9110, section 11.1."""
    assert Credentials("id", "secret") == presented(basic("id:secret", scheme), body())


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("id:se:cret", ("id", "se:cret")),
        ("a%3Ab:c%20d", ("a:b", "c d")),
        ("a+b:c+d", ("a b", "c d")),
        ("%C3%A9:%E2%82%AC", ("é", "€")),
    ],
)
def test_basic_is_split_at_the_first_colon_and_each_half_form_decoded(
    pair: str, expected: tuple[str, str]
) -> None:
    """RFC 6749, section 2.3.1: the halves were form-encoded before they were joined."""
    assert Credentials(*expected) == presented(basic(pair), body())


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !!!",
        "Basic aWQ",  # no padding
        "Basic é",
        "Basic " + base64.b64encode(b"id").decode(),
        "Basic " + base64.b64encode(b"id:\xff").decode(),
        "Basic " + base64.b64encode(b"id:%ff").decode(),
        "Basic " + base64.b64encode(b":secret").decode(),
        "Basic " + base64.b64encode(b"id:").decode(),
        "Bearer token",
        "",
    ],
)
def test_unreadable_basic_credentials_are_a_failed_authentication(authorization: str) -> None:
    """401, not 400: the client tried to authenticate with the header."""
    with pytest.raises(InvalidClient):
        presented(authorization, body())


def test_credentials_of_the_body_are_accepted() -> None:
    """client_secret_post."""
    found = presented(None, body(client_id="id", client_secret="secret"))

    assert Credentials("id", "secret") == found


def test_an_equal_client_id_beside_basic_is_fine() -> None:
    """Some libraries always send it."""
    assert Credentials("id", "secret") == presented(basic("id:secret"), body(client_id="id"))


@pytest.mark.parametrize(
    ("authorization", "parameters"),
    [
        (basic("id:secret"), body(client_id="other")),
        (basic("id:secret"), body(client_secret="secret")),
        (basic("id:secret"), body(client_id="id", client_secret="secret")),
        (basic("id:secret"), body(client_assertion="x")),
        (None, body(client_id="id", client_secret="secret", client_assertion="x")),
        (None, body(client_secret="secret")),
        (None, body(client_assertion="x", client_id="id")),
        (None, body(client_assertion_type=ASSERTION_TYPE)),
    ],
)
def test_two_ways_or_contradicting_ways_are_refused(
    authorization: str | None, parameters: Parameters
) -> None:
    """RFC 6749, section 2.3: one method a request."""
    with pytest.raises(InvalidRequest):
        presented(authorization, parameters)


@pytest.mark.parametrize(
    "parameters",
    [body(), body(client_id="id"), body(client_assertion="x", client_assertion_type="saml")],
)
def test_a_request_without_a_usable_credential_is_not_authenticated(parameters: Parameters) -> None:
    """RFC 6749, section 5.2: "no client authentication included" is invalid_client."""
    with pytest.raises(InvalidClient):
        presented(None, parameters)


def test_a_secret_is_not_in_what_credentials_print() -> None:
    """They end up in tracebacks."""
    assert "oas_x" not in repr(Credentials("id", "oas_x"))


class Clients:
    """The projection as authentication sees it; `coming` is what a catch-up brings."""

    def __init__(self, *known: ClientRecord, coming: ClientRecord | None = None) -> None:
        self.known = {one.client_id: one for one in known}
        self.coming = coming
        self.catch_ups = 0

    def find(self, client_id: str) -> ClientRecord | None:
        return self.known.get(client_id)

    async def catch_up(self) -> None:
        self.catch_ups += 1
        if self.coming is not None:
            self.known[self.coming.client_id] = self.coming

    async def authenticate(self, client_id: str, secret: str) -> ClientRecord:
        credentials = Credentials(client_id, secret)
        return (await authenticate(credentials, self.find, self.catch_up, NOON)).client


async def test_the_right_secret_is_accepted_without_a_catch_up() -> None:
    """The main road asks nobody anything."""
    application = Application()
    clients = Clients(client_record(application))

    found = await clients.authenticate(application.client_id, application.secret)

    assert client_record(application) == found
    assert clients.catch_ups == 0


async def test_both_secrets_are_accepted_while_both_live() -> None:
    """Rotation without downtime."""
    application, new = Application(), new_client_secret()
    secrets = [
        SecretRecord(
            id="s1", digest=digest_of(application.secret), expires_at=NOON + timedelta(seconds=1)
        ),
        SecretRecord(id="s2", digest=digest_of(new)),
    ]
    clients = Clients(client_record(application, secrets=secrets))

    for secret in (application.secret, new):
        found = await clients.authenticate(application.client_id, secret)
        assert application.client_id == found.client_id


async def test_every_failure_looks_alike_and_gets_one_catch_up() -> None:
    """Neither body nor time may tell a guesser whether a client exists."""
    application = Application()
    known = client_record(application)
    blanked = [SecretRecord(id="s1", digest="")]
    cases = {
        "unknown client": (Clients(), application.secret),
        "wrong secret": (Clients(known), new_client_secret()),
        "client deactivated": (
            Clients(client_record(application, active=False)),
            application.secret,
        ),
        "secret expired": (
            Clients(client_record(application, expires_at=NOON)),
            application.secret,
        ),
    }
    answers = set()
    for reason, (clients, secret) in cases.items():
        with pytest.raises(InvalidClient) as failure:
            await clients.authenticate(application.client_id, secret)
        assert reason == failure.value.reason
        assert application.client_id == failure.value.client_id
        assert clients.catch_ups == 1
        answers.add((failure.value.status, failure.value.code, failure.value.description))
    assert len(answers) == 1

    for secrets in (blanked, []):
        with pytest.raises(InvalidClient):
            await Clients(client_record(application, secrets=secrets)).authenticate(
                application.client_id, application.secret
            )


async def test_what_a_catch_up_brings_is_accepted() -> None:
    """Whoever has just been given a secret can use it."""
    application, new = Application(), new_client_secret()
    rotated = client_record(application, secrets=[SecretRecord(id="s2", digest=digest_of(new))])

    for clients, secret in (
        (Clients(coming=client_record(application)), application.secret),
        (Clients(client_record(application), coming=rotated), new),
        (
            Clients(client_record(application, active=False), coming=client_record(application)),
            application.secret,
        ),
    ):
        found = await clients.authenticate(application.client_id, secret)
        assert application.client_id == found.client_id


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        ("x", new_client_secret()),
        (new_client_id(), "x"),
        (new_client_id(), "oas_" + "0" * 49),
        ("\ud800" * 32, "\ud800" * 53),
    ],
    ids=["client", "secret", "checksum", "half characters"],
)
async def test_junk_costs_no_look_up(client_id: str, secret: str) -> None:
    """What cannot be ours is refused before the store and the registry hear of it."""
    clients = Clients()

    with pytest.raises(InvalidClient) as failure:
        await clients.authenticate(client_id, secret)

    assert clients.catch_ups == 0
    assert failure.value.client_id in (None, client_id)
    assert failure.value.client_id != "x"
