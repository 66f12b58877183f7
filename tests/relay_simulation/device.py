"""A device in the simulation: performs what its courier asks for, as the engine would, with all that can go wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

from peerd.core.chain import Run
from peerd.core.clocks import Clock
from peerd.core.origin import Announcement, origin_of
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_steps import (
    Apply,
    CheckSegments,
    CheckSnapshot,
    Damage,
    Delete,
    FetchHeads,
    FetchSegments,
    LeaveFarewell,
    MakeSnapshot,
    MendRoster,
    Moment,
    Poll,
    PutHead,
    PutSegment,
    ReadLog,
    SeenHead,
    SeenSegment,
    Sleep,
    Standing,
    Step,
    TakeSnapshot,
)
from peerd.protocol.relay.objects import Head, Manifest, decode_head, decode_segment, encode
from tests.relay_simulation.copies import Copy, Truth, Wrong
from tests.relay_simulation.storage import Storage

SPACE = b"simulated space!"
KEY = b"names key".ljust(32, b"!")
WALL_MS = 1_700_000_000_000
LIGHT_STEPS = (Sleep, Apply, ReadLog)  # they ask nothing of the relay


class Along(PutHead, frozen=True):
    """A head that was written in the same request as the segment before it."""


class Unreachable(Exception):
    def __init__(self, code: str = "relay-unreachable", retry_s: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_s = retry_s


@dataclass
class Weather:
    """How bad the way to the relay is at the moment."""

    lose_before: float = 0.0
    lose_after: float = 0.0
    throttled_until_s: float = 0.0
    late: float = 0.0  # chance that a segment of others cannot be seen yet


@dataclass
class Backup:
    copy: Copy
    memory: bytes
    outbox: dict[tuple[bytes, int], bytes]
    copy_id: bytes


@dataclass
class Device:
    id: bytes
    random: Random
    truth: Truth
    storage: Storage
    settings: CourierSettings
    members: set[bytes]  # of the whole space, ourselves among them; shared by all
    active: set[bytes]
    copy: Copy
    memory: bytes = b""
    outbox: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    copy_id: bytes = b""
    origin: bytes = b""
    origins: set[bytes] = field(default_factory=set)
    online: bool = True
    weather: Weather = field(default_factory=Weather)
    removed: frozenset[bytes] = frozenset()  # which removals it knows
    linked: Clock = field(default_factory=dict)
    requests: int = 0
    wake_s: float = 0.0
    offset_ms: int = 0
    gone: bool = False
    forged_by: bytes = b""  # nothing of this device passes the door
    journal: list[tuple[float, Step]] | None = None  # every step, for who wants to know

    def __post_init__(self) -> None:
        self._roster = b""
        self.new_life()

    # ---- its lives

    def new_life(self) -> None:
        """A new origin, and a copy that is known to be another one."""
        announcement = Announcement(self.id, b"admission number", self.random.randbytes(16))
        self.origin = origin_of(SPACE, announcement)
        self.truth.announcements[self.origin] = announcement
        self.origins.add(self.origin)
        self.copy_id = self.random.randbytes(16)
        self.restart()

    def restart(self) -> None:
        self.courier = Courier(SPACE, self.id, self.settings, self.memory or None)
        self.wake_s = 0.0

    def backup(self) -> Backup:
        return Backup(self.copy.saved(), self.memory, dict(self.outbox), self.copy_id)

    def restore(self, backup: Backup, *, noticed: bool) -> None:
        """Copy and memory go back in time. Not `noticed`: nothing tells the courier."""
        self.copy, self.memory, self.outbox = backup.copy.saved(), backup.memory, dict(backup.outbox)
        self.new_life()
        if not noticed:
            self.copy_id = backup.copy_id

    # ---- its side

    def write(self, count: int, size: int, now_s: float) -> None:
        seq = self.copy.clock.get(self.origin, 0)
        entries = tuple(self.random.randbytes(8) + bytes(size) for _ in range(count))
        self.copy.write(Run(self.origin, seq + 1, entries, b""), dict(self.copy.clock))
        self.courier.committed(self.moment(now_s), own=True, size_bytes=count * size)
        self.wake_s = min(self.wake_s, now_s)

    def moment(self, now_s: float) -> Moment:
        wall_ms = WALL_MS + int(now_s * 1000) + self.offset_ms
        return Moment(now_s, wall_ms, self.random.random(), self.random.randbytes(32))

    def standing(self) -> Standing:
        roster = b"".join(sorted(self.removed)) + repr(sorted(self.truth.limits.items())).encode()
        others = frozenset(self.members - {self.id} - self.removed)
        return Standing(
            clock=dict(self.copy.clock),
            positions=[(origin, seq, bytes(8)) for origin, seq in sorted(self.copy.clock.items())],
            own_origins=frozenset(self.origins),
            members=others,
            active=others & self.active,
            linked_clock=dict(self.linked),
            roster_digest=roster,
            copy_id=self.copy_id,
            horizon=dict(self.copy.horizon),
            removed=tuple(sorted(self.removed)),
        )

    # ---- one step

    def step(self, now_s: float) -> float:
        """Do one; gives when to go on."""
        if self.gone:
            return math.inf
        standing = self.standing()
        if standing.roster_digest != self._roster:
            self._roster = standing.roster_digest
            self.courier.roster_changed(self.moment(now_s))
        step = self.courier.next(standing, self.moment(now_s))
        if self.journal is not None:
            self.journal.append((now_s, step))
        if isinstance(step, Sleep):
            return step.until_s
        if not isinstance(step, LIGHT_STEPS):
            self.requests += 1
        if isinstance(step, PutHead | Delete | MakeSnapshot):
            self.memory = self.courier.memory()
        try:
            if not isinstance(step, LIGHT_STEPS):
                self._on_the_way(self.weather.lose_before, now_s)
            took_s = self._perform(step, now_s)
        except Unreachable as trouble:
            self.courier.failed(trouble.code, trouble.retry_s, self.moment(now_s))
            took_s = 0.05
        self.memory = self.courier.memory()
        return now_s + took_s

    def _on_the_way(self, chance: float, now_s: float) -> None:
        if not self.online:
            raise Unreachable
        if now_s < self.weather.throttled_until_s:
            raise Unreachable("relay-throttled", self.weather.throttled_until_s - now_s)
        if self.random.random() < chance:
            raise Unreachable

    def _after(self, now_s: float) -> float:
        """The answer may get lost."""
        self._on_the_way(self.weather.lose_after, now_s)
        return self.random.uniform(0.05, 1.5)

    def _perform(self, step: Step, now_s: float) -> float:
        moment = self.moment(now_s)
        match step:
            case Apply():
                if any(self.truth.announcements[run.origin].device == self.forged_by for run in step.runs):
                    self.courier.applied(moment, "a run is forged")
                    return 0.02
                self.copy.take(step.runs, removed=self.removed)
                self.courier.applied(moment)
                return 0.02
            case ReadLog():
                rows, read_up_to = self.copy.read(step.position, step.covered, step.max_bytes)
                origins = [self.truth.announcements[origin] for origin in {row.run.origin for row in rows}]
                self.courier.log_read(rows, read_up_to, origins, moment)
                return 0.01
            case Poll() | FetchHeads() | FetchSegments() | CheckSegments() | CheckSnapshot():
                self._look(step, moment, now_s)
            case PutSegment() | PutHead() | Delete():
                self._change(step, moment, now_s)
            case LeaveFarewell():
                name = relay_names.head_name(KEY, step.device)
                there = self.storage.objects.get(name)
                tag = self.storage.replace(name, b"F" + step.device, there[0] if there else None)
                self._after(now_s)
                self.courier.farewell_left(moment, there=tag is not None)
            case MendRoster():
                self.courier.roster_mended(moment)
            case MakeSnapshot():
                self._make_snapshot(step, moment, now_s)
            case TakeSnapshot():
                self._take_snapshot(step, moment, now_s)
        return self.random.uniform(0.05, 1.5)

    def _look(
        self, step: Poll | FetchHeads | FetchSegments | CheckSegments | CheckSnapshot, moment: Moment, now_s: float
    ) -> None:
        courier, lookup = self.courier, self.storage.lookup
        match step:
            case Poll():
                names = {relay_names.head_name(KEY, device): device for device in step.devices}
                found = lookup(list(names))
                self._after(now_s)
                courier.polled({names[name]: tag for name, (tag, _) in found.items()}, moment)
            case FetchHeads():
                names = {relay_names.head_name(KEY, device): device for device in step.devices}
                ahead = {relay_names.segment_name(KEY, stream, n): (d, stream, n) for d, stream, n in step.ahead}
                found = lookup(list(names))
                more = lookup([name for name in ahead if self.random.random() >= self.weather.late])
                self._after(now_s)
                heads = {names[n]: self._see(names[n], tag, data) for n, (tag, data) in found.items()}
                courier.heads_fetched(heads, moment, {ahead[n]: open_segment(data) for n, (_, data) in more.items()})
            case FetchSegments():
                segments = {relay_names.segment_name(KEY, stream, n): (d, stream, n) for d, stream, n in step.names}
                visible = [name for name in segments if self.random.random() >= self.weather.late]
                found = lookup(visible)
                self._after(now_s)
                courier.segments_fetched({segments[n]: open_segment(data) for n, (_, data) in found.items()}, moment)
            case CheckSegments():
                numbers = {relay_names.segment_name(KEY, step.stream, n): n for n in step.numbers}
                found = lookup(list(numbers))
                self._after(now_s)
                courier.segments_checked([numbers[name] for name in found], moment)
            case CheckSnapshot():
                complete = self._has_all(step.manifest, opened=step.contents)
                self._after(now_s)
                courier.snapshot_checked(moment, complete=complete)

    def _see(self, device: bytes, tag: str, data: bytes) -> SeenHead:
        if device in self.removed:
            return SeenHead(tag, None, Damage.REMOVED)
        if data[:33] == b"F" + self.id:
            self.gone = True  # the courier of a device that knows that it was removed is ended
            return SeenHead(tag, None, Damage.FAREWELL)
        if data[:1] != b"H":
            return SeenHead(tag, None, Damage.UNREADABLE)
        count = data[1]
        for number in range(count):  # the roster that comes along
            self.learn_removal(data[2 + 32 * number : 34 + 32 * number])
        return SeenHead(tag, decode_head(data[2 + 32 * count + 8 :]))

    def learn_removal(self, device: bytes) -> None:
        """Vouching for what we have applied is one step with learning of it; the maximum stands."""
        if device not in self.removed:
            self.removed |= {device}
            for origin, seq in self.copy.clock.items():
                if self.truth.announcements[origin].device == device:
                    self.truth.limits[origin] = max(seq, self.truth.limits.get(origin, 0))

    def _change(self, step: PutSegment | PutHead | Delete, moment: Moment, now_s: float) -> None:
        match step:
            case PutSegment():
                self._put_segment(step, moment, now_s)
            case PutHead():
                tag = self._write_head(step)
                self._after(now_s)
                self.courier.head_differs(moment) if tag is None else self.courier.head_put(tag, moment)
            case Delete():
                names = [relay_names.segment_name(KEY, stream, n) for stream, n in step.segments]
                names += [relay_names.part_name(KEY, snapshot, n) for snapshot, n in step.parts]
                names += [relay_names.head_name(KEY, device) for device in step.heads]
                self.storage.delete(names)
                self._after(now_s)
                self.courier.deleted(moment)

    def _put_segment(self, step: PutSegment, moment: Moment, now_s: float) -> None:
        key = step.stream, step.number
        if key not in self.outbox:
            if step.segment is None:
                self.courier.segment_differs(moment)
                return
            self.outbox = {key: b"S" + self.random.randbytes(8) + encode(step.segment)}
        sealed = self.outbox[key]
        head = self.courier.segment_sealed(sealed, moment) if step.with_head else None
        self.memory = self.courier.memory()
        ours = self.storage.create(relay_names.segment_name(KEY, *key), sealed)
        tag = None
        if head is not None:
            self._on_the_way(self.weather.lose_after / 2, now_s)  # of two operations the second may be lost
            tag = self._write_head(head) if ours or self.random.random() < 0.5 else None
            if self.journal is not None:
                self.journal.append((now_s, Along(head.head, head.tag)))
        self._after(now_s)
        if ours:
            self.courier.segment_put(sealed, moment)
        else:
            self.courier.segment_differs(moment)
        if tag is not None:
            self.courier.head_put(tag, moment)
        elif head is not None and ours:
            self.courier.head_differs(moment)

    def _write_head(self, step: PutHead) -> str | None:
        roster = b"".join(sorted(self.removed))
        data = b"H" + bytes([len(self.removed)]) + roster + self.random.randbytes(8) + encode(step.head)
        return self.storage.replace(relay_names.head_name(KEY, self.id), data, step.tag)

    # ---- snapshots

    def _make_snapshot(self, step: MakeSnapshot, moment: Moment, now_s: float) -> None:
        size = max(1000, sum(run.size_bytes for name, run in self.truth.runs.items() if name in self.copy.names) // 3)
        for number in range(2):
            self.storage.create(relay_names.part_name(KEY, step.id, number), b"P" + bytes(size // 2))
            self._after(now_s)
        clock = dict(self.copy.clock)
        self.truth.snapshots[step.id] = clock, frozenset(self.copy.names)
        self.courier.snapshot_made(Manifest(step.id, 2, size, bytes(32), clock, moment.wall_ms), moment)

    def _has_all(self, manifest: Manifest, *, opened: bool = False) -> bool:
        names = [relay_names.part_name(KEY, manifest.id, number) for number in range(manifest.parts)]
        found = self.storage.lookup(names)
        return len(found) == len(names) and not (opened and any(data[:1] != b"P" for _, data in found.values()))

    def _take_snapshot(self, step: TakeSnapshot, moment: Moment, now_s: float) -> None:
        complete = self._has_all(step.manifest, opened=True)
        self._after(now_s)
        if complete:
            self.copy.merge_snapshot(*self.truth.snapshots[step.manifest.id])
        self.courier.snapshot_taken(moment, complete=complete)


def open_segment(data: bytes) -> SeenSegment:
    if data[:1] != b"S":
        return SeenSegment(None, data, Damage.UNREADABLE)
    try:
        return SeenSegment(decode_segment(data[9:]), data)
    except RemoteProtocolError as problem:
        raise Wrong(str(problem)) from problem


def open_head(data: bytes) -> Head | None:
    if data[:1] != b"H":
        return None
    return decode_head(data[2 + 32 * data[1] + 8 :])


def head_there(storage: Storage, device: bytes) -> Head | None:
    """What is really there."""
    found = storage.objects.get(relay_names.head_name(KEY, device))
    return open_head(found[1]) if found else None
