"""Connections to the database of a space, set up alike wherever one is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peerd.errors import StoreError

OLDEST_SQLITE = (3, 37, 0)  # of 2021: tables are STRICT
WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 4 << 10
BUSY_TIMEOUT_S = 5.0
_STATEMENTS_CACHED = 256


def check_library(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Can the SQLite that this Python has hold a space? Raises StoreError."""
    if version < OLDEST_SQLITE:
        needed, found = (".".join(map(str, one)) for one in (OLDEST_SQLITE, version))
        raise StoreError(
            f"the SQLite of this Python is {found}, and the databases of spaces need {needed} or newer",
            code="sqlite-too-old",
            next_step="Run peerd with a Python that has a newer one; `python3 -c 'import sqlite3; "
            "print(sqlite3.sqlite_version)'` tells which one has.",
        )


def connect_writer(path: Path, *, checkpoints: bool) -> sqlite3.Connection:
    """A connection that writes, durable at every commit; SQLite's own checkpoints inside commits are for those who
    have none in the background.
    """
    with _connected(path, WRITER_CACHE_KIB) as connection:
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # see `room`; it would be written to any other file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {1_000 if checkpoints else 0}")
    return connection


def connect_checkpoints(path: Path) -> sqlite3.Connection:
    """It does not wait for readers: writers wait for it."""
    connection = connect_writer(path, checkpoints=False)
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    with _connected(path, READER_CACHE_KIB) as connection:
        connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def _connected(path: Path, cache_kib: int) -> Iterator[sqlite3.Connection]:
    """It stays open, unless it cannot be set up."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        cached_statements=_STATEMENTS_CACHED,
        # The thread that opens is the thread that uses it; an inline runner may be closed by another one.
        check_same_thread=False,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        yield connection
    except BaseException:
        connection.close()
        raise


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
