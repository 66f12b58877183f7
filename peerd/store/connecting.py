"""Connections to the database of a space, set up alike wherever one is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 4 << 10
BUSY_TIMEOUT_S = 5.0
_STATEMENTS_CACHED = 256


def connect_writer(path: Path, *, checkpoints: bool) -> sqlite3.Connection:
    """A connection that writes, durable at every commit; SQLite's own checkpoints inside commits are for those who
    have none in the background.
    """
    connection = _connect(path, WRITER_CACHE_KIB)
    try:
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # see `room`; it would be written to any other file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {1_000 if checkpoints else 0}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_checkpoints(path: Path) -> sqlite3.Connection:
    """It does not wait for readers: writers wait for it."""
    connection = connect_writer(path, checkpoints=False)
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path, READER_CACHE_KIB)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        cached_statements=_STATEMENTS_CACHED,
        # The thread that opens is the thread that uses it; an inline runner may be closed by another one.
        check_same_thread=False,
    )
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
