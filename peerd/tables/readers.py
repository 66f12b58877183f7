"""Is another process in the middle of reading a database, or of writing to it?

In WAL mode a reader holds a lock on a byte of the `-shm` file (wal.c of SQLite: 120 is the writer's, 121 and 122 are
those of checkpoints and recovery, 123 to 127 are marks of readers; 128 is held by every connection all the time). In
other modes the locks are on the database itself (os.h of SQLite: a byte that holds off new readers, a writer's, and 510
of readers, from one gibibyte on); there is no `-shm` file then, nor where an application in WAL mode has the file for
itself alone. /proc/locks lists them all, and reading it opens nothing of SQLite's.

Files are recognised by their inode alone, because some file systems show another device there than stat(2) does: at
worst a projection waits two seconds for nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

LOCKS = Path("/proc/locks")
_PENDING = 0x40000000


class _Bytes(NamedTuple):
    """Of one file: those that anybody holds, and of them those of writers."""

    inode: int
    first: int
    last: int
    first_of_writers: int
    last_of_writers: int


class Readers:
    """Of one database."""

    def __init__(self, database: Path, locks: Path = LOCKS) -> None:
        self._database = database.resolve()
        self._shm = Path(f"{self._database}-shm")
        self._locks = locks

    def any(self) -> bool:
        """False too where the system does not tell."""
        found = self._bytes()
        return found is not None and self._holds(found.inode, found.first, found.last)

    def is_writer_among_them(self) -> bool:
        """Until this is false, what a writer has written may not be visible yet. False too where the system does not
        tell.
        """
        found = self._bytes()
        return found is not None and self._holds(found.inode, found.first_of_writers, found.last_of_writers)

    def _bytes(self) -> _Bytes | None:
        try:
            return _Bytes(self._shm.stat().st_ino, 120, 127, 120, 120)
        except OSError:
            pass
        try:
            return _Bytes(self._database.stat().st_ino, _PENDING, _PENDING + 511, _PENDING, _PENDING + 1)
        except OSError:
            return None

    def _holds(self, inode: int, first: int, last: int) -> bool:
        try:
            lines = self._locks.read_text("ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return False
        us = os.getpid()
        return any(_is_mark(line, inode, us, first, last) for line in lines)


def _is_mark(line: str, inode: int, us: int, first: int, last: int) -> bool:
    """Does somebody else hold one of these bytes? `1: POSIX  ADVISORY  READ 1234 08:02:5678 123 123`; those who wait
    have `->` after the number.
    """
    words = line.split()
    if len(words) != 8 or words[1] != "POSIX":
        return False
    pid, place, begin, end = words[4:]
    if place.rpartition(":")[2] != str(inode) or pid == str(us):
        return False
    return int(begin) <= last and (end == "EOF" or int(end) >= first)
