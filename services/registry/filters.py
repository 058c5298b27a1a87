"""What lists of applications can be narrowed by, and ordered by."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Sort = Literal["name", "organization", "status", "created", "last_used"]
SORTS: tuple[Sort, ...] = get_args(Sort)
Status = Literal["active", "inactive", "expired"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which applications; None is any.

    `visible_owner` and `visible_organizations` are what the asker may see: the one's, or any of
    the others'. `active` is the switch alone, `status` what follows from it and from the expiry.
    """

    visible_owner: str | None = None
    visible_organizations: frozenset[str] | None = None
    name: str | None = None
    client_id: str | None = None
    active: bool | None = None
    status: Status | None = None
    owner_id: str | None = None
    organization_ids: frozenset[str] | None = None
    last_used_before: datetime | None = None
    last_used_since: datetime | None = None

    @property
    def switch(self) -> bool | None:
        """Which position of the switch is asked for, by `active` or by `status`."""
        if self.active is not None:
            return self.active
        return {"active": True, "inactive": False}.get(self.status or "")

    @property
    def only_owner(self) -> str | None:
        """The user whose applications alone can be in the list, if it is one's."""
        if self.owner_id is None and not self.visible_organizations:
            return self.visible_owner
        return self.owner_id


@dataclass(frozen=True, slots=True)
class Order:
    """By what, and in which direction. Names go from A, times from the earliest, active first."""

    by: Sort = "name"
    descending: bool = False


BY_NAME = Order()
