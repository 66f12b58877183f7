"""What can be read while a transaction is open, and how the decision of a batch is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from msgspec import Struct

from peerd.core.batch import Name, Stored
from peerd.core.chain import first_hash
from peerd.core.clocks import Dot
from peerd.core.forks import RunEnd
from peerd.core.restore import Image
from peerd.core.stored import StagedRun
from peerd.core.writes import Writes
from peerd.store import history, log, meta, records, staging
from peerd.store.meta import Meta
from peerd.store.refs import Refs, stamps_encoder
from peerd.store.row_shares import stored

_name_of = attrgetter("name")


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
        names = list(names)
        self.asked.update(names)
        per_collection: dict[str, list[str]] = {}
        for collection, key in names:
            per_collection.setdefault(collection, []).append(key)
        for collection, keys in per_collection.items():
            number = self._refs.number_of.get(collection)
            if number is None:
                continue
            for row_id, key, flags, share, stamps, body in records.rows_of(self._connection, number, sorted(keys)):
                found[collection, key] = stored(self._refs, self._path, (collection, key), flags, share, stamps, body)
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

    def passes(self, origin: bytes, seq: int) -> bool:
        ref = self._refs.ref_of.get(origin)
        return ref is not None and log.passes(self._connection, ref, seq)

    def history_of(self, origin: bytes) -> OriginHistory:
        return OriginHistory(self._connection, self._refs, origin)

    def past(self, name: Name) -> dict[str, dict[Dot, bytes]]:
        number = self._refs.number_of.get(name[0])
        if number is None:
            return {}
        return history.past(self._connection, self._refs, self._path, number, name[1])

    def staged(self) -> Sequence[StagedRun]:
        return staging.load(self._connection, self._path)


class OriginHistory:
    """What is kept of the runs of one origin. See `core.forks.History`."""

    def __init__(self, connection: sqlite3.Connection, refs: Refs, origin: bytes) -> None:
        self._connection = connection
        self._ref = refs.ref_of.get(origin, 0)  # no origin has that number

    def hash8(self, seq: int) -> bytes | None:
        if seq:
            row = self._connection.execute("SELECT head FROM origin WHERE ref = ? AND seq = ?", (self._ref, seq))
            head = row.fetchone()
            return bytes(head[0][:8]) if head else log.hash8(self._connection, self._ref, seq)
        space = self._connection.execute("SELECT id FROM space").fetchone()
        row = self._connection.execute("SELECT device, id FROM origin WHERE ref = ?", (self._ref,)).fetchone()
        return None if row is None else first_hash(space[0], *row)[:8]

    def passes(self, seq: int) -> bool:
        return log.passes(self._connection, self._ref, seq)

    def reaches(self, seq: int) -> bool:
        return log.reaches(self._connection, self._ref, seq)

    def ends(self, after: int, before: int | None, most: int) -> tuple[list[RunEnd], bool]:
        return log.ends(self._connection, self._ref, after, before, most)


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
    if not transaction.asked.issuperset(map(_name_of, writes.rows)) or not transaction.asked.issuperset(writes.gone):
        transaction.records({*map(_name_of, writes.rows), *writes.gone} - transaction.asked)
    new_refs = give_refs(writes.origins, refs)
    ref_of = refs.ref_of | new_refs if new_refs else refs.ref_of
    named = {row.name[0] for row in writes.rows}
    named.update(row.name[0] for row in writes.history)
    named.update(name[0] for name in writes.images)
    new_numbers = give_numbers(connection, named, refs)
    number_of = refs.number_of | new_numbers if new_numbers else refs.number_of

    meta.write_origins(connection, writes.origins, new_refs, ref_of, writes.runs, refs)
    encode_stamps = stamps_encoder(ref_of)
    steps = records.write(connection, writes.rows, writes.gone, transaction.known, encode_stamps, number_of)
    for number, step in steps.items():
        connection.execute("UPDATE collection SET visible = visible + ? WHERE number = ?", (step, number))
    if writes.history:
        history.append(connection, writes.history, encode_stamps, ref_of, number_of, arrived_ms, standing.age.ms)
    if writes.images:
        history.keep_images(connection, writes.images, ref_of, number_of, standing.age.ms)
    position = log.append(connection, writes.runs, standing.position, ref_of, arrived_ms, standing.age.ms)
    own = standing.own_origin if own_origin is None else ref_of.get(own_origin, standing.own_origin)
    log_bytes = sum(applied.run.size_bytes for applied in writes.runs)
    history_bytes = sum(len(row.body) for row in writes.history)
    meta.write_space(connection, writes.state, position, own, log_bytes, history_bytes)
    return Written(new_refs, new_numbers, position, own, _pages(writes))


def give_refs(origins: Iterable[bytes], refs: Refs) -> dict[bytes, int]:
    """Numbers for those of `origins` that have none yet; they are published when the transaction has committed."""
    fresh = [origin for origin in origins if origin not in refs.ref_of]
    if not fresh:
        return {}
    given = {origin: ref for ref, origin in enumerate(fresh, max(refs.ref_of.values(), default=0) + 1)}
    for origin, ref in given.items():
        refs.origin_of[ref] = origin
    return given


def give_numbers(connection: sqlite3.Connection, collections: Iterable[str], refs: Refs) -> dict[str, int]:
    """The same for collections; they get their rows here."""
    fresh = sorted(set(collections).difference(refs.number_of))
    if not fresh:
        return {}
    given = {collection: number for number, collection in enumerate(fresh, len(refs.number_of) + 1)}
    connection.executemany("INSERT INTO collection (name, number) VALUES (?, ?)", given.items())
    return given


def _pages(writes: Writes) -> int:
    """About what this adds to the WAL: rows with random keys touch a page each."""
    rows = len(writes.rows) + len(writes.gone) + 2 * len(writes.history)
    return 8 + rows + sum(applied.run.size_bytes for applied in writes.runs) // 4096
