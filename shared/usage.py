"""How credentials are used, as the token service reports it to the registry; never in the log."""

from datetime import date, datetime

import msgspec

# A report is one short transaction of the registry.
USES_OF_A_REPORT = 500


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a secret obtained on one day (UTC), and when the last."""

    application_id: str
    secret_id: str
    day: date
    count: int
    last_used_at: datetime


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was noted since the report before.

    `reporter` is one process, `sequence` counts its reports from 1: one whose answer was lost is
    sent again as it was, and counted once.
    """

    reporter: str
    sequence: int
    uses: list[Use]
