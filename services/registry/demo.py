"""What a first start makes, so that a newcomer has somebody to be and something to try."""

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.registry.creation import CreatedApplication, NewApplication, create
from services.registry.desk import open_desk
from services.registry.directory_changes import Author, NewUser
from services.registry.handlers import Context
from shared.config import Settings

ORGANIZATION = "Example Organization"
ADMINISTRATOR = "admin@example.com"
USER = "user@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What was made; the secrets in it are known to nobody else."""

    administrator_password: str = field(repr=False)
    user_password: str = field(repr=False)
    application: CreatedApplication


async def make_demo(settings: Settings) -> Demo | None:
    """Make an organization, its administrator, a user and an application; None if there is any."""
    async with open_desk(settings) as desk:
        if await desk.directory.users() or await desk.directory.organizations():
            return None
        author = Author(
            context=Context(
                command_id=str(uuid.uuid4()),
                actor="cli:first-start",
                now=lambda: datetime.now(UTC),
            )
        )
        organization = await desk.changes.add_organization(ORGANIZATION, author, global_access=True)
        passwords = [secrets.token_urlsafe(12) for _ in range(2)]
        administrator = NewUser(
            email=ADMINISTRATOR,
            name="Ada Administrator",
            organizations=[organization.id],
            administrator=True,
            password=passwords[0],
        )
        await desk.changes.add_user(administrator, author)
        user = NewUser(
            email=USER, name="Uma User", organizations=[organization.id], password=passwords[1]
        )
        await desk.changes.add_user(user, author)
        application = await create(
            NewApplication(
                name="First application",
                owner=ADMINISTRATOR,
                scopes=tuple(settings.scopes),
            ),
            by=None,
            settings=settings,
            store=desk.store,
            directory=desk.directory,
            context=author.context,
        )
    return Demo(
        administrator_password=passwords[0],
        user_password=passwords[1],
        application=application,
    )
