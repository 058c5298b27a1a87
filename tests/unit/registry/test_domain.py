"""An application's life: every command in every state."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as some

from services.registry.domain import (
    KEEP,
    LIVE_SECRETS,
    NAME_LIMIT,
    ActivateApplication,
    Application,
    ApplicationNotFound,
    Command,
    CreateApplication,
    DeactivateApplication,
    DeleteApplication,
    Deleted,
    InvalidDescription,
    InvalidName,
    NotCreated,
    RegistryError,
    RevokeSecret,
    RevokeTokens,
    RotateSecret,
    SecretNotFound,
    State,
    TooManySecrets,
    UpdateApplication,
    clean_name,
    decide,
    evolve,
    fold,
)
from shared.events import ApplicationDeleted, Event
from tests.unit.registry.decider import given, timed
from tests.unit.registry.factories import (
    MINUTE,
    NOON,
    SUBJECT,
    activated,
    application,
    create,
    created,
    deactivated,
    deleted,
    rotated,
    secret_facts,
    secret_revoked,
    tokens_revoked,
    updated,
)

CHANGES: tuple[Command, ...] = (
    UpdateApplication(name="Other"),
    ActivateApplication(),
    DeactivateApplication(),
    DeleteApplication(),
)
LATER = NOON + timedelta(days=1)


class TestCreate:
    def test_an_application_begins_with_all_it_is(self) -> None:
        """Whoever reads the log later has nothing else to go by."""
        given().when(create("CI")).then(created("CI"))

    def test_an_application_may_begin_inactive(self) -> None:
        """It is prepared today and used from Monday."""
        given().when(create(active=False)).then(created(active=False))

    def test_the_name_is_stored_without_the_space_around_it(self) -> None:
        """Nobody sees the difference, so there must be none."""
        given().when(create("  CI\u00a0")).then(created("CI"))

    @pytest.mark.parametrize("history", [(created(),), (created(), deleted())])
    def test_a_repeated_creation_is_quiet(self, history: tuple[Event, ...]) -> None:
        """The stream's id is fresh and random: only a repeat of the same command meets it."""
        given(*history).when(create()).then_nothing()

    def test_a_bad_name_is_refused(self) -> None:
        """Nothing is created that could not be renamed to the same."""
        given().when(create(" ")).then_refused(InvalidName)


class TestUpdate:
    def test_a_new_name_is_what_every_later_event_carries(self) -> None:
        """Events are understood one at a time."""
        given(created("CI")).when(UpdateApplication(name="Build")).then(updated("Build"))
        given(created("CI"), updated("Build")).when(DeactivateApplication()).then(
            deactivated("Build")
        )

    @pytest.mark.parametrize("name", ["CI", " CI "])
    def test_the_same_name_again_is_quiet(self, name: str) -> None:
        """A form that was saved unchanged makes no event and no mail."""
        given(created("CI")).when(UpdateApplication(name=name)).then_nothing()

    def test_a_deactivated_application_can_be_renamed(self) -> None:
        """Being off says nothing about what it is called."""
        given(created("CI"), deactivated()).when(UpdateApplication(name="Old")).then(updated("Old"))

    def test_only_what_is_new_is_named_as_changed(self) -> None:
        """A subscriber that copies all members must not think that everything was edited."""
        given(created("CI")).when(
            UpdateApplication(name="CI", description=" What it does ", scopes=("a",))
        ).then(
            updated(
                "CI", changed=("description", "scopes"), description="What it does", scopes=("a",)
            )
        )

    def test_an_end_is_set_and_lifted(self) -> None:
        """No end is a value of its own, not the absence of a change."""
        ending = updated("CI", changed=("expires_at",), expires_at=LATER)
        given(created("CI")).when(UpdateApplication(expires_at=LATER)).then(ending)
        given(created("CI"), ending).when(UpdateApplication(expires_at=LATER)).then_nothing()
        given(created("CI"), ending).when(UpdateApplication(expires_at=None)).then(
            updated("CI", changed=("expires_at",))
        )

    def test_an_update_with_the_switch_is_two_events(self) -> None:
        """Whoever waits for deactivations need not look into updates."""
        given(created("CI")).when(UpdateApplication(name="Old", active=False)).then(
            updated("Old"), deactivated("Old")
        )
        given(created("CI")).when(UpdateApplication(active=True)).then_nothing()

    def test_a_name_from_before_leaves_the_rest(self) -> None:
        """Events of the first version know no description, and must not take it away."""
        described = updated("CI", changed=("description",), description="Nightly")
        renamed_long_ago = updated("Old", description="", scopes=())

        state = fold(timed(created("CI"), described, renamed_long_ago))

        assert isinstance(state, Application)
        assert (state.name, state.description) == ("Old", "Nightly")

    @pytest.mark.parametrize("description", ["\x00", "a\u202eb", "x" * 2001])
    def test_a_bad_description_is_refused(self, description: str) -> None:
        """It is shown beside the name, to the same people."""
        given(created()).when(UpdateApplication(description=description)).then_refused(
            InvalidDescription
        )

    def test_a_bad_name_is_refused(self) -> None:
        """The rules are those of creation."""
        given(created()).when(UpdateApplication(name="a\nb")).then_refused(InvalidName, "control")


class TestActivation:
    def test_an_active_application_is_deactivated(self) -> None:
        """The reason is kept: it decides who may turn it on again."""
        given(created()).when(DeactivateApplication(reason="owner_disabled")).then(
            deactivated(reason="owner_disabled")
        )

    def test_a_deactivated_application_is_activated(self) -> None:
        """And the same secret works again."""
        given(created(), deactivated()).when(ActivateApplication()).then(activated())

    def test_one_created_inactive_is_activated(self) -> None:
        """There is no deactivation before it."""
        given(created(active=False)).when(ActivateApplication()).then(activated())

    def test_activating_what_is_active_is_quiet(self) -> None:
        """A second click is no second event."""
        given(created()).when(ActivateApplication()).then_nothing()
        given(created(), deactivated(), activated()).when(ActivateApplication()).then_nothing()

    def test_deactivating_what_is_inactive_is_quiet(self) -> None:
        """Also for another reason: the first one stands."""
        given(created(), deactivated()).when(
            DeactivateApplication(reason="owner_disabled")
        ).then_nothing()
        given(created(active=False)).when(DeactivateApplication()).then_nothing()


class TestDelete:
    @pytest.mark.parametrize("history", [(created(),), (created(), deactivated())])
    def test_an_application_is_deleted_active_or_not(self, history: tuple[Event, ...]) -> None:
        """Nobody should have to turn on what is to go."""
        given(*history).when(DeleteApplication()).then(deleted())

    def test_deleting_again_is_quiet(self) -> None:
        """Whoever repeats it has what was asked for."""
        given(created(), deleted()).when(DeleteApplication()).then_nothing()

    @pytest.mark.parametrize("command", CHANGES[:-1])
    def test_a_deleted_application_takes_no_other_command(self, command: Command) -> None:
        """It is gone for good."""
        given(created(), deleted()).when(command).then_refused(ApplicationNotFound)


@pytest.mark.parametrize("command", CHANGES)
def test_what_was_never_created_cannot_be_changed(command: Command) -> None:
    """An unknown id is not an application yet to come."""
    given().when(command).then_refused(ApplicationNotFound)


class TestSecrets:
    """Rotation and revocation."""

    NEW = secret_facts("dddddddd-0000-4000-8000-000000000002")
    NEWER = secret_facts("dddddddd-0000-4000-8000-000000000003", created_at=NOON + MINUTE)

    def test_a_secret_is_rotated_of_an_inactive_application_too(self) -> None:
        """It may have been deactivated because the secret leaked."""
        command = RotateSecret(secret=self.NEW, others_expire_at=LATER)

        (event,) = decide(command, fold(timed(created(active=False))))

        assert event == rotated(self.NEW, others_expire_at=LATER)

    def test_there_are_never_more_than_two_good_ones(self) -> None:
        """Unless the others end at once, for that makes room."""
        state = fold(timed(created(), rotated(self.NEW, others_expire_at=LATER)))

        with pytest.raises(TooManySecrets):
            decide(RotateSecret(secret=self.NEWER, others_expire_at=LATER), state)
        assert decide(RotateSecret(secret=self.NEWER, others_expire_at=NOON), state)

    def test_one_that_is_past_its_end_takes_no_room(self) -> None:
        """Rotations a day apart need nobody's help."""
        state = fold(timed(created(), rotated(self.NEW, others_expire_at=NOON + MINUTE)))

        assert decide(RotateSecret(secret=self.NEWER, others_expire_at=LATER), state)

    def test_only_a_secret_that_is_there_is_revoked(self) -> None:
        """A typo must not look like success."""
        state = fold(timed(created()))

        assert decide(RevokeSecret(secret_id=secret_facts().id), state) == [
            secret_revoked(secret_facts().id)
        ]
        with pytest.raises(SecretNotFound):
            decide(RevokeSecret(secret_id=self.NEW.id), state)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("", "blank"),
            ("   ", "blank"),
            ("\u2003\u00a0", "blank"),
            ("\u200b\u200d", "blank"),
            ("x" * (NAME_LIMIT + 1), "256 of 255"),
            ("a\x00b", "control"),
            ("a\tb", "control"),
            ("CI\n", "control"),
            ("a\x7fb", "control"),
            ("a\x85b", "control"),
            ("a\u2028b", "control"),
            ("a\u2029b", "control"),
            ("safe\u202egnp.exe", "control"),
            ("a\u2066b", "control"),
            ("a\ud800b", "control"),
        ],
    )
    def test_a_bad_name_is_refused_and_the_refusal_says_why(self, name: str, says: str) -> None:
        """Names stand in mail subjects, logs and tables."""
        with pytest.raises(InvalidName, match=says):
            clean_name(name)

    @pytest.mark.parametrize(
        ("given_name", "name"),
        [
            ("x" * NAME_LIMIT, "x" * NAME_LIMIT),
            (" " + "x" * NAME_LIMIT + " ", "x" * NAME_LIMIT),
            ("Überwachung für Łódź 🚀", "Überwachung für Łódź 🚀"),
            ("<b>' OR 1=1 --", "<b>' OR 1=1 --"),
            # Joins what belongs together: families, and words in Persian.
            ("👩\u200d🔧", "👩\u200d🔧"),
        ],
    )
    def test_what_people_write_is_a_name(self, given_name: str, name: str) -> None:
        """The limit counts characters, after the space around is gone."""
        assert name == clean_name(given_name)

    @for_all(some.text(alphabet=some.characters(), max_size=300))
    def test_a_clean_name_is_clean(self, text: str) -> None:
        """What was accepted once is accepted again, unchanged, and fits the column."""
        try:
            name = clean_name(text)
        except InvalidName:
            return
        assert name == clean_name(name)
        assert 0 < len(name) <= NAME_LIMIT
        assert name.encode()
        assert name.isprintable() or not any(ord(one) < 32 for one in name)


class TestEvolve:
    def test_creation_is_the_whole_state(self) -> None:
        """Nothing is made up on the way."""
        assert application() == fold(timed(created()))

    def test_every_event_says_when_the_application_last_changed(self) -> None:
        """People sort by it."""
        state = fold(timed(created(), deactivated(), updated("New")))

        assert state == application(active=False, name="New", updated_at=NOON + 2 * MINUTE)

    def test_rotation_adds_a_secret_and_lets_the_others_expire(self) -> None:
        """Both work for a while: a rotation needs no downtime."""
        new = secret_facts("dddddddd-0000-4000-8000-000000000002", created_at=NOON + MINUTE)
        old = secret_facts(expires_at=LATER)

        state = fold(timed(created(), rotated(new, others_expire_at=LATER)))

        assert isinstance(state, Application)
        assert {old.id: old, new.id: new} == state.secrets

    def test_rotation_never_prolongs_a_secret(self) -> None:
        """One that ends sooner goes on doing so."""
        first = created(secret=secret_facts(expires_at=NOON + MINUTE))
        new = secret_facts("dddddddd-0000-4000-8000-000000000002")

        state = fold(timed(first, rotated(new, others_expire_at=LATER)))

        assert isinstance(state, Application)
        assert state.secrets[secret_facts().id].expires_at == NOON + MINUTE

    @pytest.mark.parametrize("expires_at", [NOON, NOON - MINUTE])
    def test_rotation_leaves_no_secret_that_is_past_its_end(self, expires_at: datetime) -> None:
        """A life of many rotations has two secrets in the end, not many."""
        new = secret_facts("dddddddd-0000-4000-8000-000000000002")

        state = fold(timed(created(), rotated(new, others_expire_at=expires_at)))

        assert isinstance(state, Application)
        assert {new.id: new} == state.secrets

    def test_a_revoked_secret_is_gone(self) -> None:
        """An application may be without any."""
        state = fold(timed(created(), secret_revoked(secret_facts().id)))

        assert isinstance(state, Application)
        assert state.secrets == {}

    def test_revoked_tokens_leave_a_moment(self) -> None:
        """Older tokens are refused from then on."""
        state = fold(timed(created(), tokens_revoked(LATER)))

        assert isinstance(state, Application)
        assert state.not_before == LATER

    def test_of_a_deleted_application_its_owner_is_left(self) -> None:
        """Its history can still be asked for."""
        expected = Deleted(
            SUBJECT["application_id"], SUBJECT["organization_id"], SUBJECT["owner_id"]
        )

        assert expected == fold(timed(created(), deleted()))

    @pytest.mark.parametrize("history", [(), (created(), deleted())])
    def test_a_change_without_an_application_is_a_damaged_log(
        self, history: tuple[Event, ...]
    ) -> None:
        """Going on would answer with something that never was."""
        with pytest.raises(TypeError, match="ApplicationActivated in a stream without"):
            fold(timed(*history, activated()))


COMMANDS: some.SearchStrategy[Command] = some.one_of(
    some.builds(
        create,
        some.sampled_from(["CI", " CI ", "Build", ""]),
        active=some.booleans(),
    ),
    some.builds(
        UpdateApplication,
        name=some.sampled_from(["CI", "Build", " Build", "a\0", "", KEEP]),
        description=some.sampled_from(["", " What ", "\0", KEEP]),
        scopes=some.sampled_from([(), ("a",), KEEP]),
        expires_at=some.sampled_from([None, NOON, KEEP]),
        active=some.sampled_from([True, False, KEEP]),
    ),
    some.just(ActivateApplication()),
    some.builds(
        DeactivateApplication,
        reason=some.sampled_from(["requested", "owner_disabled", "organization_disabled"]),
    ),
    some.just(DeleteApplication()),
    some.builds(
        RotateSecret,
        secret=some.builds(
            secret_facts,
            some.uuids().map(str),
            created_at=some.integers(0, 9).map(lambda minutes: NOON + MINUTE * minutes),
        ),
        others_expire_at=some.integers(9, 20).map(lambda minutes: NOON + MINUTE * minutes),
    ),
    some.builds(RevokeSecret, secret_id=some.sampled_from([secret_facts().id, "none"])),
    some.builds(RevokeTokens, not_before=some.just(LATER)),
)
# Made anew each time they are commanded; the others are quiet when repeated.
UNIQUE = (CreateApplication, RotateSecret, RevokeSecret, RevokeTokens)


def attempt(command: Command, state: State) -> list[Event]:
    """Return what happens; nothing when it is refused."""
    try:
        return decide(command, state)
    except RegistryError:
        return []


@for_all(some.lists(COMMANDS, max_size=30))
def test_whatever_is_commanded_the_history_folds_to_what_was_decided(
    commands: list[Command],
) -> None:
    """State by steps and state from the log are one; a repeat is quiet; an end is an end."""
    state: State = NotCreated()
    history: list[Event] = []
    for command in commands:
        events = attempt(command, state)
        if isinstance(state, Deleted):
            assert events == []
        for event in events:
            state = evolve(state, event, NOON + MINUTE * len(history))
            history.append(event)
        if events and not isinstance(command, UNIQUE):
            assert decide(command, state) == []
        if isinstance(state, Application):
            assert {event.application_id for event in history} == {state.application_id}
            assert history[-1].name == state.name
            assert clean_name(state.name) == state.name
            assert len(state.secrets) <= LIVE_SECRETS
    assert state == fold(timed(*history))
    assert sum(isinstance(event, ApplicationDeleted) for event in history) <= 1


@for_all(some.lists(COMMANDS, max_size=30))
def test_deciding_changes_no_state(commands: list[Command]) -> None:
    """A command that is decided twice, since another writer came first, starts from the same."""
    state: State = NotCreated()
    for command in commands:
        first, second = attempt(command, state), attempt(command, state)
        assert first == second
        for event in first:
            state = evolve(state, event, NOON)
