"""The mark: what a copy remembers outside of its database, so that a database that went back in time is recognised.

An origin's sequence numbers must never be given twice. The database alone cannot know that it was restored from a
backup, so a second small file, which no backup should contain, says how far the own origin had come. It is written
after every commit that moves the own origin and is not synced then: a killed process loses nothing that it wrote, and
a machine that went down is recognised by the kernel's boot id.

The own origin goes on only if all of these hold when the database is opened:

    there is a mark that can be read
    it has the machine and the inode of this database, which are those of now
    its token is the one in the database, which is drawn at every opening
    its origin is the own origin in the database, of this device
    the database's own sequence is not behind the mark's
    the mark was closed cleanly, or written since the kernel started

What this cannot see (a whole machine set back, mark and all) the peers notice: they know more of us than we do.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from peerd import logs
from peerd.store.failures import translate
from peerd.store.machine import Machine

log = logs.get(__name__)

WENT_DOWN = "The machine went down while the database was in use: it may have lost what was written last."
_SIZE_BYTES = 512
_encode = msgspec.json.Encoder().encode


class Mark(Struct, frozen=True):
    """`next_token` is what the token is about to become while the database is being opened."""

    token: str
    machine: str
    boot: str
    inode: int
    origin: str = ""
    seq: int = 0
    clean: bool = False
    next_token: str = ""


class Standing(Struct, frozen=True):
    """What the database and the machine say, to be compared with a mark."""

    token: str
    machine: Machine
    inode: int
    origin: str
    seq: int


_decoder = msgspec.json.Decoder(Mark)


def objection(mark: Mark | None, standing: Standing) -> str:
    """Why the own origin may not go on: a sentence, or "" if it may."""
    if mark is None:
        return "The mark of this database is missing or cannot be read: it may be an older copy."
    if mark.machine != standing.machine.machine:
        return "The database came from another machine."
    if mark.inode != standing.inode:
        return "The file of the database was replaced or copied."
    if standing.token not in {mark.token, mark.next_token} or mark.origin != standing.origin:
        return "The database is not the one that was last in use here: another copy was put in its place."
    if standing.seq < mark.seq:
        return "The database is older than what was last written here: it was restored from a copy."
    if not mark.clean and mark.boot != standing.machine.boot:
        return WENT_DOWN
    return ""


class MarkFile:
    """One mark, rewritten in place."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.path = path
        self._descriptor = descriptor
        self._failed = False

    @classmethod
    def open(cls, path: Path) -> MarkFile:
        """Open or make the file and its directory. Raises StoreError."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), path)
        except OSError as problem:
            raise translate(problem, path) from problem

    def read(self) -> Mark | None:
        """The mark; None if the file is new or damaged."""
        try:
            return _decoder.decode(os.pread(self._descriptor, _SIZE_BYTES, 0))
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, mark: Mark, *, sync: bool = False) -> None:
        """Replace the mark. A failure is logged once and does no harm: the mark then stays behind the database, or
        names another origin, and at worst a new origin is taken at the next start.
        """
        try:
            os.pwrite(self._descriptor, _encode(mark).ljust(_SIZE_BYTES - 1) + b"\n", 0)
            if sync:
                os.fdatasync(self._descriptor)
        except OSError as problem:
            if not self._failed:
                log.warning("mark not written", path=str(self.path), cause=str(problem))
            self._failed = True

    def close(self) -> None:
        os.close(self._descriptor)


class OwnMark:
    """The mark of a database that is open: how far its own origin is. It is the owner of `file`."""

    def __init__(self, file: MarkFile, mark: Mark) -> None:
        self._file = file
        self._mark = mark

    def moved(self, origin: bytes, seq: int) -> None:
        """A commit moved the own origin."""
        self._write(replace(self._mark, origin=origin.hex(), seq=seq))

    def forget(self) -> None:
        """The own origin has ended."""
        self._write(replace(self._mark, origin="", seq=0))

    def close(self, *, clean: bool) -> None:
        """`clean`: the database was closed in order."""
        if clean:
            self._file.write(replace(self._mark, clean=True), sync=True)
        self._file.close()

    def _write(self, mark: Mark) -> None:
        self._mark = mark
        self._file.write(mark)
