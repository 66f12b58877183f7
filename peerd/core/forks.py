"""Where two copies of one origin part: the last transaction that both share, and the run behind it on each side.

Runs travel whole, so on the history that both share they end at the same places. Each side tells ends of its runs
between the last place known to be shared and the first known to differ, some of them if there are many; that narrows
the stretch for the other one, which answers likewise, until both have told all. A copy whose log does not reach back to
the parting knows only places around it: then nobody can say where that is, perhaps not even whether there is one.

    shared ─ ─ ─ ─ ●━━━━○━━━━○      ours:   low ●, the run behind it ends at the first ○
                   ╰━━━━━━━◌━━      theirs: the run behind it ends at ◌
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from peerd.core.roster.acceptance import ClosedFork
from peerd.core.roster.statements import Final

ENDS = 1_000  # told at once
_ALL = 1 << 62


class RunEnd(NamedTuple):
    """Where a run ends, with the first 8 bytes of the hash there; `first` is 0 where the log no longer has the run."""

    first: int
    last: int
    hash8: bytes


class Told(Struct, frozen=True):
    """Ends of runs after `after`, a place that both share, all of them if `whole`, in rising order."""

    after: int
    ends: Sequence[RunEnd]
    whole: bool


class History(Protocol):
    """What is asked of our copy of the origin."""

    def hash8(self, seq: int) -> bytes | None:
        """At the end of a run, if it is kept; at 0 the chain begins."""
        ...

    def passes(self, seq: int) -> bool:
        """Does a run of ours go on past `seq`, having begun before or at it?"""
        ...

    def reaches(self, seq: int) -> bool:
        """Does our log go back to `seq`? Otherwise nothing but a kept end tells what we had there."""
        ...

    def ends(self, after: int, before: int | None, most: int) -> tuple[list[RunEnd], bool]:
        """Ends of runs behind `after`, up to the first that is not below `before`: all, or `most` of them, which are
        spread and hold the first and the last (`most` is at least 2). Are they all?
        """
        ...


class Parting(Struct, frozen=True):
    """After `seq`, which both share, our next run ends at `ours` and theirs at `theirs`."""

    origin: bytes
    seq: int
    hash: bytes
    ours: Final
    theirs: Final


class Search:
    """For the place where our copy of `origin` and theirs part. At most so many ends are told at once (2 or more)."""

    def __init__(self, origin: bytes, at_once: int = ENDS) -> None:
        self.origin = origin
        self._at_once = at_once
        self.low = 0
        self.high: int | None = None
        self.differs: tuple[int, bytes, bytes] | None = None  # there; our hash ("" if it is no end of ours) and theirs
        self.parting: Parting | None = None
        self.is_over = False  # both have told all
        self._told_all = False
        self._told: Told | None = None
        self._stretch: tuple[int, int | None] | None = None  # behind the one and up to the other, of which we told
        self._portion: int | None = None  # up to there of it, where one portion follows the other
        self._reach: int | None = None  # what we have behind that they can compare with nothing

    def tell(self, history: History) -> Told:
        before = min((at for at in (self.high, self._reach) if at is not None), default=None)
        if self._told is not None and (self.low, before) == self._stretch:
            if self._told_all:
                return self._told
            ends, whole = self._following(history, before)
        else:
            self._stretch, self._portion = (self.low, before), None
            ends, whole = history.ends(self.low, before, self._at_once)
        self._told_all = whole
        self._told = Told(self.low, ends, whole)
        return self._told

    def _following(self, history: History, before: int | None) -> tuple[Sequence[RunEnd], bool]:
        """Nothing that was told has narrowed it, as where neither keeps what the other does: all of them, then, in
        their order.
        """
        after = self.low if self._portion is None else self._portion
        ends, _ = history.ends(after, before, _ALL)
        some = ends[: self._at_once]
        self._portion = some[-1].last if some else after
        return some, len(some) == len(ends)

    def heard(self, told: Told, history: History) -> Told | None:
        """What they told; gives what to answer, None if they know all by now."""
        had_told_all = self._told_all
        if told.after > self.low and history.hash8(told.after) is not None:
            self.low = told.after  # they found out by what we told
        for end in told.ends:
            ours = history.hash8(end.last)
            if ours == end.hash8:
                self.low = max(self.low, end.last)
            elif (ours is not None or history.passes(end.last)) and (self.high is None or end.last <= self.high):
                self.high, self.differs = end.last, (end.last, ours or b"", end.hash8)
        if told.whole:
            self._reach = told.ends[-1].last if told.ends else told.after
        answer = None if had_told_all and told.whole else self.tell(history)
        if told.whole and self._told_all:
            self.is_over = True
            self.parting = self._concluded(told, history)
        return answer

    def _concluded(self, told: Told, history: History) -> Parting | None:
        if told.after > self.low:
            return None
        theirs = next((end for end in told.ends if end.last > self.low), None)
        ours, _ = history.ends(self.low, None, 2)
        shared = history.hash8(self.low)
        if theirs is None or not ours or shared is None:
            return None
        if theirs.first != self.low + 1 or ours[0].first != self.low + 1 or theirs.hash8 == ours[0].hash8:
            return None
        ends = Final(ours[0].last, ours[0].hash8), Final(theirs.last, theirs.hash8)
        return Parting(self.origin, self.low, shared, *ends)


def goes_over(
    ours: tuple[int, bytes], theirs: tuple[int, bytes], *, we_stand: bool = False, they_stand: bool = False
) -> bool | None:
    """Where two histories part that are not the same, or may not be, and nobody can say where: is it for us to take
    their copy in the place of ours? It is for whoever is less far, so that nobody changes sides for ever; but if a
    close lets the variant of one of the two stand, and not that of the other, for the other. Both are the seq and the
    hash there, as the two said when they met; None if these are the same.
    """
    if ours == theirs:
        return None
    return ours < theirs if we_stand == they_stand else they_stand


def rank(end: Final) -> tuple[bytes, int]:
    """Of two variants that part at one place the one whose first run ends at the smaller stands."""
    return end.hash, end.seq


class Side(NamedTuple):
    """What a copy has of a closed fork: the variant that `stands`, one that falls, or, with neither, nothing behind the
    parting or no hash that tells (`unknown`).
    """

    stands: bool
    falls: bool
    unknown: bool


def side_of(fork: ClosedFork, seq: int, history: History) -> Side:
    """Of a copy that has `seq` transactions of the origin. One that had parted before is on neither side."""
    common = history.hash8(fork.seq)
    parted_before = history.passes(fork.seq) if common is None else common != fork.hash
    if seq <= fork.seq or parted_before:
        return Side(stands=False, falls=False, unknown=False)
    there = history.hash8(fork.stands.seq)
    stands = there == fork.stands.hash
    # Of what stands a copy has that run whole. A device that was set back twice has a third variant: no close names it.
    is_other = seq < fork.stands.seq or there is not None or history.passes(fork.stands.seq)
    falls = not stands and (is_other or any(history.hash8(end.seq) == end.hash for end in fork.falls))
    return Side(stands, falls, unknown=not stands and not falls)


def names_what_falls(fork: ClosedFork, end: Final) -> bool:
    """Does a copy that ends a run there hold a variant that falls? It is named, or lies in the way of what stands."""
    in_the_way = fork.seq < end.seq <= fork.stands.seq and end != fork.stands
    return end in fork.falls or in_the_way
