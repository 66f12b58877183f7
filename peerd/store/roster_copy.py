"""The statements of a space's roster beside its database: with them a device whose database is lost is a member that
has nothing yet, and needs no invitation.

Every statement is signed and names what it follows from, so the file is believed no further than that. A failure to
write it does no harm but this: it is behind.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from peerd import logs
from peerd.core.statements import SignedStatement, statement_id

log = logs.get(__name__)

FILE_BYTES = 64 << 20
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[SignedStatement])


class RosterCopy:
    """Of one database, at `path`."""

    def __init__(self, path: Path, statements: Sequence[SignedStatement]) -> None:
        self._path = place(path)
        self._kept = {statement_id(one.data): one for one in statements}
        if load(path) != list(self._kept.values()):
            self._write()

    def add(self, statements: Sequence[SignedStatement]) -> None:
        """They are in the database now."""
        before = len(self._kept)
        for one in statements:
            self._kept.setdefault(statement_id(one.data), one)
        if len(self._kept) > before:
            self._write()

    def _write(self) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_encode(list(self._kept.values())))
                file.flush()
                os.fdatasync(file.fileno())
            new.replace(self._path)
        except OSError as problem:
            log.warning("roster not copied", path=str(self._path), cause=str(problem))


def place(path: Path) -> Path:
    """Where the copy of the roster of the database at `path` stands."""
    return path.with_suffix(".roster")


def load(path: Path) -> list[SignedStatement]:
    """The statements beside the database at `path`, as far as they can be read."""
    try:
        with place(path).open("rb") as file:
            return _decoder.decode(file.read(FILE_BYTES))
    except (OSError, msgspec.MsgspecError):
        return []


def salvage(path: Path) -> list[SignedStatement]:
    """Those beside the database and those that a damaged database still shows."""
    kept = {statement_id(one.data): one for one in load(path)}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            for data, signature in connection.execute("SELECT bytes, signature FROM statement ORDER BY number"):
                if isinstance(data, bytes) and isinstance(signature, bytes):
                    kept.setdefault(statement_id(data), SignedStatement(data, signature))
    except sqlite3.Error as problem:
        log.info("roster not read", path=str(path), cause=str(problem))
    return list(kept.values())
