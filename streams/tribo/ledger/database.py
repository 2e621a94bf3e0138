"""Which database the ledger stands on: a data folder (SQLite) or a `postgresql://` URL, and what can go wrong with either.

Statements are written once for both: `?` for a value, `IN (?*)` for a list of values; keys and text compare by bytes.
What differs is in sqlite.py and postgres.py, as two classes with the same methods and no more of them than the ledger uses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from tribo.ledger.postgres import PostgresDatabase
    from tribo.ledger.sqlite import SqliteDatabase

Result = TypeVar("Result")
Database: TypeAlias = "SqliteDatabase | PostgresDatabase"
Where: TypeAlias = str | Path
"""A data folder, a file that ends in .db, or a postgresql:// URL."""


class Outpaced(Exception):
    """Another writer moved the partition's row, or was in the way: this transaction's work is dropped, and what was known of
    the ledger forgotten. Look at `Ledger.offset`, and try again what is not in the ledger yet."""


def until_taken(work: Callable[[], Result], tries: int = 20) -> Result:
    """Do a transaction's work, again where another writer was in the way. Raises Outpaced when one was each time."""
    for _ in range(tries - 1):
        try:
            return work()
        except Outpaced:
            continue
    return work()


class NoRoom(Exception):
    """The disk is full: nothing was taken. It may be tried again when there is room."""


class Unreachable(Exception):
    """The database server does not answer. If it was lost in the middle of a commit, nobody knows whether that one stands:
    look at `Ledger.offset` once it is back, or give the same events again, which are then duplicates."""


def is_url(where: Where) -> bool:
    """Whether this names a PostgreSQL database rather than a folder."""
    return isinstance(where, str) and where.startswith(("postgresql://", "postgres://"))


def open_writing(where: Where) -> Database:
    """A connection that writes, on tables of this version. Raises BadConfig."""
    if is_url(where):
        from tribo.ledger.postgres import PostgresDatabase

        return PostgresDatabase.writing(str(where))
    from tribo.ledger.sqlite import SqliteDatabase

    return SqliteDatabase.writing(where)


def open_reading(where: Where) -> Database:
    """A connection that only reads. Raises BadConfig if there is no ledger of this version."""
    if is_url(where):
        from tribo.ledger.postgres import PostgresDatabase

        return PostgresDatabase.reading(str(where))
    from tribo.ledger.sqlite import SqliteDatabase

    return SqliteDatabase.reading(where)
