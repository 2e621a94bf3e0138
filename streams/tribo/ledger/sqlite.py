"""SQLite under the ledger: one writing connection under a lock, readers that can only read.

SQLite 3.40 can corrupt its log when two connections write or checkpoint at once, so there is one writer, which alone
checkpoints. What is committed is on disk: WAL with `synchronous=FULL`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tribo.ledger.database import NoRoom
from tribo.ledger.tables import APPLICATION, KEYS, MIGRATIONS, OLDEST, SERIALS, TABLES, TRIGGERS, VERSION
from tribo_schemas.config import BadConfig

DATABASE = "ledger.db"
LOCK = "ledger.lock"
CHECKED_UP_TO_BYTES = 256 << 20
"""Up to this size the whole file is checked when it is opened; beyond, only its head: a check reads all of it."""
CACHE_KIB = 65536
PAGE_BYTES = 8192
"""Of a new file. Larger pages make a commit cheaper where neighbours are written together, and dearer where they are not."""
_json = msgspec.json.Encoder().encode


def database(folder: str | Path) -> Path:
    """The ledger's file in a data folder; a path that ends in .db is the file itself."""
    path = Path(folder)
    return path if path.suffix == ".db" else path / DATABASE


def lock(path: Path) -> int:
    """Hold the ledger for writing; the descriptor keeps the lock until it is closed. Raises BadConfig if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path.with_name(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(file)
        raise BadConfig(
            f"{path.parent}: another tribo process (pid {holder}) writes to this data folder; stop it, or name another folder"
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


class SqliteDatabase:
    """A connection, and the statements in SQLite's own words."""

    shared = False
    """Whether others write to the same ledger: then nothing is believed from memory without a look."""
    for_update = ""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock_file: int | None = None) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock_file
        self._names: dict[str, list[str]] = {}
        self._next_history = 0

    @classmethod
    def writing(cls, folder: str | Path) -> SqliteDatabase:
        """The writing connection, on tables of this version. Raises BadConfig: another process writes, no SQLite file, damaged,
        another program's, or newer."""
        path = database(folder)
        held = lock(path)
        try:
            return cls(path, _writer(path), held)
        except BaseException:
            os.close(held)
            raise

    @classmethod
    def reading(cls, folder: str | Path) -> SqliteDatabase:
        """A connection that can only read. Raises BadConfig if there is no ledger of this version."""
        path = database(folder)
        return cls(path, _reader(path))

    def close(self) -> None:
        """Close the database and let the lock go."""
        self.connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- a transaction ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to write."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """When this returns, it is on disk."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Drop what was written since `begin`."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Say in the ledger's words what went wrong: NoRoom. What else SQLite raises, nobody can go on from."""
        try:
            yield
        except sqlite3.Error as error:
            if is_full(error):
                raise NoRoom("the disk is full") from error
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several looks at one state."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")

    # -- statements -------------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        return self.connection.execute(_spoken(sql), _plain(parameters)).fetchall()

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are read."""
        return self.connection.execute(_spoken(sql), _plain(parameters))

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; returns how many rows it changed."""
        return self.connection.execute(_spoken(sql), _plain(parameters)).rowcount

    def run_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for each row of values."""
        if rows:
            self.connection.executemany(sql, rows)

    def add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add new rows; a number that the database gives is left out of them."""
        if rows:
            number = table in SERIALS
            marks = _marks(len(self._columns(table)) - number)
            self.connection.executemany(f"INSERT INTO {table} VALUES ({'NULL,' if number else ''}{marks})", rows)

    def put(self, table: str, rows: Sequence[tuple[Any, ...]], change: str | None = None) -> None:
        """Write rows by their keys, over what stands; `change` is what to do then instead (DO UPDATE …)."""
        if not rows:
            return
        columns, keys = self._columns(table), KEYS[table]
        if change is None:
            rest = [f"{name} = excluded.{name}" for name in columns if name not in keys]
            change = f"DO UPDATE SET {', '.join(rest)}" if rest else "DO NOTHING"
        self.connection.executemany(
            f"INSERT INTO {table} VALUES ({_marks(len(columns))}) ON CONFLICT ({', '.join(keys)}) {change}", rows
        )

    def claim(self, table: str, rows: Sequence[tuple[Any, ...]]) -> set[Any]:
        """Add rows whose first column is the key, unless another writer was first; returns the keys of these. Here there is no other."""
        self.put(table, rows)
        return set()

    def remove(self, table: str, keys: Sequence[tuple[Any, ...]]) -> None:
        """Remove rows by their keys."""
        if keys:
            self.connection.executemany(f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in KEYS[table])}", keys)

    def new_history(self) -> int:
        """A number that no history has."""
        if not self._next_history:
            ((self._next_history,),) = self.rows("SELECT coalesce(max(history), 0) + 1 FROM histories")
        self._next_history += 1
        return self._next_history - 1

    def forget(self) -> None:
        """A transaction was dropped: know nothing from before."""
        self._next_history = 0

    def rows_of(self, table: str, columns: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """Some columns of the rows with these keys, which are bytes."""
        return self.rows(f"SELECT {columns} FROM {table} WHERE {KEYS[table][0]} IN ({_marks(len(keys))})", keys)

    def shred(self) -> bool:
        """Leave no byte of removed rows in the files; False if a reader is in the way."""
        self.connection.execute("PRAGMA temp_store=FILE")
        try:
            self.connection.execute("VACUUM")
            ((busy, _, _),) = self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self.connection.execute("PRAGMA temp_store=MEMORY")
        return not busy

    def bytes_used(self) -> int:
        """How large the database is."""
        ((pages,),) = self.rows("PRAGMA page_count")
        ((page,),) = self.rows("PRAGMA page_size")
        return int(pages) * int(page)

    def _columns(self, table: str) -> list[str]:
        if table not in self._names:
            self._names[table] = [row[1] for row in self.rows(f"PRAGMA table_info({table})")]
        return self._names[table]


@lru_cache(512)
def _spoken(sql: str) -> str:
    return sql.replace("IN (?*)", "IN (SELECT value FROM json_each(?))")


@lru_cache(64)
def _marks(count: int) -> str:
    return ",".join("?" * count)


def _plain(parameters: Sequence[Any]) -> Sequence[Any]:
    for value in parameters:
        if type(value) is list:
            return [_json(value).decode() if type(value) is list else value for value in parameters]
    return parameters


def _writer(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        _check(connection, path)
        for pragma in (
            f"page_size={PAGE_BYTES}", "journal_mode=WAL", "synchronous=FULL", f"cache_size=-{CACHE_KIB}", "temp_store=MEMORY",
            "wal_autocheckpoint=8000", "journal_size_limit=67108864",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")
        _upgrade(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_full(error):
            raise BadConfig(f"{path}: the disk is full; make room") from None
        raise BadConfig(f"{path}: is damaged or no ledger ({error}); restore it from a backup, or move it away and import anew") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size == 0:
        return
    if path.stat().st_size <= CHECKED_UP_TO_BYTES:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise BadConfig(f"{path}: is damaged ({verdict}); restore it from a backup, or move it away and import anew")


def _in_sqlite(script: str) -> str:
    spoken = re.sub(r"\)\s*COVERS \(", ", ", re.sub(r" *--.*", "", script))
    return (
        spoken.replace("SERIAL", "INTEGER PRIMARY KEY").replace("NUMBER NOT NULL PRIMARY KEY", "INTEGER PRIMARY KEY")
        .replace("NUMBER", "INTEGER").replace("CLUSTERED", "WITHOUT ROWID")
    )  # fmt: skip


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION:
        raise BadConfig(f"{path}: is not a tribo ledger; name another folder")
    if version > VERSION:
        raise BadConfig(
            f"{path}: was written by a newer tribo (version {version} of its tables, this one knows {VERSION}); "
            "use that tribo, or another folder"
        )
    if version == VERSION:
        return
    if tables and version < OLDEST:
        raise BadConfig(f"{path}: was written by a tribo before its first release; move it away and import anew")
    script = TABLES + TRIGGERS["sqlite"] if not tables else "".join(MIGRATIONS[step] for step in range(version, VERSION))
    with suppress(sqlite3.OperationalError):
        connection.execute("ROLLBACK")
    connection.executescript(
        f"BEGIN IMMEDIATE;{_in_sqlite(script)}\nPRAGMA application_id={APPLICATION};PRAGMA user_version={VERSION};COMMIT;"
    )


def _reader(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise BadConfig(f"{path}: there is no ledger yet; begin with `tribo run` or `tribo import`")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise BadConfig(f"{path}: can't be read ({error})") from None
    if version != VERSION:
        connection.close()
        raise BadConfig(
            f"{path}: has version {version} of the tables, this tribo knows {VERSION}; open it with `tribo run` of this version"
        )
    return connection


def is_full(error: BaseException) -> bool:
    """Whether there was no room: the disk, the quota, or the file's own limit of pages."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
