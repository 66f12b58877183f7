"""Writing again what a copy that was set aside has, and the copy in its place lacks.

Both are rows with a clock, as in `snapshots.merge`. But one name may stand for two transactions here: a dot means the
same on both sides only as far as both hold the same history of its origin. How far that is stands in `shared`.

    a dot of the copy set aside   up to `shared`: the other side saw it, so if it lacks it, it removed it: nothing to do
                                  behind it: nobody there ever saw it: what it wrote is written again
    a dot of the other copy       up to `shared`, and the copy set aside lacks it: that removed it: removed again
                                  behind it: the copy set aside never saw it: kept

So the outcome is the merge of both under the dotted rule, had the transactions behind `shared` had names of their own.
What is written again keeps the time at which it was written first, so that it wins or loses against what was written
meanwhile as it would have. docs/recovery.md, "A fork"; PROTOCOL.md, "Recopy".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from peerd.core.batch import Name
from peerd.core.clocks import Dot, ReadClock, covers
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.record import Record, Stamp


class Step(NamedTuple):
    """One change of one record. `stamp` is when it was made first, None: now. Steps of one record are made in order,
    each in a transaction of its own.
    """

    intent: Intent
    stamp: Stamp | None


def steps(
    name: Name, aside: Record | None, now: Record | None, shared: ReadClock, *, removes: bool = True
) -> list[Step]:
    """What has to be written to the record `name`, which stands at `now`, so that nothing of `aside` is lost; nothing
    if that is so already, or was done before. `shared` is how far the histories of both are the same. Without
    `removes`, what `aside` lacks is no reason to remove anything: it may have lost it. Nothing given is changed.
    """
    was, here = aside or _NONE, now or _NONE
    found: list[Step] = []
    for dot in sorted(dot for dot in was.stamps if not covers(shared, dot)):
        intent = _again(name, was, dot, here)
        if intent is not None:
            found.append(Step(intent, was.stamps[dot]))
    if removes:
        found += (Step(intent, None) for intent in _removing(name, was, here, shared))
    return found


_NONE = Record()


def _again(name: Name, was: Record, dot: Dot, here: Record) -> Intent | None:
    """What one transaction wrote to the record, as far as it stands and is not there yet, written by whomever: so a
    recopy that was cut goes on, and of several that do the same the later ones find it done. It removes nothing.
    """
    stamp = was.stamps[dot]
    values = {
        field: siblings[dot]
        for field, siblings in was.fields.items()
        if dot in siblings and not _has(here, here.fields.get(field, {}), stamp, siblings[dot])
    }
    if dot in was.births and not any(_is_alike(here.stamps[one], stamp) for one in here.births):
        if stamp.restored:
            return Intent(Kind.RESTORE, *name, values, literal=True)
        return Intent(Kind.PUT, *name, values, seen=frozenset(), literal=True)
    return Intent(Kind.PATCH, *name, values, seen=frozenset(), literal=True) if values else None


def _has(here: Record, siblings: Mapping[Dot, bytes], stamp: Stamp, value: bytes) -> bool:
    return any(known == value and _is_alike(here.stamps[dot], stamp) for dot, known in siblings.items())


def _is_alike(one: Stamp, other: Stamp) -> bool:
    return one[:3] == other[:3]


def _removing(name: Name, was: Record, here: Record, shared: ReadClock) -> list[Intent]:
    """Dots that both copies knew, and that the one set aside has no more."""
    found: list[Intent] = []
    gone = frozenset(dot for dot in here.stamps if covers(shared, dot) and dot not in was.stamps)
    if not gone.isdisjoint(here.births):
        found.append(Intent(Kind.DELETE, *name, seen=gone, literal=True))
    else:
        gone = frozenset()
    fields = {
        field: {dot for dot in siblings if covers(shared, dot) and dot not in was.fields.get(field, ())} - gone
        for field, siblings in here.fields.items()
    }
    left = {field: dots for field, dots in fields.items() if dots}
    while left:
        dropped: set[Dot] = set()
        kept: set[Dot] = set()
        together: list[str] = []
        for field, dots in left.items():
            stays = here.fields[field].keys() - dots
            if dots.isdisjoint(kept) and stays.isdisjoint(dropped):
                dropped |= dots
                kept |= stays
                together.append(field)
        found.append(Intent(Kind.PATCH, *name, drop=tuple(together), seen=frozenset(dropped), literal=True))
        left = {field: dots for field, dots in left.items() if field not in together}
    return found
