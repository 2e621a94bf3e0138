"""SQLite under the ledger: one writing connection under a lock, readers that can only read.

SQLite 3.40 can corrupt its log when two connections write or checkpoint at once, so there is one writer, which alone
checkpoints. What is committed is on disk: WAL with `synchronous=FULL`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from tribo.ledger.tables import APPLICATION, MIGRATIONS, TABLES, VERSION
from tribo_schemas.config import BadConfig

DATABASE = "ledger.db"
LOCK = "ledger.lock"
CHECKED_UP_TO_BYTES = 256 << 20
"""Up to this size the whole file is checked when it is opened; beyond, only its head: a check reads all of it."""
CACHE_KIB = 65536


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


def writer(path: Path) -> sqlite3.Connection:
    """The writing connection, on tables of this version. Raises BadConfig: no SQLite file, damaged, another program's, or newer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        _check(connection, path)
        for pragma in (
            "journal_mode=WAL", "synchronous=FULL", f"cache_size=-{CACHE_KIB}", "temp_store=MEMORY",
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
    script = TABLES if not tables else "".join(MIGRATIONS[step] for step in range(version, VERSION))
    connection.executescript(
        f"BEGIN IMMEDIATE;{script}\nPRAGMA application_id={APPLICATION};PRAGMA user_version={VERSION};COMMIT;"
    )


def reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read. Raises BadConfig if there is no ledger of this version."""
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
