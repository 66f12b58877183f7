"""Reading one device's stream of segments: which numbers are still wanted, and which are in our copy.

A segment is done when our copy has all that is in it, not when it was fetched: what waits for something else, or found
no room to wait, is fetched again after a while and after a restart. Done segments are never asked for again.
"Not there" means not yet, however often; after an hour, over restarts and while we run, it is worth a complaint. A run
in pieces is put together in memory, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from peerd.core.backoff import doubling_s
from peerd.core.chain import Run
from peerd.core.clocks import Clock, ReadClock, includes
from peerd.core.origin import Announcement
from peerd.protocol.relay.chaining import Chaining, Odd
from peerd.protocol.relay.courier_settings import HOUR_S
from peerd.protocol.relay.courier_steps import Damage, SeenSegment
from peerd.protocol.relay.coverage import CLAIMS, Coverage, adds_to
from peerd.protocol.relay.memory import Known
from peerd.protocol.relay.objects import INTERVALS, OBJECT_BYTES, Head, Segment
from peerd.protocol.relay.piecing import Fit, Piecing
from peerd.protocol.relay.running_time import RunningTime

FETCH_BYTES = 4 << 20
FETCH_NAMES = 32  # sizes are what a stranger says; so many of the largest objects are bearable
COMPLAIN_S = HOUR_S
COMPLAINTS = 8  # of one stream

_AHEAD_TOPS = 20_000  # origins in segments that were fetched and are not done
_AHEAD_ABSENT = 64
_RETRY_S = (30.0, 600.0)  # what was not there: first, longest
_STUCK_S = (300.0, 6 * HOUR_S)  # what was fetched and is not done
_DOUBT = 3  # times that it was fetched again in vain
_AGAIN = 64  # segments that are fetched again at once


class Parcel(Struct):
    """What one segment, or the pieces of one run, bring."""

    device: bytes
    numbers: list[int]
    origins: list[Announcement]
    runs: list[Run]


class StreamReader:
    """`known` is the durable half and moves with it; `hollow`: all of it was read twice, and it holds less than its
    head claims.
    """

    def __init__(self, device: bytes, known: Known, ran: RunningTime) -> None:
        self.known = known
        self._ran = ran
        self.hollow = False
        self.damage: dict[int, Damage] = {}
        self._device = device
        self._fetched: dict[int, Clock] = {}
        self._tops = 0
        self._retry_at_s = 0.0
        self._retries = 0
        self._stuck_at_s: float | None = None
        self._stuck = 0
        self._read_again = False
        self._doubted = b""  # the chain of the stream when all of it was fetched again
        self._pieces = Piecing()
        self._put_off: set[int] = set()  # pieces let go of for others: asked for again with what was not there
        self._chaining = Chaining(known.stream)
        self._head: Head | None = None  # by which we asked last
        self.odd: list[Odd] = []  # of what came last
        self.relied = False  # what came last we got from here, and not over a link

    @property
    def assembling(self) -> bool:
        return bool(self._pieces.numbers)

    @property
    def at_rest(self) -> bool:
        """Is nothing here that is of no use, or waits to be?"""
        return not self.damage and not self._fetched

    # ---- what to ask for

    def wanted(self, head: Head, coverage: Coverage, clock: ReadClock, now_s: float) -> list[int]:
        """The next numbers to fetch; none if there is nothing to do at the moment. `coverage`: what the head claims."""
        known = self.known
        self._settle(clock)
        if is_whole(coverage) and not adds_to(coverage, clock):
            self.relied = self.relied and known.position == head.next
            known.position, known.chain = head.next, head.chain
            self._start_over()
            self._read_again = self.hollow = False
            return []
        if known.position < head.oldest:
            self._go_back_or_on(head.oldest)
        if known.position >= head.next:
            if self._read_again or not adds_to(coverage, clock) or head.oldest == head.next:
                self.hollow = adds_to(coverage, clock)
                return []
            self._read_again = True
            self._go_back_or_on(head.oldest)
        if self._head is None or self._head.chain != head.chain:
            self._put_off.clear()
        self._head = head
        self._unstick(head, now_s)
        return self._choose(head, now_s)

    def _choose(self, head: Head, now_s: float) -> list[int]:
        if self._tops >= _AHEAD_TOPS:
            return []
        again = now_s >= self._retry_at_s
        in_pieces = set(self._pieces.numbers)
        chosen: list[int] = []
        size = 0
        absent = len(self.known.absent)
        for number in range(self.known.position, head.next):
            put_off = number in self.known.absent or number in self._put_off
            if number in self._fetched or number in in_pieces or (put_off and not again):
                continue
            if number not in self.known.absent:
                if absent >= _AHEAD_ABSENT:
                    break
                absent += 1  # it may turn out to be
            size += min(max(head.sizes[number - head.oldest], 1), OBJECT_BYTES)
            if chosen and (size > FETCH_BYTES or len(chosen) >= FETCH_NAMES):
                break
            chosen.append(number)
        return chosen

    def next_try_s(self) -> float | None:
        """When something is worth asking for again that is not now."""
        times = [self._retry_at_s] if self.known.absent or self._put_off else []
        if self._stuck_at_s is not None:
            times.append(self._stuck_at_s)
        return min(times, default=None)

    def retry_now(self) -> None:
        """Something may have arrived that was not there."""
        self._retry_at_s = 0.0

    def fetch_again(self) -> None:
        """What was not taken in may be now."""
        self._fetched, self._tops, self._stuck_at_s, self._stuck = {}, 0, None, 0
        self._put_off.clear()

    def complaints(self, head: Head, now_s: float) -> list[int]:
        """Numbers that are not to be had. A claim that nothing stands behind is a complaint about the next number."""
        if self.hollow:
            return [head.next]
        overdue = (number for number in self.known.absent if number < head.next and self._is_overdue(number, now_s))
        return sorted(overdue)[:COMPLAINTS]

    def _is_overdue(self, number: int, now_s: float) -> bool:
        since_s = self.known.absent.get(number)
        return since_s is not None and self._ran.at(now_s) - since_s >= COMPLAIN_S

    def lacks(self, number: int, head: Head) -> bool:
        """Is a complaint about this number still true?"""
        if number >= head.next:
            return self.hollow
        return number >= self.known.position and number not in self._fetched

    def exhausted(self, head: Head, now_s: float) -> bool:
        """Is there nothing more to hope for? Everything was fetched, or has not been there for an hour; or it is a
        piece, and in that hour the rest of its run never came.
        """
        overdue = {number for number in self.known.absent if self._is_overdue(number, now_s)}
        pieces = self._put_off.union(self._pieces.numbers) if overdue else set()
        done = overdue | self._fetched.keys() | pieces
        return self.hollow or done.issuperset(range(max(self.known.position, head.oldest), head.next))

    # ---- what came

    def take(self, asked: Iterable[int], seen: dict[int, SeenSegment], now_s: float) -> list[Parcel]:
        """Of what was asked for, this is there. Gives what is to be applied, in order."""
        parcels: list[Parcel] = []
        missed = False
        false = self._look_at_chain(seen, now_s)
        for number in sorted(asked):
            found = seen.get(number)
            if found is None or found.segment is None or number in false:
                missed = True
                self._miss(number, found.damage if found else None, now_s)
                continue
            held = self._pieces.numbers
            parcel = self._open(number, found.segment)
            self._put_off.discard(number)
            if self._pieces.numbers == [number] and self._put_off_all(held):
                missed = True
            if parcel is Fit.EARLY or parcel is Fit.MALFORMED:
                missed = True
                self._miss(number, Damage.MALFORMED if parcel is Fit.MALFORMED else None, now_s)
                continue
            self.known.absent.pop(number, None)
            self.damage.pop(number, None)
            if isinstance(parcel, Parcel):
                parcels.append(parcel)
                self.relied = True
        if missed:
            self._retry_later(now_s)
        elif not self.known.absent and not self._put_off:
            self._retries = 0
        return parcels

    def _retry_later(self, now_s: float) -> None:
        self._retry_at_s = now_s + doubling_s(*_RETRY_S, self._retries)
        self._retries += 1

    def _look_at_chain(self, seen: dict[int, SeenSegment], now_s: float) -> set[int]:
        """Gives the numbers under which another segment lies than was left there; they count as not there."""
        known, chaining, head = self.known, self._chaining, self._head
        for number, found in seen.items():
            if found.segment is not None:
                chaining.add(number, found.segment.previous, found.sealed)
        if head is None:
            return set()
        chain = known.chain or chaining.start(known.position)
        self.odd = chaining.odd(known.position, chain, head.next, head.chain)
        false = {one.number for one in self.odd if one.false}
        for number in false:
            chaining.drop(number)
            if number in self._fetched:
                self._forget(number)
                self._miss(number, None, now_s)
        return false

    def _miss(self, number: int, damage: Damage | None, now_s: float) -> None:
        self.known.absent.setdefault(number, int(self._ran.at(now_s)))
        if damage is not None:
            self.damage[number] = damage

    def _open(self, number: int, segment: Segment) -> Parcel | Fit:
        pieces = self._pieces
        begins = segment.piece is None or segment.piece.number == 0
        if begins and pieces.goes_on_at(number):
            for abandoned in pieces.numbers:  # their writer began anew: nothing will ever come of them
                self._keep(abandoned, {})
            pieces.drop()
        if segment.piece is None:
            return self._parcel([number], segment.origins, segment.runs)
        run = pieces.add(number, segment.piece, segment.origins)
        if isinstance(run, Run):
            parcel = self._parcel(pieces.numbers, pieces.origins, [run])
            pieces.drop()
            return parcel
        if run is Fit.MALFORMED:
            pieces.drop()
        return run

    def _parcel(self, numbers: list[int], origins: list[Announcement], runs: list[Run]) -> Parcel:
        tops: Clock = {}
        for run in runs:
            tops[run.origin] = max(tops.get(run.origin, 0), run.last)
        for number in numbers:
            self._keep(number, tops)
        return Parcel(self._device, numbers, origins, runs)

    def _keep(self, number: int, tops: Clock) -> None:
        self._fetched[number] = tops
        self._tops += len(tops) + 1

    def _put_off_all(self, pieces: Iterable[int]) -> bool:
        """Of two runs that cannot go on one is held, and not now the one and now the other. False if nothing is."""
        left = [number for number in pieces if number not in self._fetched]
        self._put_off.update(left)
        return bool(left)

    def drop_pieces(self, now_s: float) -> None:
        """Let go of a run that is not complete and cannot go on; its pieces are asked for again later."""
        if self._pieces.numbers:
            self._put_off.update(self._pieces.numbers)
            self._pieces.drop()
            if self._retry_at_s <= now_s:
                self._retry_later(now_s)

    # ---- what is done

    def _settle(self, clock: ReadClock) -> None:
        known = self.known
        before = known.position
        while (tops := self._fetched.get(known.position)) is not None and includes(clock, tops):
            known.position += 1
        if known.position != before:
            self._stuck_at_s, self._stuck = None, 0
            known.chain = self._chaining.settle(known.position)
        for number in [number for number in self._fetched if number < known.position]:
            self._forget(number)
        for number in [number for number in self.known.absent if number < known.position]:
            del self.known.absent[number]
            self.damage.pop(number, None)
        self._put_off = {number for number in self._put_off if number >= known.position}

    def _go_back_or_on(self, number: int) -> None:
        """Read from this number."""
        self.known.position, self.known.chain = number, b""

    def _forget(self, number: int) -> None:
        self._tops -= len(self._fetched.pop(number)) + 1

    def _unstick(self, head: Head, now_s: float) -> None:
        """Fetch again what has not got done for long; once in every state of the stream from its beginning, since a
        writer that went back in time may have left something else under numbers that we have read.
        """
        if not self._fetched:
            self._stuck_at_s = None
            return
        if self._stuck_at_s is None:
            self._stuck_at_s = now_s + doubling_s(*_STUCK_S, self._stuck)
        elif now_s >= self._stuck_at_s:
            self._stuck += 1
            self._stuck_at_s = None
            for number in sorted(self._fetched)[:_AGAIN]:
                self._forget(number)
            if self._stuck >= _DOUBT and self._doubted != head.chain:
                self._doubted = head.chain
                self._go_back_or_on(head.oldest)

    def _start_over(self) -> None:
        self._fetched, self._tops, self.damage = {}, 0, {}
        self._chaining.clear()
        self.known.absent.clear()
        self._stuck_at_s, self._stuck, self._retries = None, 0, 0
        self._put_off.clear()
        self._pieces.drop()


def is_whole(coverage: Coverage) -> bool:
    """Does a head surely name all that its segments hold? At its bounds it may have left something out."""
    counts = [len(spans) for spans in coverage.values()]
    return max(counts, default=0) < INTERVALS and sum(counts) < CLAIMS
