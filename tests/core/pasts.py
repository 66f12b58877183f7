"""A record with its local history: random changes of several devices, in the order in which one copy applied them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.past import Place, Removal
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.values import pack

ORIGINS = tuple(bytes([letter]) * 16 for letter in b"abc")
FIELDS = ("x", "y", "z")
NAME = ("notes", "one")


class Steps:
    """`states[n]` is the record after n transactions; `dots[n]` is that of the transaction that comes then."""

    def __init__(self) -> None:
        self.record = Record()
        self.states = [Record()]
        self.dots: list[Dot] = []
        self.removals: list[Removal] = []  # the oldest first

    def apply(
        self, change: Change, author: int, unseen: tuple[int, ...] = (), t_ms: int | None = None, tq: int = 2
    ) -> Dot:
        """As its author had seen everything here, but for the transactions numbered `unseen` and all that the same
        authors wrote after them.
        """
        dot = Dot(ORIGINS[author], 1 + sum(one.origin == ORIGINS[author] for one in self.dots))
        context = {one.origin: one.seq for one in self.dots}
        for number in unseen:
            hidden = self.dots[number]
            if hidden.origin != dot.origin:
                context[hidden.origin] = min(context[hidden.origin], hidden.seq - 1)
        stamp = Stamp(len(self.dots) if t_ms is None else t_ms, tq)
        dropped = apply_change(self.record, change, dot, stamp, context)
        if dropped:
            was = Record()
            was.births, was.fields, was.stamps = set(dropped.births), dropped.fields, dropped.stamps
            self.removals.append(Removal(dot, len(self.dots), was))
        self.dots.append(dot)
        self.states.append(deepcopy(self.record))
        return dot

    def place(self, dot: Dot, _known_ms: int = 0) -> Place:
        return Place(1 + self.dots.index(dot), 0, dot.seq)

    @property
    def newest_first(self) -> list[Removal]:
        return self.removals[::-1]


def same(one: Record, other: Record) -> bool:
    return (one.births, one.fields, one.stamps) == (other.births, other.fields, other.stamps)


@st.composite
def steps(draw: st.DrawFn, most: int = 12, *, only_seen: bool = False) -> Steps:
    """With `only_seen`, every author had seen everything."""
    made = Steps()
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from([Kind.PUT, Kind.PATCH, Kind.PATCH, Kind.PATCH, Kind.DELETE]))
        if kind == Kind.PATCH and not made.record.births:
            kind = Kind.PUT
        fields = draw(st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 3)))
        set_: dict[str, Any] = {} if kind == Kind.DELETE else {name: Raw(pack(value)) for name, value in fields.items()}
        left = [name for name in FIELDS if name not in set_]
        drop = tuple(draw(st.sets(st.sampled_from(left)))) if kind == Kind.PATCH and left else ()
        unseen: tuple[int, ...] = ()
        if made.dots and not only_seen:
            unseen = tuple(draw(st.lists(st.integers(0, len(made.dots) - 1), max_size=2)))
        made.apply(Change(kind, *NAME, set_, drop), draw(st.integers(0, len(ORIGINS) - 1)), unseen)
    return made
