"""One record: births and siblings, and what a change does to it.

No tombstones, no vector per record. Every birth and every sibling carries the dot of the transaction that wrote it;
a transaction carries the clock its author had. A writer saw what its clock covers, less the dots that the change
lists in `keep`. What a writer saw and replaces is dropped; what is absent and covered was removed.

    put      drop every birth and sibling that was seen; add a birth and a sibling per field
    patch    per named field: drop the siblings that were seen; add one, or none where the field is dropped
    delete   drop every birth and sibling that was seen; what is empty then is gone, and nothing is kept
    restore  add a birth that names the delete; add siblings where the field has none left; drop nothing

A record is visible if it has a birth, parked if it has siblings but no birth (an edit met a delete).

Optimized observed-remove structures: Bieniusa et al., arXiv 1210.3368; dotted version vectors: Preguiça et al.,
arXiv 1011.5808; what `keep` and restore add is in docs/conflicts.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from peerd.core.clocks import Dot, ReadClock, covers
from peerd.core.entry import Change, Kind


class Stamp(NamedTuple):
    """What a dot means on one record: when it was written, and whether by a restore."""

    t_ms: int
    tq: int
    restored: bool = False
    answers: Dot | None = None  # a restore: the delete that it answers


class Lone(Struct, frozen=True, gc=False):
    """A record that one put made, and that nothing has touched since: nearly every record of a bulk."""

    dot: Dot
    stamp: Stamp
    body: bytes  # its stored form (`record_form`)

    def fields(self) -> dict[str, bytes]:
        """The packed value of each field."""
        _, fields = _lone_decoder.decode(self.body)
        return {field: bytes(value) for field, value in fields.items()}


_lone_decoder = msgspec.msgpack.Decoder(tuple[int, dict[str, Raw]])


class Record:
    """`stamps` holds one entry per dot that occurs in `births` or in `fields`.

    A record made by `put` stays what that put said, in `lone`, until somebody asks for its parts.
    """

    __slots__ = ("births", "fields", "lone", "stamps")

    stamps: dict[Dot, Stamp]
    births: set[Dot]
    fields: dict[str, dict[Dot, bytes]]

    def __init__(self) -> None:
        self.lone: Lone | None = None
        self.stamps = {}
        self.births = set()
        self.fields = {}

    @classmethod
    def put(cls, lone: Lone) -> Record:
        record = cls.__new__(cls)
        record.lone = lone
        return record

    def __getattr__(self, name: str) -> Any:
        """Called for parts that are not there yet: the record is still what its put said."""
        if name not in {"births", "fields", "stamps"}:
            raise AttributeError(name)
        lone = self.lone
        assert lone is not None  # noqa: S101 - or __init__ has set the parts
        self.lone = None
        self.stamps = {lone.dot: lone.stamp}
        self.births = {lone.dot}
        self.fields = {field: {lone.dot: value} for field, value in lone.fields().items()}
        return getattr(self, name)

    @property
    def visible(self) -> bool:
        return self.lone is not None or bool(self.births)

    @property
    def parked(self) -> bool:
        return self.lone is None and not self.births and bool(self.fields)

    @property
    def empty(self) -> bool:
        return self.lone is None and not self.births and not self.fields

    def dots(self) -> frozenset[Dot]:
        """What somebody who reads the record now has seen of it."""
        return frozenset(self.stamps) if self.lone is None else frozenset((self.lone.dot,))

    def writers(self) -> set[bytes]:
        """The origins whose values stand here."""
        return {dot.origin for siblings in self.fields.values() for dot in siblings}

    def winner(self, field: str) -> bytes:
        """The value that everybody shows: the largest (written, tq > 0, t, origin, seq) of the siblings."""
        siblings = self.fields[field]
        return siblings[max(siblings, key=self.precedence)]

    def precedence(self, dot: Dot) -> tuple[bool, bool, int, Dot]:
        stamp = self.stamps[dot]
        return not stamp.restored, stamp.tq > 0, stamp.t_ms, dot

    def winners(self) -> dict[str, bytes]:
        return {field: self.winner(field) for field in self.fields}


class Dropped(NamedTuple):
    """What a change removed from a record: the local history keeps it."""

    births: tuple[Dot, ...]
    fields: dict[str, dict[Dot, bytes]]
    stamps: dict[Dot, Stamp]

    def __bool__(self) -> bool:
        return bool(self.births or self.fields)


NOTHING_DROPPED = Dropped((), {}, {})


def apply_change(record: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
    """Do one change to `record` in place.

    `stamp` is the transaction's (t, tq); `context` its author's clock, with `dot.seq - 1` for the own origin.
    Gives what was dropped.
    """
    dropped = NOTHING_DROPPED
    kind = change.kind
    if record.stamps and kind != Kind.RESTORE:
        seen = _seen_dots(record, change.keep, context)
        if seen:
            named = None if kind != Kind.PATCH else (*change.set, *change.drop)
            dropped = _drop(record, seen, named)
    if kind == Kind.DELETE:
        return dropped
    if kind == Kind.RESTORE:
        stamp = Stamp(stamp.t_ms, stamp.tq, restored=True, answers=change.answers)
    if kind != Kind.PATCH:
        record.births.add(dot)
        record.stamps[dot] = stamp
    if not change.set:
        return dropped
    record.stamps[dot] = stamp
    if not record.fields:
        record.fields = {name: {dot: bytes(value)} for name, value in change.set.items()}
        return dropped
    for name, value in change.set.items():
        record.fields.setdefault(name, {})[dot] = bytes(value)
    return dropped


def _seen_dots(record: Record, keep: Collection[Dot], context: ReadClock) -> set[Dot]:
    seen = {dot for dot in record.stamps if covers(context, dot)}
    return seen.difference(keep) if keep else seen


def _drop(record: Record, seen: set[Dot], named: tuple[str, ...] | None) -> Dropped:
    """Remove what was seen: of the named fields, or of everything (births too) if `named` is None."""
    births: tuple[Dot, ...] = ()
    if named is None:
        births = tuple(dot for dot in record.births if dot in seen)
        record.births.difference_update(births)
    fields: dict[str, dict[Dot, bytes]] = {}
    for name in tuple(record.fields) if named is None else named:
        siblings = record.fields.get(name)
        if siblings is None:
            continue
        gone = {dot: value for dot, value in siblings.items() if dot in seen}
        if gone:
            fields[name] = gone
            if len(gone) == len(siblings):
                del record.fields[name]
            else:
                record.fields[name] = {dot: value for dot, value in siblings.items() if dot not in gone}
    if not births and not fields:
        return NOTHING_DROPPED
    touched = set(births).union(*fields.values())
    stamps = {dot: record.stamps[dot] for dot in touched}
    left = record.births.union(*record.fields.values())
    record.stamps = {dot: what for dot, what in record.stamps.items() if dot in left}
    return Dropped(births, fields, stamps)
