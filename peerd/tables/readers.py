"""Is another process in the middle of reading a database, or of writing to it?

In WAL mode a reader holds a lock on a byte of the `-shm` file (wal.c of SQLite: 120 is the writer's, 121 and 122 are
those of checkpoints and recovery, 123 to 127 are marks of readers; 128 is held by every connection all the time).
/proc/locks lists them. A file in another journal mode has no such marks; there the locks themselves do the waiting.

Files are recognised by their inode alone, because some file systems show another device there than stat(2) does: at
worst a projection waits two seconds for nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

_FIRST, _LAST = 120, 127
_WRITER = 120
LOCKS = Path("/proc/locks")


class Readers:
    """Of one database."""

    def __init__(self, database: Path, locks: Path = LOCKS) -> None:
        self._shm = Path(f"{database.resolve()}-shm")
        self._locks = locks

    def any(self) -> bool:
        """False too where the system does not tell."""
        return self._holds(_FIRST, _LAST)

    def is_writer_among_them(self) -> bool:
        """Until this is false, what a writer has written may not be visible yet. False too where the system does not
        tell.
        """
        return self._holds(_WRITER, _WRITER)

    def _holds(self, first: int, last: int) -> bool:
        try:
            inode = self._shm.stat().st_ino
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
