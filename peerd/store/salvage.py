"""Reading the records of a damaged database: those on pages that can be read, whatever lies between.

The rows of a table are found by their ids over pages that tell which ids are below which page. So where one page is
damaged, reading goes on at the next id that can be read: it is looked for further and further on, and then, by halves,
as near as it is found. What is read is put into a database of its own, to be found by key: the index of the damaged one
cannot be trusted either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from peerd.core.writes import PARKED
from peerd.store.failures import is_damage

NEAR = 256  # ids after one that cannot be read that are tried one by one: there are less on a page
_LARGEST_ID = (1 << 63) - 1

_ROWS = (
    "SELECT id, collection, CAST(key AS BLOB), flags, share, stamps, body FROM main.record NOT INDEXED WHERE id > ?"
    " AND typeof(collection) = 'integer' AND typeof(key) = 'text' AND typeof(flags) = 'integer'"
    " AND typeof(share) = 'integer' AND typeof(stamps) = 'blob' AND typeof(body) = 'blob' ORDER BY id"
)


def salvage(connection: sqlite3.Connection) -> tuple[sqlite3.Connection, int]:
    """A database that goes when it is closed, with what can be read of `main.record` in its table `record`; and how
    many of these records are visible. It may be as large as the whole, so SQLite keeps it in a file if it likes. Raises
    sqlite3.Error.
    """
    read = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        read.execute(
            "CREATE TABLE record (collection, key, flags, share, stamps, body, PRIMARY KEY (collection, key))"
            " WITHOUT ROWID"
        )
        read.execute("BEGIN")
        read.executemany("INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?)", _readable(connection))
        read.execute("COMMIT")
        (visible,) = read.execute("SELECT count(*) FROM record WHERE flags & ? = 0", (PARKED,)).fetchone()
    except BaseException:
        read.close()
        raise
    return read, int(visible)


def _readable(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    after: int | None = 0
    while after is not None:
        try:
            for row in connection.execute(_ROWS, (after,)):
                after, number, key, *rest = row
                with suppress(UnicodeDecodeError):
                    yield number, key.decode(), *rest
        except sqlite3.DatabaseError as problem:
            if not is_damage(problem):
                raise
            after = _behind(connection, after or 0)
        else:
            return


def _behind(connection: sqlite3.Connection, after: int) -> int | None:
    """From where reading goes on if what follows `after` cannot be read; None if nothing can that follows."""
    lost, step = after, 1
    while not _is_readable(connection, lost + step):
        lost += step
        if lost - after >= NEAR:
            step *= 2
        if lost + step >= _LARGEST_ID:
            return None
    found = lost + step
    while found - lost > 1:
        middle = (lost + found) // 2
        if _is_readable(connection, middle):
            found = middle
        else:
            lost = middle
    return found


def _is_readable(connection: sqlite3.Connection, after: int) -> bool:
    """Does a row that can be read come next, or nothing at all?"""
    try:
        connection.execute(f"{_ROWS} LIMIT 1", (after,)).fetchone()
    except sqlite3.DatabaseError as problem:
        if not is_damage(problem):
            raise
        return False
    return True
