"""After a sync that failed: how a database is taken up again without a new start of the daemon.

The kernel tells once of a write that it lost, and from then on what it has in memory looks as if it were on the disk.
So whatever was written since the last sync that succeeded is in doubt, and is good only when it was written once more
and synced. What that is follows from how SQLite writes:

    WAL        what lies behind the last commit that was acknowledged. The next commit goes to the same place, so a
               commit that succeeds makes the WAL good, and leaves nothing of the one that failed: frames hang together
               by their checksums
    database   what checkpoints copied there, some of it counted as copied without a sync. The WAL has all of it: it
               begins anew only after a sync of the database that succeeded

    failed sync            nothing is written any more, and no checkpoint made; reading goes on
    a small commit         the disk takes writes again, the WAL is good
    a checkpoint           and so does the database's own file
    closed, without the    of a file that nobody has open, SQLite reads the WAL from its beginning, and forgets what it
    checkpoint that        counted as copied. Its own checkpoint at the end would copy the rest only, and delete the WAL
    SQLite makes then
    opened, alone, with    now all in the WAL was written to the database once more, and synced
    a whole checkpoint

To close without its checkpoint, SQLite must find that it is not alone: we hold the lock that readers hold. It has to
be one that conflicts with those of our own process (an open file description lock), and a checkpoint is made whole
before the first commit of every life, for the daemon may have been killed in between.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from pathlib import Path

from peerd import logs
from peerd.errors import StoreError
from peerd.store.failures import translate

log = logs.get(__name__)

FSYNC_FAILED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_FIRST_BYTE, _BYTES = 0x4000_0002, 510  # of the lock of readers: part of SQLite's file format
_FLOCK = "hhqqi4x"


def is_lost_sync(problem: BaseException) -> bool:
    """Was something lost that had been written?"""
    return getattr(problem, "sqlite_errorcode", None) in FSYNC_FAILED


def keep_wal(descriptor: int) -> None:
    """As long as this descriptor of the database is open, SQLite neither makes its last checkpoint nor deletes the WAL.
    It is closed when no connection of this process is left: that drops all locks of the process on the file.
    """
    try:
        _lock(descriptor, fcntl.F_RDLCK)
    except (
        OSError
    ) as problem:  # no reader is there that may not be there; without locks, as on some network, nothing helps
        log.warning("journal not kept", cause=str(problem))


def check_alone(path: Path) -> None:
    """Has nobody this database open? For when no connection of this process has. Raises StoreError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(descriptor, fcntl.F_WRLCK)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        raise _held(path) from None
    except OSError as problem:
        raise translate(problem, path) from problem


def copy_all(connection: sqlite3.Connection, path: Path, *, alone: bool) -> None:
    """Write all that the WAL has to the database, and sync it. What fails for want of room is left in the WAL, where it
    is safe, unless the file is opened `alone`.

    Raises:
        sqlite3.Error. StoreError: somebody else came in between.
    """
    try:
        _, in_wal, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as problem:
        if alone or is_lost_sync(problem):
            raise
        log.warning("checkpoint failed", path=str(path), cause=str(problem))
        return
    if alone and copied < in_wal:
        raise _held(path)


def _lock(descriptor: int, kind: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, _FIRST_BYTE, _BYTES, 0))


def _held(path: Path) -> StoreError:
    return StoreError(
        f"A sync of {path} failed, and another program has that file open: what was lost cannot be written again.",
        next_step="Find it with `fuser` and let it finish; peerd goes on by itself then.",
    )
