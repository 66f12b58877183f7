"""What SQLite and the file system say, as errors of ours with a next step."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from peerd.errors import MORE_FILES, DiskFull, StoreBusy, StoreDamaged, StoreError, TooManyFiles

_FREE_ENOUGH_BYTES = 1 << 20
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNOPENED = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})  # or opened by half
_AT_ONCE = 16  # SQLite opens four for one connection; others of the process may have closed some since
_FAILED_STEP = (
    "Look for errors of the disk in the kernel's log, and replace it if there are any; peerd goes on by itself when it "
    "takes writes again."
)


def translate(problem: sqlite3.Error | OSError, path: Path) -> StoreError:
    """The error that says what `problem` means for the database at `path` and what a person does about it."""
    if isinstance(problem, OSError):
        return _of_system(problem, path)
    code = getattr(problem, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _UNOPENED and not descriptors_left():
        return _too_many_files(path)
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and not _has_space(path)):
        return disk_full(path)
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(
            f"Another process holds {path} and did not let go of it; nothing was written.",
            next_step="Find it with `fuser` and let it finish; only peerd may have this file open.",
        )
    if primary in _DAMAGE:
        return damaged(path, str(problem))
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN}:
        return StoreError(
            f"{path} cannot be opened for writing: {problem}.",
            next_step="Check owner and mode of the file and of its directory.",
        )
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(f"The disk failed under {path}: {problem} (code {code}).", next_step=_FAILED_STEP)
    return StoreError(f"{path}: {problem}.", next_step="This is a bug of peerd: please report it with the log.")


def is_damage(problem: sqlite3.Error) -> bool:
    """Is it about what stands on the pages, not about getting at them?"""
    code = getattr(problem, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def damaged(path: Path, why: str) -> StoreDamaged:
    """The database at `path` does not hold what was written to it."""
    return StoreDamaged(
        f"{path} is damaged: {why}.",
        next_step="`peerctl space rebuild NAME` sets the file aside and gets a new copy from the other members. If "
        "this is the only device, keep the file, try `sqlite3 FILE .recover`, or restore a backup.",
    )


def disk_full(path: Path) -> DiskFull:
    return DiskFull(
        f"There is no space left for {path}; nothing was written.",
        next_step="Free some space on that file system, then try again.",
    )


def descriptors_left() -> bool:
    """May this process open some more files? Whoever failed to open one has given back what it had opened before."""
    opened: list[int] = []
    try:
        opened += (os.open("/", os.O_PATH | os.O_CLOEXEC) for _ in range(_AT_ONCE))
    except OSError as problem:
        return problem.errno not in _NONE_LEFT
    finally:
        for one in opened:
            os.close(one)
    return True


def _too_many_files(path: Path) -> StoreError:
    return TooManyFiles(f"{path} cannot be opened: no file descriptors are left.", next_step=MORE_FILES)


def _of_system(problem: OSError, path: Path) -> StoreError:
    if problem.errno in _NONE_LEFT:
        return _too_many_files(path)
    if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(path)
    if problem.errno == errno.EIO:
        return StoreError(f"The disk failed under {path}: {problem.strerror}.", next_step=_FAILED_STEP)
    if problem.errno == errno.EROFS:
        return StoreError(
            f"{path} cannot be written: its file system is mounted read-only.",
            next_step="Mount it for writing. If the kernel did that by itself, its log says why: look at the disk.",
        )
    return StoreError(
        f"{path}: {problem.strerror or problem}.", next_step="Check owner and mode of the file and of its directory."
    )


def _has_space(path: Path) -> bool:
    # SQLite reports a full disk as an I/O error where it maps a file that can then not grow.
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return True
    return status.f_bavail * status.f_frsize >= _FREE_ENOUGH_BYTES
