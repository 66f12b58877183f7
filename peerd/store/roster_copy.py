"""The statements of a space's roster beside its database: with them a device whose database is lost is a member that
has nothing yet, and needs no invitation.

Every statement is signed and names what it follows from, so the file is believed no further than that. A failure to
write it does no harm but this: it is behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from peerd import logs
from peerd.core.roster.statements import SignedStatement, statement_id
from peerd.store import beside

log = logs.get(__name__)

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
        try:
            beside.write(self._path, _encode(list(self._kept.values())))
        except OSError as problem:
            log.warning("roster not copied", path=str(self._path), cause=str(problem))


def place(path: Path) -> Path:
    """Where the copy of the roster of the database at `path` stands."""
    return path.with_suffix(".roster")


def load(path: Path) -> list[SignedStatement]:
    """The statements beside the database at `path`, as far as they can be read."""
    try:
        return _decoder.decode(beside.read(place(path)))
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
