"""What can be read while a transaction is open, and how the decision of a batch is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from peerd.core.batch import Name, Stored
from peerd.core.clocks import Dot
from peerd.core.restore import Image
from peerd.core.stored import StagedRun
from peerd.core.writes import Writes
from peerd.store import history, log, meta, records, staging
from peerd.store.meta import Meta
from peerd.store.refs import Refs


class OpenTransaction:
    """Reads over one connection. It remembers what it found, so that writing need not look again."""

    def __init__(self, connection: sqlite3.Connection, refs: Refs, path: Path) -> None:
        self.known: dict[Name, tuple[int, int]] = {}  # id and flags of what exists
        self.asked: set[Name] = set()
        self._connection = connection
        self._refs = refs
        self._path = path

    def records(self, names: Iterable[Name]) -> dict[Name, Stored]:
        """Those of `names` that exist. Raises StoreDamaged."""
        found: dict[Name, Stored] = {}
        per_collection: dict[str, list[str]] = {}
        for name in names:
            per_collection.setdefault(name[0], []).append(name[1])
            self.asked.add(name)
        for collection, keys in per_collection.items():
            number = self._refs.number_of.get(collection)
            if number is None:
                continue
            for row_id, key, flags, share, stamps, body in records.rows_of(self._connection, number, keys):
                record = records.decode(self._refs, self._path, stamps, body)
                found[collection, key] = Stored(record, records.unsigned(share))
                self.known[collection, key] = row_id, flags
        return found

    def images(self, names: Iterable[Name]) -> dict[Name, Image]:
        """What those of `names` looked like that were deleted here. Raises StoreDamaged."""
        found: dict[Name, Image] = {}
        for name in names:
            number = self._refs.number_of.get(name[0])
            if number is None:
                continue
            image = history.image(self._connection, self._refs, self._path, number, name[1])
            if image is not None:
                found[name] = image
        return found

    def hash8(self, origin: bytes, seq: int) -> bytes | None:
        ref = self._refs.ref_of.get(origin)
        return None if ref is None else log.hash8(self._connection, ref, seq)

    def past(self, name: Name) -> dict[str, dict[Dot, bytes]]:
        number = self._refs.number_of.get(name[0])
        if number is None:
            return {}
        return history.past(self._connection, self._refs, self._path, number, name[1])

    def staged(self) -> Sequence[StagedRun]:
        return staging.load(self._connection, self._path)


class Written(Struct, frozen=True):
    """What becomes known to everybody when the transaction has committed."""

    new_refs: Mapping[bytes, int]
    new_numbers: Mapping[str, int]
    position: int
    own_origin: int | None
    pages: int


def write(
    transaction: OpenTransaction,
    connection: sqlite3.Connection,
    writes: Writes,
    own_origin: bytes | None,
    standing: Meta,
    refs: Refs,
    arrived_ms: int,
) -> Written:
    """Write the decision of a batch; nothing that other transactions see is changed here."""
    unasked = [name for name in (*(row.name for row in writes.rows), *writes.gone) if name not in transaction.asked]
    if unasked:
        transaction.records(unasked)
    new_refs = _new_refs(writes, refs)
    ref_of = refs.ref_of | new_refs if new_refs else refs.ref_of
    new_numbers = _new_numbers(connection, writes, refs)
    number_of = refs.number_of | new_numbers if new_numbers else refs.number_of

    meta.write_origins(connection, writes.origins, new_refs, ref_of, meta.signatures_of(writes.runs), refs)
    records.write(connection, writes.rows, writes.gone, transaction.known, refs, ref_of, number_of)
    steps = records.visible_steps(writes.rows, writes.gone, transaction.known)
    if steps:
        connection.executemany(
            "UPDATE collection SET visible = visible + ? WHERE number = ?",
            ((step, number_of[collection]) for collection, step in steps.items()),
        )
    if writes.history:
        history.append(connection, writes.history, refs, ref_of, number_of, standing.age_ms)
    if writes.images:
        history.keep_images(connection, writes.images, ref_of, number_of, standing.age_ms)
    position = log.append(connection, writes.runs, standing.position, ref_of, arrived_ms, standing.age_ms)
    own = standing.own_origin if own_origin is None else ref_of.get(own_origin, standing.own_origin)
    meta.write_space(connection, writes.state, position, own)
    return Written(new_refs, new_numbers, position, own, _pages(writes))


def _new_refs(writes: Writes, refs: Refs) -> dict[bytes, int]:
    fresh = [origin for origin in writes.origins if origin not in refs.ref_of]
    if not fresh:
        return {}
    given = {origin: ref for ref, origin in enumerate(fresh, max(refs.ref_of.values(), default=0) + 1)}
    for origin, ref in given.items():
        refs.origin_of[ref] = origin
    return given


def _new_numbers(connection: sqlite3.Connection, writes: Writes, refs: Refs) -> dict[str, int]:
    given: dict[str, int] = {}
    for row in writes.rows:
        _number(row.name[0], given, refs)
    for dropped in writes.history:
        _number(dropped.name[0], given, refs)
    for name in writes.images:
        _number(name[0], given, refs)
    connection.executemany("INSERT INTO collection (name, number) VALUES (?, ?)", given.items())
    return given


def _number(collection: str, given: dict[str, int], refs: Refs) -> None:
    if collection not in refs.number_of and collection not in given:
        given[collection] = len(refs.number_of) + len(given) + 1


def _pages(writes: Writes) -> int:
    """About what this adds to the WAL: rows with random keys touch a page each."""
    rows = len(writes.rows) + len(writes.gone) + 2 * len(writes.history)
    return 8 + rows + sum(applied.run.size_bytes for applied in writes.runs) // 4096
