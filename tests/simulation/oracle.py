"""What must stand in every record, from causality alone.

The oracle knows no clock vector, no context, no dot arithmetic and no store. It is told, for every transaction that
was committed somewhere and survived, what its writer meant and which transactions that writer had really looked at
(a bit mask over all transactions, kept by the simulator, not read from the entry). Then it asks of everything that
was ever written: has a later writer who had looked at it replaced or deleted it? If so it must be gone everywhere, if
not it must stand everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.entry import Kind
from peerd.core.record import Record


@dataclass(frozen=True)
class Meant:
    """One change as its writer meant it. `looked_at`: the transactions whose effect on this record the writer knew."""

    kind: Kind
    name: Name
    set: dict[str, bytes]
    drop: tuple[str, ...]
    looked_at: int
    answers: Dot | None = None


@dataclass(frozen=True)
class Event:
    """One committed transaction. `number` is its bit in every mask."""

    number: int
    dot: Dot
    entry: bytes
    t_ms: int
    tq: int
    changes: tuple[Meant, ...]


@dataclass
class Expected:
    """One record as it must be."""

    births: dict[Dot, tuple[bool, Dot | None]] = field(default_factory=dict)  # restored?, the delete it answers
    fields: dict[str, dict[Dot, bytes]] = field(default_factory=dict)
    precedence: dict[Dot, tuple[bool, bool, int, Dot]] = field(default_factory=dict)

    def winners(self) -> dict[str, bytes]:
        return {name: cells[max(cells, key=self.precedence.__getitem__)] for name, cells in self.fields.items()}

    def conflicting(self) -> set[str]:
        """Fields on which two concurrent written values differ."""
        found = set()
        for name, cells in self.fields.items():
            written = {value for dot, value in cells.items() if self.precedence[dot][0]}
            if len(written) > 1:
                found.add(name)
        return found

    def met_a_delete(self) -> set[Dot]:
        return {dot for dot, (restored, _) in self.births.items() if restored}


def expected_records(events: Iterable[Event], only: Name | None = None) -> dict[Name, Expected]:
    """Every record as it must be where exactly these transactions are applied; or only one of them."""
    by_name: dict[Name, list[tuple[Event, Meant]]] = {}
    for event in events:
        for change in event.changes:
            if only is not None and change.name != only:
                continue
            by_name.setdefault(change.name, []).append((event, change))
    records = {name: _expected(story) for name, story in by_name.items()}
    return {name: record for name, record in records.items() if record.births or record.fields}


def _expected(story: list[tuple[Event, Meant]]) -> Expected:
    record = Expected()
    for event, change in story:
        bit = 1 << event.number
        lookers = [later for _, later in story if later.looked_at & bit]
        if any(later.kind in (Kind.PUT, Kind.DELETE) for later in lookers):
            continue
        restored = change.kind == Kind.RESTORE
        record.precedence[event.dot] = (not restored, event.tq > 0, event.t_ms, event.dot)
        if restored or change.kind == Kind.PUT:
            record.births[event.dot] = (restored, change.answers)
        named = {name for later in lookers if later.kind == Kind.PATCH for name in (*later.set, *later.drop)}
        for name, value in change.set.items():
            if name not in named:
                record.fields.setdefault(name, {})[event.dot] = value
    return record


def as_expected(record: Record) -> Expected:
    """A real record in the oracle's form."""
    stamps = record.stamps
    return Expected(
        {dot: (stamps[dot].restored, stamps[dot].answers) for dot in record.births},
        {name: dict(cells) for name, cells in record.fields.items()},
        {dot: (not stamp.restored, stamp.tq > 0, stamp.t_ms, dot) for dot, stamp in stamps.items()},
    )


def differences(record: Record, expected: Expected) -> list[str]:
    """Sentences about what is not as it must be."""
    actual = as_expected(record)
    found = []
    if actual.births != expected.births:
        found.append(f"births {actual.births} instead of {expected.births}")
    if actual.fields != expected.fields:
        found.append(f"siblings {actual.fields} instead of {expected.fields}")
    if not found:
        wrong = {dot for dot, rank in actual.precedence.items() if expected.precedence[dot] != rank}
        if wrong:
            found.append(f"stamps of {wrong}")
        if record.winners() != expected.winners():
            found.append(f"winners {record.winners()} instead of {expected.winners()}")
    return found
