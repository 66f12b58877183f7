"""The database of one copy, in memory: everything a commit moves, in the stored forms, and a `Reader` over it.

Rows are kept as the bytes that a store would keep, so every history also goes through the encoding. Values are never
changed in place: a backup is a shallow copy, and a batch that is not committed leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from peerd.core import digest
from peerd.core.batch import AppliedRun, Name, Stored
from peerd.core.clocks import Clock, Dot
from peerd.core.copy import CopyState
from peerd.core.record import Record
from peerd.core.record_form import decode_record, digest_of, lone_lead
from peerd.core.restore import Image
from peerd.core.snapshots.intake import SideWrites
from peerd.core.writes import PARKED, HistoryRow, Writes

Row = tuple[list[list[Any]], bytes, int, int]  # stamps, body, share of the digest, flags


@dataclass
class Disk:
    """What survives a crash of one copy."""

    state: CopyState
    rows: dict[Name, tuple[list[list[Any]], bytes, int, int]] = field(
        default_factory=dict
    )  # stamps, body, share, flags
    images: dict[Name, Image] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    hashes: dict[tuple[bytes, int], bytes] = field(default_factory=dict)  # of every run end
    log: list[AppliedRun] = field(default_factory=list)
    signatures: dict[bytes, bytes] = field(default_factory=dict)  # of each origin's last run
    horizon: Clock = field(default_factory=dict)  # what the log begins behind
    forgotten: int = 0  # how often the local history was lost

    def commit(self, writes: Writes) -> None:
        self.state = writes.state
        for row in writes.rows:
            self.rows[row.name] = row.stamps, row.body, row.share, row.flags
        for name in writes.gone:
            del self.rows[name]
        self.images.update(writes.images)
        self.history.extend(writes.history)
        for applied in writes.runs:
            self.hashes[applied.run.origin, applied.run.last] = applied.head[:8]
            self.signatures[applied.run.origin] = applied.run.signature
        self.log.extend(writes.runs)

    def take(self, writes: SideWrites) -> None:
        """What a part of a snapshot brings."""
        for row in writes.rows:
            self.rows[row.name] = row.stamps, row.body, row.share, row.flags
        for some in writes.plain:
            for key, share, stamp, body in zip(some.keys, some.shares, some.stamps, some.bodies, strict=True):
                stamps = msgspec.msgpack.decode(lone_lead(stamp.origin) + stamp.rest)
                self.rows[some.collection, key] = stamps, bytes(body), share % digest.MODULUS, 0
        for name in writes.gone:
            del self.rows[name]

    def backup(self) -> Disk:
        return replace(
            self,
            rows=dict(self.rows),
            images=dict(self.images),
            history=list(self.history),
            hashes=dict(self.hashes),
            log=list(self.log),
            signatures=dict(self.signatures),
            horizon=dict(self.horizon),
        )

    def forget_history(self) -> None:
        """`history_days` have passed."""
        self.images.clear()
        self.history.clear()
        self.forgotten += 1

    def record(self, name: Name) -> Record | None:
        row = self.rows.get(name)
        return decode_record(row[0], row[1]) if row else None

    def missing_for(self, clock: Clock) -> list[AppliedRun]:
        at = clock.get
        return [one for one in self.log if at(one.run.origin, 0) < one.run.first]

    def recomputed_digest(self) -> bytes:
        """The digest as a scrub finds it, from the rows alone."""
        return digest.moved(
            digest.EMPTY, (digest_of(*name, stamps, body) for name, (stamps, body, _, _) in self.rows.items())
        )


class MemoryReader:
    """What a batch reads, inside its transaction."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def records(self, names: Iterable[Name]) -> Mapping[Name, Stored]:
        found = {}
        for name in names:
            row = self._disk.rows.get(name)
            if row is not None:
                found[name] = Stored(decode_record(row[0], row[1]), row[2], not row[3] & PARKED)
        return found

    def images(self, names: Iterable[Name]) -> Mapping[Name, Image]:
        return {name: self._disk.images[name] for name in names if name in self._disk.images}

    def hash8(self, origin: bytes, seq: int) -> bytes | None:
        return self._disk.hashes.get((origin, seq))

    def passes(self, origin: bytes, seq: int) -> bool:
        runs = (applied.run for applied in self._disk.log)
        return any(run.origin == origin and run.first <= seq < run.last for run in runs)

    def past(self, name: Name) -> Mapping[str, Mapping[Dot, bytes]]:
        """Values that were dropped here, in the order in which they went."""
        gone: dict[str, dict[Dot, bytes]] = {}
        for row in self._disk.history:
            if row.name == name:
                for field_name, values in decode_record(row.stamps, row.body).fields.items():
                    gone.setdefault(field_name, {}).update(values)
        return gone
