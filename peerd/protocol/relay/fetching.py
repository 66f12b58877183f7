"""Fetching what others left: which device's segments next, and what of them goes through the commit door."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from peerd.core.chain import Run
from peerd.core.clocks import ReadClock, covers
from peerd.core.origin import Announcement
from peerd.protocol.relay.chaining import Odd
from peerd.protocol.relay.courier_steps import Apply, Damage, FetchSegments, SeenSegment, SegmentName
from peerd.protocol.relay.coverage import Coverage
from peerd.protocol.relay.memory import Known, Memory
from peerd.protocol.relay.objects import Head
from peerd.protocol.relay.running_time import RunningTime
from peerd.protocol.relay.stream_reader import COMPLAIN_S, COMPLAINTS, Parcel, StreamReader

APPLY_BYTES = 1 << 20  # of runs at once
LOST = 100  # complaints in our head

Offers: TypeAlias = Mapping[bytes, tuple[Head, Coverage]]  # by device


class Faults(NamedTuple):
    """What is wrong with the stream of a device: segments of no use, and those that its chain speaks against."""

    device: bytes
    damaged: list[tuple[int, Damage]]
    odd: list[Odd]


class Fetching:
    def __init__(self, memory: Memory, ran: RunningTime) -> None:
        self._ran = ran
        self.readers: dict[bytes, StreamReader] = {}
        self._memory = memory
        self._queue: deque[Parcel] = deque()
        self._asked: tuple[bytes, list[int]] | None = None
        self._applying = 0  # parcels of the queue
        self._one_by_one = 0  # so many parcels more, because one of them is no good
        self._last = b""
        self.refused: set[bytes] = set()  # devices of whose streams something was refused, until it is tried again
        self._ahead: dict[SegmentName, SeenSegment] = {}

    def head_seen(self, device: bytes, head: Head) -> bool:
        """A head was read. False: it is older than one that we saw before."""
        known = self._memory.known.get(device)
        counter = head.counter
        if known is not None and known.stream == head.stream:
            known.next, known.oldest = head.next, head.oldest
        else:
            counter = max(counter, known.counter if known else 0)
            known = self._memory.known[device] = Known(counter, head.stream, head.oldest, head.next, head.oldest)
            self.readers.pop(device, None)
        known.snapshot, known.parts = (head.snapshot.id, head.snapshot.parts) if head.snapshot else (b"", 0)
        if device not in self.readers:
            self.readers[device] = StreamReader(device, known, self._ran)
        self.readers[device].retry_now()
        older = head.counter < known.counter
        known.counter = max(known.counter, head.counter)
        return not older

    def membership_ended(self, device: bytes) -> None:
        """If it is let in again, it may come with an empty copy and count its heads from 1."""
        if device in self._memory.known:
            self._memory.known[device].counter = 0

    def roster_seen(self, device: bytes, missing: Sequence[bytes], now_s: float) -> None:
        """Of the roster of this device's head these parts, by id, could not be had. Without them it may say nothing."""
        known, at_s = self._memory.known.get(device), int(self._ran.at(now_s))
        if known is None:
            if not missing:
                return
            known = self._memory.known[device] = Known(0, b"")
        known.missing = {part: known.missing.get(part, at_s) for part in missing[:COMPLAINTS]}

    def forget_positions(self) -> None:
        """Our copy is another one than it was: nothing is known to be in it."""
        self.readers.clear()
        self.refused.clear()
        self._queue.clear()
        self._asked = None
        for device, known in self._memory.known.items():
            known.position, known.chain = known.oldest, b""
            known.absent.clear()
            self.readers[device] = StreamReader(device, known, self._ran)

    def retry_now(self) -> None:
        for reader in self.readers.values():
            reader.retry_now()

    def fetch_again(self, of: bytes | None = None) -> None:
        """What came and was not taken in; `of` one device, or all."""
        self.refused -= self.readers.keys() if of is None else {of}
        for device, reader in self.readers.items():
            if of is None or device == of:
                reader.fetch_again()

    # ---- steps

    def fetch(self, offers: Offers, clock: ReadClock, now_s: float) -> FetchSegments | None:
        """Of one device at a time, in turn; a run in pieces is finished first."""
        self._asked = None
        in_turn = sorted(offers, key=lambda device: (device <= self._last, device))
        in_turn.sort(key=lambda device: not self.readers[device].assembling)
        chosen: tuple[bytes, bytes, list[int]] | None = None
        for device in in_turn:
            head, coverage = offers[device]
            wanted = self.readers[device].wanted(head, coverage, clock, now_s)
            if wanted and chosen is None:
                chosen = device, head.stream, wanted
        if chosen is None:
            return None
        device, stream, numbers = chosen
        for other, reader in self.readers.items():
            if other != device:
                reader.drop_pieces(now_s)  # it could not go on
        self._last = device
        self._asked = device, numbers
        return FetchSegments([(device, stream, number) for number in numbers])

    def fetched(self, segments: Mapping[SegmentName, SeenSegment], now_s: float) -> Faults | None:
        """Gives what is wrong with what came; None if nothing is."""
        if self._asked is None:
            return None
        device, numbers = self._asked
        self._asked = None
        reader = self.readers.get(device)
        return None if reader is None else self._take(reader, device, numbers, segments, now_s)

    def _take(
        self,
        reader: StreamReader,
        device: bytes,
        numbers: Sequence[int],
        segments: Mapping[SegmentName, SeenSegment],
        now_s: float,
    ) -> Faults | None:
        stream = reader.known.stream
        seen = {number: segments[name] for number in numbers if (name := (device, stream, number)) in segments}
        self._queue.extend(reader.take(numbers, seen, now_s))
        damaged = [(number, reader.damage[number]) for number in numbers if number in reader.damage]
        return Faults(device, damaged, reader.odd) if damaged or reader.odd else None

    # ---- what comes with heads

    def likely(self, devices: Iterable[bytes]) -> list[SegmentName]:
        """The segments of which new heads of these devices probably speak: the next one of each whose stream we have
        read to its end, and from the relay.
        """
        readers = ((device, self.readers[device]) for device in devices if device in self.readers)
        return [
            (device, reader.known.stream, reader.known.next)
            for device, reader in readers
            if reader.relied and reader.known.position == reader.known.next
        ]

    def came_ahead(self, segments: Mapping[SegmentName, SeenSegment]) -> None:
        """These came with heads; whether they are wanted shows when those are understood."""
        self._ahead = dict(segments)

    def take_ahead(self, offers: Offers, clock: ReadClock, now_s: float) -> list[Faults]:
        """Of what came with heads take what would be fetched now. Gives what is wrong with it."""
        came, self._ahead = self._ahead, {}
        found: list[Faults] = []
        for device, stream, number in came:
            if device not in offers or offers[device][0].stream != stream:
                continue
            head, coverage = offers[device]
            reader = self.readers[device]
            if number in reader.wanted(head, coverage, clock, now_s):
                faults = self._take(reader, device, [number], came, now_s)
                found += [faults] if faults else []
        return found

    def apply(self, clock: ReadClock) -> Apply | None:
        """What has come and our copy lacks."""
        origins: dict[Announcement, None] = {}
        runs: list[Run] = []
        devices: set[bytes] = set()
        size = count = 0
        while self._queue and not runs and all(covers(clock, (run.origin, run.last)) for run in self._queue[0].runs):
            self._queue.popleft()
        for parcel in self._queue:
            size += sum(run.size_bytes for run in parcel.runs)
            if count and (size > APPLY_BYTES or self._one_by_one):
                break
            devices.add(parcel.device)
            origins.update(dict.fromkeys(parcel.origins))
            runs += [run for run in parcel.runs if not covers(clock, (run.origin, run.last))]
            count += 1
        self._applying = count
        return Apply(list(origins), runs, frozenset(devices)) if runs else None

    def applied(self, refusal: str) -> bytes | None:
        """Gives the device whose segment was refused, once it is known."""
        device = None
        if refusal and self._applying > 1:
            self._one_by_one = self._applying
            return None
        for _ in range(self._applying):
            parcel = self._queue.popleft()
            device = parcel.device
        self._one_by_one = max(0, self._one_by_one - self._applying)
        self._applying = 0
        if device is not None and refusal:
            self.refused.add(device)
        return device if refusal else None

    # ---- what cannot be had

    @property
    def misses(self) -> bool:
        """Is there anything that its head speaks of and that is not to be had?"""
        return any(known.absent or known.missing for known in self._memory.known.values())

    def missing_parts(self, devices: Iterable[bytes], now_s: float) -> list[SegmentName]:
        """Complaints about parts of the rosters of these devices: they are named like snapshots."""
        at_s = self._ran.at(now_s)
        return [
            (device, part, 0)
            for device in sorted(devices)
            if device in self._memory.known
            for part, since_s in self._memory.known[device].missing.items()
            if at_s - since_s >= COMPLAIN_S
        ]

    def complaints(self, offers: Offers, now_s: float) -> list[SegmentName]:
        """About the streams of these devices. One that we made stands until the segment is here or is not needed."""
        made = set(self._memory.lost)
        found: list[SegmentName] = []
        for device in sorted(offers):
            head, _ = offers[device]
            reader = self.readers[device]
            numbers = set(reader.complaints(head, now_s))
            numbers |= {n for d, stream, n in made if (d, stream) == (device, head.stream) and reader.lacks(n, head)}
            found += [(device, head.stream, number) for number in sorted(numbers)]
        return found[:LOST]

    def next_try_s(self, offers: Offers) -> float | None:
        times = [at_s for device in offers if (at_s := self.readers[device].next_try_s()) is not None]
        return min(times, default=None)
