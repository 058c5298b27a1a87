"""A store of LMDB after a failure from which it does not recover while it is open."""

from typing import Any, NoReturn

import lmdb


class GivenUp:
    """Neither reads nor writes."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment

    def begin(self, *_: object, **__: object) -> NoReturn:
        """Refuse, as LMDB does."""
        raise lmdb.PanicError("mdb_txn_begin")

    def close(self) -> None:
        """Close what it is about."""
        self._environment.close()
