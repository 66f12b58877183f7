"""Opening an application's file: who may, how our connection is set, and what can go wrong with it.

Nothing of the application's is changed by opening: not its journal mode, not its encoding, not its numbers. The file is
opened by SQLite alone, because closing any other descriptor of it in this process would drop SQLite's locks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from peerd.errors import DiskFull, StoreError, TableTrouble
from peerd.tables.places import check_place

BUSY_TIMEOUT_MS = 2_000  # a stop of the daemon waits for it
_MADE_BESIDE = "peerd would make files beside it that the application cannot open"


class Identity:
    """Which file stands at a path: another one may come to stand there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = _numbers(path)

    def check(self) -> None:
        """Raises TableTrouble: file-missing, file-replaced."""
        if _numbers(self._path) != self._numbers:
            raise TableTrouble(
                f"another file stands at {self._path} now",
                code="file-replaced",
                next_step="It is opened anew; if it was not bound, unbind it and bind it again.",
            )


def _numbers(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as problem:
        raise TableTrouble(
            f"there is no file {path} ({problem.strerror})",
            code="file-missing",
            next_step="If it is bound: put it back, or unbind it with --force; a new one of the application is another "
            "file. If it is to be bound: start the application once, or name the file where it is.",
        ) from problem
    return found.st_dev, found.st_ino


def check_owner(path: Path) -> None:
    """Is it ours to write, together with the application?

    Raises:
        TableTrouble: file-missing, file-network, file-not-owned, file-read-only.
    """
    _numbers(path)
    check_place(path)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise TableTrouble(f"{path} is no file", code="file-missing", next_step="Name the application's database.")
    if found.st_uid != os.geteuid():
        raise TableTrouble(
            f"{path} belongs to another user: {_MADE_BESIDE}",
            code="file-not-owned",
            next_step="Run peerd as that user: `systemctl --user enable --now peerd`.",
        )
    folder = path.resolve().parent
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise TableTrouble(
            f"{path} or its folder cannot be written", code="file-read-only", next_step="Check the modes of both."
        )


def connect(path: Path) -> apsw.Connection:
    """A connection that waits for locks, is durable at its commits, and leaves foreign keys to whoever asks.

    Raises:
        TableTrouble, DiskFull.
    """
    check_owner(path)
    with translated(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            for setting in ("synchronous = FULL", "foreign_keys = OFF", "recursive_triggers = OFF"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What SQLite says, as trouble of this file."""
    try:
        yield
    except apsw.Error as problem:
        raise trouble(path, problem) from problem
    except OSError as problem:  # of what we do without SQLite
        raise _trouble_of_disk(path, problem) from problem


def trouble(path: Path, problem: apsw.Error) -> StoreError:
    """The same in our words."""
    if isinstance(problem, apsw.FullError):
        return _disk_full(path)
    if isinstance(problem, apsw.BusyError | apsw.LockedError):
        return TableTrouble(
            f"the application keeps {path} locked",
            code="file-locked",
            next_step="It is tried again. If it stays so, the application leaves a transaction open, or wants the file "
            "for itself alone (PRAGMA locking_mode = EXCLUSIVE): end it, or set it otherwise.",
        )
    if isinstance(problem, apsw.CorruptError | apsw.NotADBError):
        return TableTrouble(
            f"{path} is damaged, or no SQLite database: {problem}",
            code="file-corrupt",
            next_step="Check it with `sqlite3 FILE 'PRAGMA integrity_check'`; restore it, or bind a new file.",
        )
    if isinstance(problem, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError):
        return TableTrouble(
            f"{path} cannot be opened for writing: {problem}",
            code="file-read-only",
            next_step="Check the modes of the file and its folder, and the file system.",
        )
    return TableTrouble(
        f"SQLite could not work with {path}: {problem}",
        code="table-failed",
        next_step="It is tried again; the log has more.",
    )


def _trouble_of_disk(path: Path, problem: OSError) -> StoreError:
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _disk_full(path)
    return TableTrouble(
        f"the disk of {path} does not keep what is written to it ({problem.strerror})",
        code="table-failed",
        next_step="It is tried again; look at the disk, and at the system's log.",
    )


def _disk_full(path: Path) -> DiskFull:
    return DiskFull(f"the disk of {path} is full", next_step="Make room; it is tried again.")
