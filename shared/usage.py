"""How credentials are used, as the token service reports it to the registry; never in the log."""

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec

# A report is one short transaction of the registry.
USES_OF_A_REPORT = 500
# An IPv4 address, or the /64 of an IPv6 address.
Address = Annotated[str, msgspec.Meta(pattern="^[0-9a-f.:/]{1,64}$")]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a secret obtained on one day (UTC), and when the last."""

    application_id: str
    secret_id: str
    day: date
    count: int
    last_used_at: datetime


FailureReason = Literal[
    "wrong_secret",
    "malformed_secret",
    "malformed_basic",
    "expired_secret",
    "expired_application",
    "inactive_application",
    "bad_assertion",
    "unknown_scope",
    "unknown_resource",
    "bad_dpop_proof",
]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of an application were refused on one day (UTC), why, and when the last.

    Whoever knows a Client ID can cause them: they are for the owner to look at, and prove nothing.
    """

    application_id: str
    reason: FailureReason
    day: date
    count: int
    last_at: datetime


class AddressSeen(msgspec.Struct, frozen=True, kw_only=True):
    """From where an application obtained tokens, and when first and last since the last report."""

    application_id: str
    address: Address
    first_seen_at: datetime
    last_seen_at: datetime


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was noted since the report before.

    `reporter` is one process, `sequence` counts its reports from 1: one whose answer was lost is
    sent again as it was, and counted once.
    """

    reporter: str
    sequence: int
    uses: list[Use]
    failures: list[Failure] = []
    # None unless `token.report_addresses` is on.
    addresses: list[AddressSeen] = []


class FirstUse(msgspec.Struct, frozen=True, kw_only=True):
    """An application obtained a token from an address that it had not used before.

    `number` is its place in the list, `id` stays the same when a backup gives out numbers again.
    """

    number: int
    id: str
    application_id: str
    client_id: str
    organization_id: str
    owner_id: str
    name: str
    address: str
    seen_at: datetime


class FirstUses(msgspec.Struct, frozen=True, kw_only=True):
    """First uses in their order. The numbers are those of one history of the registry."""

    log_epoch: str
    items: list[FirstUse]
