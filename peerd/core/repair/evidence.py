"""What the log proves of some records.

A run proves itself: its signature binds every byte of it to the hash of the run before. So whatever a verified run says
of a record was said by its author, wherever the run was kept. Of a run the context of its author is known as far as the
log reaches back: all that was named since. That is less than the author had seen, never more; so what the log shows as
removed was removed.

    written   by an entry that the log has: a birth, or a value of a field
    gone      removed by an entry that the log has
    never     written by the entry whose dot it bears, which the log has

If the log is whole, from the first entry of every origin on, what is written and not gone is the record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from msgspec import Struct

from peerd.core import chain, entry
from peerd.core.batch import Name
from peerd.core.chain import Run
from peerd.core.clocks import Clock, Dot, covers
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.record_form import bucket_of

Slot = tuple[str | None, Dot]  # a field's sibling; with None a birth
BIRTH = None


class Trace(NamedTuple):
    """What one transaction says of a record; `context` as far as it is known, the own origin included."""

    dot: Dot
    context: Clock
    change: Change
    stamp: Stamp


class Evidence(Struct):
    """What is proven of one record. `record` is what was written and is not gone; `gone` says by whom something was
    removed; `seen` are dots whose entries write nothing else of it. `whole`: there is nothing else at all.
    """

    record: Record
    gone: dict[Slot, Dot]
    seen: frozenset[Dot] = frozenset()
    whole: bool = False


class Gathering:
    """Fed with the log, run by run in the order of applying. `names` and `buckets` choose the records, `dots` are those
    in question. `seeds` are the hashes at the ends of runs whose predecessor is not in the log any more.
    """

    def __init__(
        self,
        copy: CopyState,
        verify: Callable[[bytes, bytes, bytes], bool],
        *,
        names: Collection[Name] = (),
        buckets: Collection[int] = (),
        dots: Collection[Dot] = (),
        seeds: Mapping[Dot, bytes] = {},
    ) -> None:
        self.traces: dict[Name, list[Trace]] = {}
        self.seen: set[Dot] = set()  # of `dots`, those whose entries are proven
        self._copy = copy
        self._verify = verify
        self._names = frozenset(names)
        self._buckets = frozenset(buckets)
        self._dots = frozenset(dots)
        self._seeds = seeds
        self._heads: dict[bytes, tuple[int, bytes]] = {}  # how far each origin is proven to hang together
        self._contexts: dict[bytes, Clock] = {}
        self._seeded = False

    def take(self, run: Run) -> None:
        """The next one. One that is damaged proves nothing, nor does what follows it."""
        try:
            entries = [entry.decode(data) for data in run.entries]
        except ValueError:
            return
        if not self._chain(run):
            self._contexts[run.origin] = {}
            return
        context = self._contexts.setdefault(run.origin, {})
        context.update({head.origin: head.seq for head in entries[0].delta})
        found: list[tuple[Name, Trace]] = []
        dots: list[Dot] = []
        for seq, one in enumerate(entries, run.first):
            dot = Dot(run.origin, seq)
            if dot in self._dots:
                dots.append(dot)
            for change in one.changes:
                if self._is_wanted(change.record):
                    seen = {**context, run.origin: seq - 1}
                    found.append((change.record, Trace(dot, seen, change, Stamp(one.t_ms, one.tq))))
        if (found or dots) and self._is_signed(run, self._heads[run.origin][1]):
            self.seen.update(dots)
            for name, trace in found:
                self.traces.setdefault(name, []).append(trace)

    def _is_wanted(self, name: Name) -> bool:
        return name in self._names or (bool(self._buckets) and bucket_of(*name) in self._buckets)

    def _chain(self, run: Run) -> bool:
        """Go on with the chain of the run's origin. False if it is not known where that stood."""
        device = self._copy.device_of(run.origin)
        if device is None:
            return False
        seq, head = self._heads.get(run.origin, (0, chain.first_hash(self._copy.space, device, run.origin)))
        if seq + 1 == run.first:
            self._heads[run.origin] = run.last, chain.hash_after(head, run.entries)
            return True
        seed = self._seeds.get(Dot(run.origin, run.last))
        if seed is not None and self._is_signed(run, seed):
            self._heads[run.origin] = run.last, seed
            self._seeded = True
        return False

    def _is_signed(self, run: Run, head: bytes) -> bool:
        device = self._copy.device_of(run.origin)
        data = chain.signed_bytes(self._copy.space, run.origin, run.last, head)
        return device is not None and self._verify(device, run.signature, data)

    @property
    def whole(self) -> bool:
        """Was every entry of the copy seen and found to hang together?"""
        clock = self._copy.clock()
        return (
            not self._seeded
            and all(self._heads.get(origin, (0, b""))[0] == seq for origin, seq in clock.items())
            and all(self._heads[origin][1] == self._copy.origins[origin].head for origin in clock)
        )

    def of(self, name: Name) -> Evidence:
        """What is proven of a record."""
        return weigh(self.traces.get(name, []), self.seen, whole=self.whole)

    @property
    def clock(self) -> Clock:
        """Of the copy whose log it is."""
        return self._copy.clock()

    def replayed(self, name: Name) -> Record:
        """What the log alone makes of a record."""
        return replayed(self.traces.get(name, []))


def replayed(traces: Collection[Trace]) -> Record:
    """The record after these changes, in their order."""
    record = Record()
    for trace in traces:
        apply_change(record, trace.change, trace.dot, trace.stamp, trace.context)
    return record


def weigh(traces: Collection[Trace], seen: Collection[Dot], *, whole: bool) -> Evidence:
    """What traces, in the order of applying, prove. `seen` are further dots whose entries are proven."""
    written: dict[Slot, Trace] = {}
    gone: dict[Slot, Dot] = {}
    for trace in traces:
        for slot in slots_written(trace.change, trace.dot):
            written[slot] = trace
    for slot in written:
        remover = removed_by(slot, traces)
        if remover is not None:
            gone[slot] = remover
    evidence = Evidence(Record(), gone, frozenset(seen).union(trace.dot for trace in traces), whole)
    for (field, dot), trace in written.items():
        if (field, dot) in gone:
            continue
        _add(evidence.record, field, dot, b"" if field is None else bytes(trace.change.set[field]))
        evidence.record.stamps[dot] = stamp_of(trace)
    return evidence


def slots_written(change: Change, dot: Dot) -> list[Slot]:
    slots: list[Slot] = [(field, dot) for field in change.set]
    if change.kind in {Kind.PUT, Kind.RESTORE}:
        slots.append((BIRTH, dot))
    return slots


def removed_by(slot: Slot, traces: Collection[Trace]) -> Dot | None:
    """The transaction among these that removed a birth or a value, if there is one."""
    field, dot = slot
    for trace in traces:
        change = trace.change
        if change.kind == Kind.RESTORE or not covers(trace.context, dot) or dot in change.keep:
            continue
        if change.kind != Kind.PATCH or (field is not None and (field in change.set or field in change.drop)):
            return trace.dot
    return None


def stamp_of(trace: Trace) -> Stamp:
    if trace.change.kind != Kind.RESTORE:
        return trace.stamp
    return Stamp(trace.stamp.t_ms, trace.stamp.tq, restored=True, answers=trace.change.answers)


def _add(record: Record, field: str | None, dot: Dot, value: bytes) -> None:
    if field is None:
        record.births.add(dot)
    else:
        record.fields.setdefault(field, {})[dot] = value
