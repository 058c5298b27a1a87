"""What events mean to a client."""

from datetime import timedelta

from services.token.domain import evolve
from shared.clients import ClientRecord
from shared.credentials import digest_of, new_client_secret
from shared.events import NO_PRIVATE_DATA, Event, PrivateData
from tests.unit.token.factories import NOON, Application, client_record

SOON = NOON + timedelta(minutes=1)
LATER = NOON + timedelta(hours=1)


def after(*told: tuple[Event, PrivateData]) -> ClientRecord | None:
    record = None
    for event, private in told:
        record = evolve(record, event, private)
    return record


def test_a_created_application_is_the_client_it_describes() -> None:
    """Everything a token says comes from this record."""
    application = Application(scopes=("a", "b"))

    assert client_record(application) == after(application.created())


def test_an_application_created_inactive_is_inactive() -> None:
    """It exists, so that activation finds it, and gets no token."""
    application = Application()

    assert client_record(application, active=False) == after(application.created(active=False))


def test_deactivation_and_activation_change_nothing_else() -> None:
    """The same secret works again afterwards."""
    application = Application()

    off = after(application.created(), application.deactivated())
    on = after(application.created(), application.deactivated(), application.activated())

    assert client_record(application, active=False) == off
    assert client_record(application) == on


def test_a_new_name_means_nothing_to_a_client() -> None:
    """Names are not in tokens."""
    application = Application()

    assert after(application.created()) == after(application.created(), application.updated())


def test_a_deleted_client_is_gone() -> None:
    """There is no row to authenticate against."""
    application = Application()

    assert after(application.created(), application.deleted()) is None


def test_nothing_but_creation_makes_a_client() -> None:
    """A history that begins in the middle must not bring a deleted one back."""
    application = Application()

    for told in (
        application.activated(),
        application.deactivated(),
        application.updated(),
        application.deleted(),
        application.tokens_revoked(NOON),
        application.secret_revoked("s1"),
        application.rotated(new_client_secret(), others_expire_at=LATER),
    ):
        assert after(told) is None


def test_rotation_appends_the_new_secret_and_lets_the_others_expire() -> None:
    """Secrets stand in the order of their creation, as the registry's snapshot has them."""
    application, new = Application(), new_client_secret()

    record = after(application.created(), application.rotated(new, others_expire_at=LATER))

    assert record is not None
    assert [(one.id, one.expires_at) for one in record.secrets] == [("s1", LATER), ("s2", None)]
    assert digest_of(new) == record.secrets[1].digest


def test_rotation_never_prolongs_a_secret() -> None:
    """One that expires sooner than the grace period goes on doing so."""
    application = Application()

    record = after(
        application.created(expires_at=SOON),
        application.rotated(new_client_secret(), others_expire_at=LATER),
    )

    assert record is not None
    assert record.secrets[0].expires_at == SOON


def test_rotation_leaves_no_secret_that_is_past_its_end() -> None:
    """Each of them would be compared with what a client presents."""
    application = Application()

    record = after(
        application.created(expires_at=NOON),
        application.rotated(new_client_secret(), others_expire_at=LATER),
    )

    assert record is not None
    assert [one.id for one in record.secrets] == ["s2"]


def test_a_revoked_secret_is_gone_and_the_other_stays() -> None:
    """A leaked secret is ended without a new one."""
    application = Application()

    record = after(
        application.created(),
        application.rotated(new_client_secret(), others_expire_at=LATER),
        application.secret_revoked("s1"),
    )

    assert record is not None
    assert [one.id for one in record.secrets] == ["s2"]


def test_revoked_tokens_set_the_moment_before_which_tokens_are_refused() -> None:
    """Introspection will compare `iat` with it."""
    application = Application()

    record = after(application.created(), application.tokens_revoked(LATER))

    assert record is not None
    assert record.not_before == LATER


def test_a_blanked_digest_leaves_a_secret_that_matches_nothing() -> None:
    """Private data can be removed from the log without touching its shape."""
    application = Application()

    record = after((application.created()[0], NO_PRIVATE_DATA))

    assert record is not None
    assert record.secrets[0].digest == ""
