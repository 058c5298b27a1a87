"""Adding an application: whose it becomes, where, with which scopes, and its one secret.

The pages, the REST API and the command line all come through here.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.registry.directory import (
    Organization,
    OrganizationUnknown,
    User,
    UserUnknown,
)
from services.registry.domain import (
    CreateApplication,
    RegistryError,
    clean_description,
    clean_name,
)
from services.registry.draws import CLIENT_SECRET, new_id
from services.registry.handlers import Context, create_application
from services.registry.permissions import may_create_for, may_have_secret_of
from services.registry.ports import Store
from services.registry.terms import FieldRefused, ahead, grantable
from services.registry.views import ApplicationView, Named, SecretView, jwks_view
from shared import credentials
from shared.config import Settings
from shared.events import PublicKey, SecretFacts

OUTRANKED = "The owner is an administrator with rights you do not have: they must do this."


class Forbidden(RegistryError):
    """The one who asks may not do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApplication:
    """What was asked for. Owner and organization by id, address or name; None is the asker's.

    The current organization is where the asker is at work: unless it has global access, it is meant
    where none is named.
    """

    name: str
    organization: str | None = None
    owner: str | None = None
    description: str = ""
    active: bool = True
    scopes: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    secret_expires_at: datetime | None = None
    keys: tuple[PublicKey, ...] = ()
    token_seconds: int | None = None
    current_organization_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedApplication:
    """What only the one who asked gets to see."""

    application_id: str
    client_id: str
    client_secret: str = field(repr=False)
    # Not read again: whoever has the only copy of the secret must not fail any more.
    view: ApplicationView


class Places(Protocol):
    """Who may own an application and where it may be, as the directory knows them."""

    async def user(self, reference: str) -> User:
        """Return a user by id or e-mail address. Raises UserUnknown."""

    async def organization(self, reference: str) -> Organization:
        """Return an organization by id or name. Raises OrganizationUnknown."""


async def create(
    new: NewApplication,
    *,
    by: User | None,
    settings: Settings,
    store: Store,
    directory: Places,
    context: Context,
) -> CreatedApplication:
    """Add an application on behalf of a user, or of the operator (`by` is None).

    Raises FieldRefused, Forbidden, InvalidName, InvalidDescription, NameTaken, OwnerUnavailable,
    TransientFailure; then nothing was added.
    """
    name = clean_name(new.name)
    owner = await _owner(new, by, directory)
    organization = await _organization(new, owner, by, directory)
    if by is not None and not may_create_for(
        by.actor, owner_id=owner.id, organization_id=organization.id
    ):
        raise Forbidden("Only an administrator of the owner's organization may do this.")
    if by is not None and not may_have_secret_of(by.actor, owner.person):
        raise Forbidden(OUTRANKED)
    _check_place(owner, organization)
    wanted = settings.registry.default_scopes if new.scopes is None else new.scopes
    scopes = grantable(wanted, by=by, settings=settings)
    now = context.now()
    secret = credentials.new_client_secret(context.random(CLIENT_SECRET))
    command = CreateApplication(
        application_id=new_id(context.random("application")),
        client_id=credentials.new_client_id(context.random("client")),
        organization_id=organization.id,
        owner_id=owner.id,
        name=name,
        description=clean_description(new.description),
        active=new.active,
        scopes=scopes,
        expires_at=ahead(new.expires_at, now, "expires_at"),
        secret=SecretFacts(
            id=new_id(context.random("secret")),
            hint=credentials.hint_of(secret),
            created_at=now,
            expires_at=ahead(new.secret_expires_at, now, "secret_expires_at"),
        ),
        keys=new.keys,
        token_seconds=new.token_seconds,
    )
    began = await create_application(store, command, credentials.digest_of(secret), context)
    return CreatedApplication(
        application_id=command.application_id,
        client_id=command.client_id,
        client_secret=secret,
        view=_view(command, began, owner, organization),
    )


def _view(
    command: CreateApplication, began: datetime, owner: User, organization: Organization
) -> ApplicationView:
    """Return what the read model shows of it now."""
    secret = command.secret
    return ApplicationView(
        id=command.application_id,
        client_id=command.client_id,
        name=command.name,
        organization=Named(id=organization.id, name=organization.name),
        owner=Named(id=owner.id, name=owner.name),
        description=command.description,
        active=command.active,
        scopes=list(command.scopes),
        expires_at=command.expires_at,
        jwks=jwks_view(command.keys),
        token_lifetime=command.token_seconds,
        created_at=began,
        updated_at=began,
        secrets=[
            SecretView(
                id=secret.id,
                hint=secret.hint,
                created_at=secret.created_at,
                expires_at=secret.expires_at,
            )
        ],
        version=1,
    )


async def _owner(new: NewApplication, by: User | None, directory: Places) -> User:
    if new.owner is None:
        if by is None:
            raise FieldRefused("Name the owner.", "owner")
        return by
    try:
        return await directory.user(new.owner)
    except UserUnknown as error:
        raise FieldRefused(str(error), "owner") from None


async def _organization(
    new: NewApplication, owner: User, by: User | None, directory: Places
) -> Organization:
    if new.organization is not None:
        try:
            return await directory.organization(new.organization)
        except OrganizationUnknown as error:
            raise FieldRefused(str(error), "organization") from None
    choices = [one for one in owner.organizations if one.active]
    if len(choices) == 1:
        return choices[0]
    here = [one for one in choices if one.id == new.current_organization_id]
    if here and not here[0].global_access:
        return here[0]
    if not choices:
        raise FieldRefused("The owner belongs to no active organization.", "owner")
    whose = "You belong" if by is not None and by.id == owner.id else "The owner belongs"
    raise FieldRefused(f"{whose} to several organizations: choose one.", "organization")


def _check_place(owner: User, organization: Organization) -> None:
    """Say exactly what is wrong; the append checks it again, under the log's lock."""
    if not owner.active:
        raise FieldRefused("The owner is disabled.", "owner")
    if not owner.belongs_to(organization.id):
        raise FieldRefused("The owner does not belong to this organization.", "owner")
    if not organization.active:
        raise FieldRefused("The organization is disabled.", "organization")
