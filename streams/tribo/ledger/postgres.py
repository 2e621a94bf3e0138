"""PostgreSQL under the ledger: many workers, each with a connection of its own.

A transaction locks in one order, so that workers wait for each other and don't block each other: its partition's row, the
sources it names for the first time, the links it makes (sorted), the histories (by their numbers). What still collides, such as a merge
with a history that somebody else merges, PostgreSQL ends as a deadlock, and it is tried again (Outpaced). A worker that stops in
the middle of a transaction is cut off after IDLE_SECONDS, so that its locks go.

Batches are copied in binary form into temporary tables, and go from there with one statement. Text compares by bytes, as on SQLite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors
from psycopg import sql as words

from tribo.ledger.database import NoRoom, Outpaced, Unreachable
from tribo.ledger.tables import APPLICATION, HISTORIES_AT_ONCE, KEYS, MIGRATIONS, OLDEST, SERIALS, TABLES, TRIGGERS, VERSION
from tribo_schemas.config import BadConfig

FEW = 8
"""Up to so many rows go as statements of their own; beyond, by COPY."""
STREAMED_AT_ONCE = 2000
IDLE_SECONDS = 30
ERASED_FROM = ("events", "conflicts", "histories", "journeys", "promises", "findings", "revisions", "links", "raw", "rejects")
LOCK_SECONDS = 15
_IN_THE_WAY = (
    errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation, errors.LockNotAvailable,
)  # fmt: skip


def shown(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    return f"postgresql://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


class PostgresDatabase:
    """A connection, and the statements in PostgreSQL's own words. It connects again by itself after it was lost."""

    shared = True
    for_update = " FOR UPDATE"

    def __init__(self, url: str, reads: bool) -> None:
        self._url = url
        self._reads = reads
        self._types: dict[str, tuple[list[str], list[int]]] = {}
        self._filled: set[str] = set()
        self._made: set[str] = set()
        """Tables of which the temporary one was made in this transaction, and goes if it is dropped."""
        self._histories: tuple[int, int] = (0, 0)
        try:
            self.connection = self._connect()
        except psycopg.OperationalError as error:
            raise BadConfig(f"{shown(url)}: PostgreSQL can't be reached: {_first_line(error)}") from None
        except psycopg.Error as error:
            raise BadConfig(f"{shown(url)}: {_first_line(error)}") from None

    @classmethod
    def writing(cls, url: str) -> PostgresDatabase:
        """A writing connection, on tables of this version. Raises BadConfig: no server, no right to write, another program's
        database, or newer."""
        opened = cls(url, reads=False)
        try:
            opened._upgrade()
        except psycopg.Error as error:
            opened.close()
            raise BadConfig(f"{shown(url)}: the tables can't be made: {_first_line(error)}") from None
        except BaseException:
            opened.close()
            raise
        return opened

    @classmethod
    def reading(cls, url: str) -> PostgresDatabase:
        """A connection that only reads. Raises BadConfig if there is no ledger of this version."""
        opened = cls(url, reads=True)
        version = opened._version()
        if version is not None and version == VERSION:
            return opened
        opened.close()
        if version is None:
            raise BadConfig(f"{shown(url)}: there is no ledger yet; begin with `tribo worker measure` or `tribo import`")
        raise BadConfig(
            f"{shown(url)}: has version {version} of the tables, this tribo knows {VERSION}; start a worker of this version first"
        )

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(
            self._url, autocommit=True, connect_timeout=10, application_name="tribo", keepalives_idle=5, keepalives_interval=2,
            keepalives_count=3,
        )  # fmt: skip
        settings = {
            "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s", "lock_timeout": f"{LOCK_SECONDS}s", "client_min_messages": "warning",
            "default_transaction_read_only": "on" if self._reads else "off",
            "jit": "off",  # it costs more than such short statements take
        }  # fmt: skip
        for name, value in settings.items():
            connection.execute(words.SQL("SET {} = {}").format(words.Identifier(name), words.Literal(value)))
        self._types.clear()
        return connection

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()

    # -- the tables -------------------------------------------------------------------------------------------------

    def _version(self) -> int | None:
        """The version of the tables; None: there are none. Raises BadConfig if others' tables are here."""
        query = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
        found = {name for (name,) in self.rows(query)}
        if "tribo_tables" in found:
            ((version,),) = self.rows("SELECT version FROM tribo_tables")
            return int(version)
        if found & {"events", "histories", "findings", "partitions"}:
            raise BadConfig(f"{shown(self._url)}: holds another program's tables; name another database")
        return None

    def _upgrade(self) -> None:
        with self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPLICATION,))
            version = self._version()
            if version is not None and version > VERSION:
                raise BadConfig(
                    f"{shown(self._url)}: was written by a newer tribo (version {version} of its tables, this one knows {VERSION}); "
                    "use that tribo, or another database"
                )
            if version == VERSION:
                return
            if version is not None and version < OLDEST:
                raise BadConfig(
                    f"{shown(self._url)}: was written by a tribo before its first release; name another database and import anew"
                )
            if version is None:
                script = TABLES + TRIGGERS["postgres"]
                script += "CREATE TABLE tribo_tables (version NUMBER NOT NULL); INSERT INTO tribo_tables VALUES (0);"
            else:
                script = "".join(MIGRATIONS[step] for step in range(version, VERSION))
            self.connection.execute(_in_postgres(script).encode(), prepare=False)
            self.connection.execute("UPDATE tribo_tables SET version = %s", (VERSION,))

    # -- a transaction ----------------------------------------------------------------------------------------------

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Say in the ledger's words what went wrong: Outpaced, NoRoom or Unreachable."""
        try:
            yield
        except _IN_THE_WAY as error:
            raise Outpaced(f"another worker was in the way ({type(error).__name__}); this transaction's work was dropped") from error
        except errors.DiskFull as error:
            raise NoRoom("the disk of the database is full") from error
        except psycopg.OperationalError as error:
            raise Unreachable(f"{shown(self._url)}: {_first_line(error)}") from error
        except psycopg.Error as error:
            if self.connection.closed:
                raise Unreachable(f"{shown(self._url)}: {_first_line(error)}") from error
            raise

    def begin(self) -> None:
        """Begin to write."""
        if self.connection.closed:
            self.connection = self._connect()
        self._filled.clear()
        self._made.clear()
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        """When this returns, it is on the server's disk."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Drop what was written since `begin`."""
        for table in self._made:
            self._types.pop(table, None)
        with suppress(psycopg.Error):
            if not self.connection.closed and self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several looks at one state."""
        self._alive().execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self.rollback()

    # -- statements -------------------------------------------------------------------------------------------------

    def _alive(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self.connection.closed:
            self.connection = self._connect()
        return self.connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        with self._alive().cursor(binary=True) as cursor:
            return cursor.execute(_spoken(sql), parameters).fetchall()

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, as they are read."""
        with self._alive().transaction(), self.connection.cursor("stream", binary=True) as cursor:
            cursor.itersize = STREAMED_AT_ONCE
            yield from cursor.execute(_spoken(sql), parameters)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; returns how many rows it changed."""
        return self._alive().execute(_spoken(sql), parameters).rowcount

    def run_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for each row of values."""
        if rows:
            with self._alive().cursor() as cursor:
                cursor.executemany(_spoken(sql), rows)

    def add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add new rows; a number that the database gives is left out of them."""
        if rows:
            columns, _ = self._shape(table)
            if len(rows) <= FEW:
                self.run_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(len(columns))})", rows)
            else:
                self._copy(table, table, rows)

    def put(self, table: str, rows: Sequence[tuple[Any, ...]], change: str | None = None) -> None:
        """Write rows by their keys, over what stands; `change` is what to do then instead (DO UPDATE …)."""
        if not rows:
            return
        keys = KEYS[table]
        columns, _ = self._shape(table)
        if change is None:
            rest = [name for name in columns if name not in keys]
            change = f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)}" if rest else "DO NOTHING"
        conflict = f"ON CONFLICT ({', '.join(keys)}) {change}"
        if len(rows) <= FEW:
            self.run_many(f"INSERT INTO {table} VALUES ({_marks(len(columns))}) {conflict}", rows)
            return
        once = {row[: len(keys)]: row for row in rows}  # a statement may not meet a key twice
        self._copy_aside(table, list(once.values()))
        self.connection.execute(f"INSERT INTO {table} SELECT * FROM new_{table} {conflict}".encode())

    def claim(self, table: str, rows: Sequence[tuple[Any, ...]]) -> set[Any]:
        """Add rows whose first column is the key, unless another writer was first (waiting for one that is about to); returns the
        keys of these. Writers that give their rows in one order don't block each other."""
        if not rows:
            return set()
        self._copy_aside(table, rows)
        key = KEYS[table][0]
        made = self.rows(f"INSERT INTO {table} SELECT * FROM new_{table} ORDER BY {key} ON CONFLICT DO NOTHING RETURNING {key}")
        return {row[0] for row in rows} - {name for (name,) in made}

    def remove(self, table: str, keys: Sequence[tuple[Any, ...]]) -> None:
        """Remove rows by their keys."""
        names = KEYS[table]
        if len(keys) <= FEW:
            self.run_many(f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in names)}", keys)
            return
        columns, types = self._shape(table)
        arrays = ", ".join(f"%s::{'text' if types[columns.index(name)] == 25 else 'bigint'}[]" for name in names)
        same = " AND ".join(f"{table}.{name} = gone.{name}" for name in names)
        self.connection.execute(
            f"DELETE FROM {table} USING unnest({arrays}) AS gone({', '.join(names)}) WHERE {same}".encode(),
            [[key[place] for key in keys] for place in range(len(names))],
        )

    def new_history(self) -> int:
        """A number that no history has."""
        given, end = self._histories
        if given == end:
            ((given,),) = self.rows("SELECT nextval('history_numbers')")
            end = given + HISTORIES_AT_ONCE
        self._histories = (given + 1, end)
        return given

    def forget(self) -> None:
        """A transaction was dropped. The numbers taken for histories are still nobody else's."""

    def rows_of(self, table: str, columns: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """Some columns of the rows with these keys, which are bytes."""
        return self.rows(f"SELECT {columns} FROM {table} WHERE {KEYS[table][0]} IN (?*)", (list(keys),))

    def shred(self) -> bool:
        """Let the space of removed rows be written anew. The server's log and backups keep what they hold for their own retention."""
        try:
            for table in ERASED_FROM:
                self._alive().execute(f"VACUUM {table}".encode())
        except psycopg.Error:
            return False
        return True

    def bytes_used(self) -> int:
        """How large the database is."""
        ((size,),) = self.rows("SELECT pg_database_size(current_database())")
        return int(size)

    def _shape(self, table: str) -> tuple[list[str], list[int]]:
        """The columns that are written, and their types; the first time, a temporary table of that shape is made."""
        shape = self._types.get(table)
        if shape is None:
            described = self.connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description or []
            kept = [column for column in described if column.name != SERIALS.get(table)]
            shape = self._types[table] = ([column.name for column in kept], [column.type_code for column in kept])
            if table in KEYS:
                self._made.add(table)
                self.connection.execute(f"CREATE TEMPORARY TABLE new_{table} (LIKE {table}) ON COMMIT DELETE ROWS".encode())
        return shape

    def _copy_aside(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._shape(table)
        if table in self._filled:
            self.connection.execute(f"DELETE FROM new_{table}".encode())
        self._filled.add(table)
        self._copy(f"new_{table}", table, rows)

    def _copy(self, into: str, shape: str, rows: Sequence[tuple[Any, ...]]) -> None:
        columns, types = self._shape(shape)
        statement = f"COPY {into} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _in_postgres(script: str) -> str:
    return (
        re.sub(r"\s*COVERS \([^)]*\)", "", script).replace("SERIAL", "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
        .replace("NUMBER", "bigint").replace("BLOB", "bytea").replace(" TEXT", ' text COLLATE "C"').replace(" CLUSTERED", "")
    )  # fmt: skip


@lru_cache(512)
def _spoken(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("IN (?*)", "= ANY(%s)").replace("?", "%s").encode()


@lru_cache(64)
def _marks(count: int) -> str:
    return ",".join("?" * count)
