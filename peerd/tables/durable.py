"""Making durable what an application has committed, without any lock: nobody is refused anything meanwhile.

SQLite's own descriptors of the file are synced, found among those of this process. Opening the file once more would not
do: closing that would drop SQLite's locks. Nobody locks a rollback journal, and no SQLite sees its folder:
these are opened. The folder is synced because a journal whose removal is lost takes back what was committed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def sync(database: Path) -> bool:
    """All that is committed in `database`, which is open in this process, is durable; what others commit meanwhile may
    be. False: this system does not let it be done so.

    Raises:
        OSError: the disk does not take it.
    """
    database = database.resolve()
    wal, journal = (database.with_name(database.name + suffix) for suffix in ("-wal", "-journal"))
    ours = _open_here([wal, database])
    if database not in ours or (wal.exists() and wal not in ours):
        return False
    for path in (wal, database):  # whatever a checkpoint moves meanwhile is in one or in the other
        if path in ours and not _sync_here(ours[path], path):
            return False
    _sync(journal)
    _sync(database.parent)
    return True


def _open_here(paths: list[Path]) -> dict[Path, int]:
    """A descriptor of this process for each of these that it has open."""
    wanted = {number: path for path in paths if (number := _number(path)) is not None}
    found: dict[Path, int] = {}
    try:
        names = [path.name for path in _DESCRIPTORS.iterdir()]
    except OSError:
        return found
    for name in names:
        try:
            stat = os.fstat(int(name))
        except OSError:
            continue  # closed meanwhile
        path = wanted.get((stat.st_dev, stat.st_ino))
        if path is not None:
            found[path] = int(name)
    return found


def _sync_here(descriptor: int, path: Path) -> bool:
    """False: it was closed meanwhile, and may be another file's by now."""
    try:
        os.fdatasync(descriptor)
        stat = os.fstat(descriptor)
    except OSError as problem:
        if problem.errno == errno.EBADF:
            return False
        raise
    return (stat.st_dev, stat.st_ino) == _number(path)


def _number(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
