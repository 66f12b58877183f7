"""A copy of a database that is in use: of one moment, whole, and looked through before anybody relies on it.

It is read over a connection of its own inside one read transaction, so writers go on and no page changes under it. The
WAL cannot begin anew meanwhile, and grows by what is written in that time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from peerd.store.failures import damaged, translate

STEP_PAGES = 256

Moved = Callable[[int, int], None]  # bytes so far, bytes in all


def _nobody_asks(_moved: int, _all: int) -> None:
    return


def copy_database(source: Path, target: Path, moved: Moved = _nobody_asks) -> None:
    """Copy the database at `source` to the new file `target`, durably, as one file without a WAL, for our user alone.
    `moved` hears how far it is; what it raises ends the copying, and no `target` stays.

    Raises:
        StoreDamaged: a page of `source` is damaged. DiskFull, StoreError: of either of the two.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise translate(problem, target) from problem
    try:
        _copy(source, target, moved)
        _settle(source, target)
    except BaseException:
        for suffix in ("", "-journal", "-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        raise


def _copy(source: Path, target: Path, moved: Moved) -> None:
    page_bytes = 0

    def step(_status: int, remaining: int, pages: int) -> None:
        moved((pages - remaining) * page_bytes, pages * page_bytes)

    try:
        reading = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    except sqlite3.Error as problem:
        raise translate(problem, source) from problem
    try:
        try:
            reading.execute("PRAGMA query_only = ON")
            page_bytes = int(reading.execute("PRAGMA page_size").fetchone()[0])
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it stands still
        except sqlite3.Error as problem:
            raise translate(problem, source) from problem
        writing = sqlite3.connect(target, isolation_level=None)
        try:
            reading.backup(writing, pages=STEP_PAGES, progress=step)
        except sqlite3.Error as problem:
            raise translate(problem, target) from problem
        finally:
            writing.close()
    finally:
        reading.close()


def copy_id_of(path: Path) -> bytes | None:
    """Which copy of a space is in that file; None if that cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reading:
            return bytes(reading.execute("SELECT copy_id FROM space").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return None


def look_through(path: Path) -> None:
    """Read every page of the database at `path`, beside whoever uses it. Raises StoreDamaged, StoreError."""
    try:
        reading = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            reading.execute("PRAGMA query_only = ON")
            found = str(reading.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            reading.close()
    except sqlite3.Error as problem:
        raise translate(problem, path) from problem
    if found != "ok":
        raise damaged(path, found.splitlines()[-1])


def _settle(source: Path, target: Path) -> None:
    try:
        writing = sqlite3.connect(target, isolation_level=None)
        try:
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, that may also be read where nobody can write
            found = str(writing.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            writing.close()
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except (sqlite3.Error, OSError) as problem:
        raise translate(problem, target) from problem
    if found != "ok":
        raise damaged(source, found.splitlines()[-1])
