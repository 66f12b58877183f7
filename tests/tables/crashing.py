"""A daemon that ends at a named point of a harvest or of its settling, as by a power cut without the loss of pages.

python -m tests.tables.crashing DATABASE SPACE POINT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apsw
import msgspec

from peerd.core.clocks import Dot
from peerd.tables.harvest import harvest
from peerd.tables.settle import settle
from tests.tables.harvests import DEVICE, NOW_MS, ORIGIN, Bound, Names, apply, natural, surrogate

TABLES = (surrogate(0, "note"), surrogate(1, "part", note="note"), natural(2, "setting", "k"))
SCHEMA = """
    CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, slug TEXT UNIQUE);
    CREATE TABLE part(id INTEGER PRIMARY KEY, note INT REFERENCES note(id), body);
    CREATE TABLE setting(k TEXT PRIMARY KEY NOT NULL, v);
"""
POINTS = ("reading", "read", "synced", "committed", "settling", "written", "settled")
CRASHED = 77


class Space(msgspec.Struct):
    """What the space has: its records, and the note of the last harvest with its dot."""

    records: dict[str, dict[str, dict[str, bytes]]] = {}
    note: bytes | None = None
    seq: int = 0

    @classmethod
    def load(cls, path: Path) -> Space:
        return msgspec.msgpack.decode(path.read_bytes(), type=cls) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """All of it or nothing."""
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.msgpack.encode(self))
        new.replace(path)

    @property
    def names(self) -> Names:
        return {(one, key): dict(fields) for one, keys in self.records.items() for key, fields in keys.items()}

    def take(self, names: Names) -> None:
        self.records = {}
        for (collection, key), fields in names.items():
            self.records.setdefault(collection, {})[key] = fields


def opened(database: Path) -> apsw.Connection:
    connection = apsw.Connection(str(database))
    connection.set_busy_timeout(10_000)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def turn(connection: apsw.Connection, space_path: Path, point: str = "") -> bool:
    """One harvest, its commit and its settling; first what an earlier turn left. False: there was nothing to do."""

    def at(here: str) -> None:
        if here == point:
            os._exit(CRASHED)

    bound = Bound(connection, *TABLES, is_bound=True)
    space = Space.load(space_path)
    if space.note is not None:
        settle(connection, bound.schema, bound.plan, space.note, Dot(ORIGIN, space.seq), at=at)
    found = harvest(connection, bound.schema, bound.plan, DEVICE, bound.limits, now_ms=NOW_MS, at=at)
    if found is None:
        return False
    names = space.names
    apply(names, found.edits)
    space.take(names)
    space.seq += 1
    space.note = found.note
    space.save(space_path)
    at("committed")
    settle(connection, bound.schema, bound.plan, found.note, Dot(ORIGIN, space.seq), at=at)
    return True


if __name__ == "__main__":
    turn(opened(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])
