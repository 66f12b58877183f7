"""Members that lie: runs that must never be applied, made from runs that were really written.

A forwarder can change what it carries, but not sign. An author can sign what it likes. Neither may make a copy apply
what the rules forbid; how it is refused (and whether it waits) does not matter here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

from msgspec import Raw
from msgspec.structs import replace

from peerd.core import chain, entry, limits
from peerd.core.batch import Batch, Fork, Verdict
from peerd.core.chain import Run
from peerd.core.entry import Change, Entry, Head, Kind
from peerd.core.values import pack
from tests.simulation.device import SPACE, Device, Work, Wrong, signature


def attack(chance: random.Random, sender: Device, receiver: Device) -> str | None:
    """Try one lie on the receiver. Gives its name, or None if there was nothing to lie about.

    Raises:
        Wrong: it was applied.
    """
    clock = receiver.disk.state.clock()
    next_runs = [
        applied.run
        for applied in sender.disk.missing_for(clock)
        if applied.run.first == clock.get(applied.run.origin, 0) + 1
    ]
    if not next_runs:
        return None
    run = chance.choice(next_runs)
    lie = chance.choice(LIES) if chance.random() < 0.98 else endless_run  # which is slow
    work = Work(receiver)
    work.learn_origins(at.announcement for at in sender.disk.state.origins.values())
    made = lie(chance, run, work.batch)
    if made is not None and _is_applied(work.batch, made):
        raise Wrong(f"{receiver} applied a lie: {lie.__name__}")
    return lie.__name__


def _is_applied(batch: Batch, made: Run) -> bool:
    with suppress(ValueError, Fork):  # Forged and NeedsNewer are ValueErrors
        return batch.take(made, [entry.decode(data) for data in made.entries]) is Verdict.APPLIED
    return False


def _signed(batch: Batch, run: Run) -> Run:
    """Signed by the author itself, after what the receiver has of it."""
    at = batch.state.origins[run.origin]
    head = chain.hash_after(at.head, run.entries)
    data = chain.signed_bytes(SPACE, run.origin, run.last, head)
    return replace(run, signature=signature(at.announcement.device, data))


def _rewritten(batch: Batch, run: Run, *entries: Entry) -> Run:
    return _signed(batch, replace(run, entries=tuple(map(entry.encode, entries))))


def _like(run: Run, *changes: Change) -> Entry:
    first = entry.decode(run.entries[0])
    return replace(first, changes=changes or first.changes)


def _put(key: str = "forged") -> Change:
    return Change(Kind.PUT, "notes", key, {"a": Raw(pack("forged"))})


# ---- what a forwarder can do


def flipped_signature(chance: random.Random, run: Run, _batch: Batch) -> Run:
    broken = bytearray(run.signature)
    broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return replace(run, signature=bytes(broken))


def changed_entry(_chance: random.Random, run: Run, _batch: Batch) -> Run:
    return replace(run, entries=(*run.entries[:-1], entry.encode(_like(run, _put()))))


def left_out_entry(_chance: random.Random, run: Run, _batch: Batch) -> Run | None:
    return replace(run, entries=run.entries[:-1]) if len(run.entries) > 1 else None


def cut_beginning(_chance: random.Random, run: Run, _batch: Batch) -> Run | None:
    return replace(run, first=run.first + 1, entries=run.entries[1:]) if len(run.entries) > 1 else None


# ---- what an author can do


def later_start(_chance: random.Random, run: Run, batch: Batch) -> Run:
    return _signed(batch, replace(run, first=run.first + 1))


def other_history(_chance: random.Random, run: Run, batch: Batch) -> Run | None:
    """An entry whose author had seen another history of a third origin, or the same one with another hash."""
    first = entry.decode(run.entries[0])
    for number, head in enumerate(first.delta):
        if batch.state.seq(head.origin) >= head.seq:
            other = Head(head.origin, head.seq, bytes(8))
            delta = (*first.delta[:number], other, *first.delta[number + 1 :])
            return _signed(batch, replace(run, entries=(entry.encode(replace(first, delta=delta)), *run.entries[1:])))
    return None


def heads_in_the_middle(_chance: random.Random, run: Run, batch: Batch) -> Run | None:
    known = batch.state.origins[run.origin].context
    for origin, at in batch.state.origins.items():
        if origin != run.origin and at.seq > known.get(origin, 0):
            head = Head(origin, at.seq, at.head[:8])
            plain = replace(_like(run, _put()), delta=())
            return _rewritten(batch, run, plain, replace(plain, delta=(head,)))
    return None


def context_that_goes_back(_chance: random.Random, run: Run, batch: Batch) -> Run | None:
    known = batch.state.origins[run.origin].context
    for origin, at in batch.state.origins.items():
        if 0 < at.seq == known.get(origin, 0):
            return _rewritten(batch, run, replace(_like(run, _put()), delta=(Head(origin, at.seq, at.head[:8]),)))
    return None


def one_record_twice(_chance: random.Random, run: Run, batch: Batch) -> Run:
    return _rewritten(batch, run, _like(run, _put(), Change(Kind.DELETE, "notes", "forged")))


def beyond_a_limit(chance: random.Random, run: Run, batch: Batch) -> Run:
    broken = chance.choice(
        (
            _put("k" * (limits.KEY_BYTES + 1)),
            Change(Kind.PUT, "", "key"),
            Change(Kind.PUT, "notes", "key", {"f" * 256: Raw(b"\x01")}),
            Change(Kind.PUT, "notes", "key", {"a": Raw(b"\x91" * 20 + b"\x01")}),
            Change(Kind.PUT, "notes", "key", {"a": Raw(b"\xcf" + b"\xff" * 8)}),
            Change(Kind.PUT, "notes", "key", {"a": Raw(b"\xa1\xff")}),
            Change(Kind.DELETE, "notes", "key", {"a": Raw(b"\x01")}),
            Change(9, "notes", "key"),
        )
    )
    return _rewritten(batch, run, _like(run, broken))


def endless_run(_chance: random.Random, run: Run, batch: Batch) -> Run:
    plain = entry.encode(replace(_like(run, _put()), delta=()))
    return _signed(batch, replace(run, entries=(plain,) * (limits.RUN_ENTRIES + 1)))


LIES: tuple[Callable[[random.Random, Run, Batch], Run | None], ...] = (
    flipped_signature,
    changed_entry,
    left_out_entry,
    cut_beginning,
    later_start,
    other_history,
    heads_in_the_middle,
    context_that_goes_back,
    one_record_twice,
    beyond_a_limit,
)
