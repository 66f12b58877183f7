"""A disk that loses power: what a copy's store has written, as any moment of a cut may have left it.

SQLite is opened through a VFS (apsw's) that writes to real files and keeps a trace of every write, truncation, sync and
delete; the store's own code runs over it, unchanged, with its threads and checkpoints. Afterwards `Disk.after_cut`
builds what would be there had the power gone at one point of the trace: what was synced stays; of what was not, each
write may be there whole, in part (sectors of 512 bytes, in any choice), or not at all, in no order; a file that was
never synced may not exist; one that was deleted may still.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import unquote, urlsplit

import apsw

SECTOR_BYTES = 512
TRACED = (".db", ".db-wal", ".db-journal")


class Op(NamedTuple):
    """`kind`: write, truncate, sync, delete; lost, of a sync that failed: what was written since the last one never
    becomes sure; or ack, of what the store said was durable (`at` is its number).
    """

    kind: str
    path: str = ""
    at: int = 0
    data: bytes = b""


class Failing:
    """After so many writes ("write") or syncs ("sync") every further one fails with this error of SQLite's, until
    somebody puts it right.
    """

    def __init__(self, kind: str, code: int, after: int) -> None:
        self.kind = kind
        self.after = after
        self.failed = False
        self.code = code
        error: Any = apsw.FullError("full") if code == apsw.SQLITE_FULL else apsw.IOError("failed")
        error.extendedresult = code
        self.error: Exception = error


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.may_fail("write")
        self._disk.did(Op("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's name
        self._disk.did(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        try:
            self._disk.may_fail("sync")
        except BaseException:
            self._disk.did(Op("lost", self._name))
            raise
        super().xSync(flags)
        self._disk.did(Op("sync", self._name))


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        super().__init__(name, "unix", iVersion=3)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - apsw's
        self._disk.did(Op("delete", filename))
        super().xDelete(filename, syncdir)


class Disk:
    """The folder `folder`, watched while `watched` lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace: list[Op] = []
        self.failing: Failing | None = None
        self._before: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._connect = sqlite3.connect
        self._fdatasync = os.fdatasync
        self._vfs = f"power {id(self)}"

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Every database below the folder that is opened meanwhile is opened through the VFS."""
        files = [path for path in self.folder.rglob("*") if path.name.endswith(TRACED)]
        self._before = {str(path): path.read_bytes() for path in files}
        vfs = _Vfs(self, self._vfs)
        with mock.patch.object(sqlite3, "connect", self.connect), mock.patch.object(os, "fdatasync", self.fdatasync):
            yield
        vfs.unregister()

    def connect(self, database: str, **named: Any) -> Any:
        """In place of `sqlite3.connect`."""
        path = unquote(urlsplit(str(database)).path)
        if not path.startswith(str(self.folder)):
            return self._connect(database, **named)
        return Connection(path, self._vfs, named.get("timeout", 5.0))

    def fdatasync(self, descriptor: int) -> None:
        """In place of `os.fdatasync`."""
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        traced = path.startswith(str(self.folder)) and path.endswith(TRACED)
        if traced and self.failing is not None:
            try:
                self.may_fail("sync")
            except apsw.Error:
                self.did(Op("lost", path))
                raise OSError(errno.EIO, "Input/output error") from None
        self._fdatasync(descriptor)
        if traced:
            self.did(Op("sync", path))

    def may_fail(self, kind: str) -> None:
        """Called before each write and each sync."""
        failing = self.failing
        if failing is None or kind != failing.kind:
            return
        failing.after -= 1
        if failing.after < 0:
            failing.failed = True
            raise failing.error

    def did(self, op: Op) -> None:
        with self._lock:
            self.trace.append(op)

    def acknowledge(self, number: int) -> None:
        """The store has said that this is durable."""
        self.did(Op("ack", at=number))

    def acknowledged(self, end: int) -> set[int]:
        """What it had said so of when the first `end` steps of the trace were done."""
        return {op.at for op in self.trace[:end] if op.kind == "ack"}

    def after_cut(self, end: int, chance: random.Random) -> dict[str, bytes]:
        """The files, by path, had the power gone after the first `end` steps of the trace."""
        steps = self.trace[:end]
        synced = {op.path for op in steps if op.kind == "sync"}
        surely = _synced(steps)
        files: dict[str, bytearray] = {path: bytearray(content) for path, content in self._before.items()}
        for number, op in enumerate(steps):
            if op.kind in {"sync", "lost", "ack"}:
                continue
            sure = number in surely
            if op.kind == "delete":
                if sure or chance.random() < 0.5:
                    files.pop(op.path, None)
            elif sure or op.path in files or op.path in synced or chance.random() < 0.5:
                _apply(files.setdefault(op.path, bytearray()), op, whole=sure, chance=chance)
        return {path: bytes(content) for path, content in files.items()}


def _synced(steps: Iterable[Op]) -> set[int]:
    """Those steps, by their numbers, that a sync made sure."""
    surely: set[int] = set()
    waiting: dict[str, list[int]] = {}
    for number, op in enumerate(steps):
        if op.kind == "sync":
            surely.update(waiting.pop(op.path, ()))
        elif op.kind == "lost":
            waiting.pop(op.path, None)
        elif op.kind != "ack":
            waiting.setdefault(op.path, []).append(number)
    return surely


def _apply(content: bytearray, op: Op, *, whole: bool, chance: random.Random) -> None:
    fate = 1.0 if whole else chance.random()
    if fate < 0.4:
        return
    if op.kind == "truncate":
        del content[op.at :]
        content.extend(bytes(max(0, op.at - len(content))))
        return
    for first in range(0, len(op.data), SECTOR_BYTES):
        if fate >= 0.7 or chance.random() < 0.5:
            piece = op.data[first : first + SECTOR_BYTES]
            content.extend(bytes(max(0, op.at + first - len(content))))
            content[op.at + first : op.at + first + len(piece)] = piece


class Connection:
    """As much of `sqlite3.Connection` as the store uses, over apsw's SQLite."""

    def __init__(self, path: str, vfs: str, timeout_s: float) -> None:
        with _translated():
            self._apsw = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        self._apsw.set_busy_timeout(round(timeout_s * 1000))

    @property
    def in_transaction(self) -> bool:
        return self._apsw.in_transaction

    def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
        with _translated():
            return _Cursor(self._apsw, self._apsw.execute(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any]) -> _Cursor:
        with _translated():
            return _Cursor(self._apsw, self._apsw.executemany(sql, parameters))

    def close(self) -> None:
        with suppress(apsw.Error):  # of its last checkpoint: SQLite itself closes without a word, and the WAL stays
            self._apsw.close()


class _Cursor:
    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._cursor = cursor
        self.rowcount = connection.changes()
        self.lastrowid = connection.last_insert_rowid()

    def fetchone(self) -> Any:
        with _translated():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _translated():
            return list(self._cursor.fetchall())

    def __iter__(self) -> Iterator[Any]:
        with _translated():
            yield from self._cursor


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as problem:
        error = sqlite3.OperationalError(str(problem))
        error.sqlite_errorcode = getattr(problem, "extendedresult", 0)
        raise error from problem
