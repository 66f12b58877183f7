"""A random history of a few devices that share a relay, and what must be true of it.

Nothing is applied twice or out of order (the copies look themselves). Whatever is in a member's copy or can be read on
the relay when the chaos ends is in everybody's copy at last. A segment is removed only when every active member has
what is in it. When nothing happens any more, next to nothing is asked of the relay, and with snapshots it holds little
more than one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from peerd.core.clocks import Clock, includes
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, CourierSettings
from peerd.protocol.relay.objects import Piece, join_pieces
from tests.relay_simulation.copies import Copy, RunName, Truth, Wrong
from tests.relay_simulation.device import KEY, Backup, Device, Weather, head_there, open_head, open_segment
from tests.relay_simulation.storage import Storage

CHAOS_S = (0.5 * HOUR_S, 12 * HOUR_S)
QUIET_S = 12 * DAY_S
# After they agree: until the last of what all have by links is left too (90 minutes); until the last litter is gone.
CALM_S = (4 * HOUR_S, 27 * HOUR_S)
LAST_HOURS = 1
REQUESTS_AN_HOUR = 30  # of a device with nothing to do: a look every few minutes
SNAPSHOT_FROM_BYTES = 100_000
SMALL_BYTES = 300_000  # a relay that soon gives up what not everybody has


@dataclass
class Options:
    """`tell` hears of everything that happens. `snapshots`: may they be made (None: chance decides)?"""

    tell: Callable[[str], None] | None = None
    snapshots: bool | None = None


class World:
    def __init__(self, seed: int, options: Options) -> None:
        self.random = random = Random(seed)
        self.options = options
        self.counts: Counter[str] = Counter()
        self.snapshots = random.random() < 0.5 if options.snapshots is None else options.snapshots
        self.truth = Truth()
        self.storage = Storage()
        self.now_s = 0.0
        self.members: set[bytes] = set()
        self.active: set[bytes] = set()
        self.devices: list[Device] = []
        self.clones: list[Device] = []
        self.backups: dict[bytes, Backup] = {}
        self.saved: dict[str, tuple[str, bytes]] | None = None
        self.lan: list[Device] = []
        self.settings = CourierSettings(
            poll_min_s=random.choice([20.0, 30.0]),
            poll_max_s=random.choice([600.0, 900.0]),
            snapshots=self.snapshots,
            snapshot_from_bytes=SNAPSHOT_FROM_BYTES,
            max_bytes=random.choice([None, 50_000_000, SMALL_BYTES]) if self.snapshots else None,
        )
        for _ in range(random.randint(2, 5)):
            self.join()
        self.disturbed: set[bytes] = set()
        self.cloned: set[bytes] = set()
        self.heads: dict[bytes, tuple[str, bytes] | None] = {}
        self.positions: dict[tuple[bytes, bytes, bytes], int] = {}
        self.contents: dict[str, frozenset[RunName]] = {}
        self.wild = random.random() < 0.6  # things that nobody should do to a relay

    def say(self, what: str) -> None:
        self.counts[what.split(maxsplit=1)[0]] += 1
        if self.options.tell is not None:
            self.options.tell(f"{self.now_s:10.0f} {what}")

    def join(self) -> Device:
        number = len(self.devices)
        id_ = bytes([number + 1]) * 32
        self.members.add(id_)
        self.active.add(id_)
        device = Device(
            id_, Random(self.random.random()), self.truth, self.storage, self.settings, self.members, self.active,
            Copy(self.truth),
        )  # fmt: skip
        device.wake_s = self.now_s
        self.devices.append(device)
        return device

    @property
    def everybody(self) -> list[Device]:
        return [device for device in [*self.devices, *self.clones] if not device.gone]

    @property
    def staying(self) -> list[Device]:
        return [device for device in self.devices if not device.gone and device.id in self.members]

    # ---- time

    def run_until(self, end_s: float) -> None:
        while True:
            device = min(self.everybody, key=lambda device: device.wake_s)
            if device.wake_s > end_s:
                break
            self.now_s = max(self.now_s, device.wake_s)
            before = device.copy.clock.copy() if self.lan else None
            there, writes = set(self.storage.objects), self.storage.writes
            device.wake_s = max(device.step(self.now_s), self.now_s + 0.01)
            self._look_at_reports(device)
            if self.storage.writes != writes or len(there) != len(self.storage.objects):
                self._look_at_changes(device, there)
            self._look_at_position(device)
            if before is not None and before != device.copy.clock:
                self.meet()
        self.now_s = end_s

    def _look_at_changes(self, by: Device, before: set[str]) -> None:
        """Whatever is removed from the relay is in the copies of all who count, or still there under another name. A
        device that was restored or cloned acknowledged more than its copy has now: a snapshot serves it.
        """
        for name in self.storage.objects.keys() - before:
            seen = open_segment(self.storage.objects[name][1])
            if seen.segment is not None:
                self.contents[name] = frozenset((run.origin, run.first) for run in seen.segment.runs)
        self._look_at_claim(by)
        self._look_at_overwriting(by)
        gone = before - self.storage.objects.keys()
        if not gone or by.id not in self.members or self.settings.max_bytes == SMALL_BYTES:
            return
        stream = by.courier._parts.memory.stream
        in_use = {relay_names.segment_name(KEY, stream, n) for n in range(1, by.courier._parts.memory.next)}
        collected, given_up = self.held_by(gone & in_use), self.held_by(gone - in_use)
        left = self.held_by(self.storage.objects) | self.in_snapshots()
        if by.id in self.disturbed:
            left |= given_up - by.copy.names  # of a life that nobody reads any more
        lacking = (collected - self.held_by(self.storage.objects)) | (given_up - left)
        for device in self.staying:
            counts = device.id in self.active and device.id not in self.disturbed
            if counts and not lacking <= device.copy.names:
                raise Wrong(f"removed before {device.id[:1].hex()} had it")

    def _look_at_reports(self, device: Device) -> None:
        """Nobody cries wolf: where every device is alone with its key and the relay honest, chains are whole."""
        parts = device.courier._parts
        if self.storage.harmed or self.disturbed or self.cloned:
            return
        if any(report.code == "relay-swapped" for report in parts.reports.all()):
            raise Wrong(f"{device.id[:1].hex()} takes a whole stream for a swapped one")

    def _look_at_overwriting(self, by: Device) -> None:
        """Who writes over a head that an earlier life left, has what could be read by it."""
        name = relay_names.head_name(KEY, by.id)
        there = self.storage.objects.get(name)
        before, self.heads[by.id] = self.heads.get(by.id), there
        if before is None or before == there or self.storage.harmed or by.id in self.cloned or by.removed:
            return
        lacking = self.readable(by.id, before) - by.copy.names - {(run.origin, run.first) for run in by.copy.staged}
        if lacking:
            raise Wrong(f"{by.id[:1].hex()} wrote over what it had not read")

    def _look_at_claim(self, by: Device) -> None:
        """A head claims no more than its stream holds; but who slipped back may write one beside a segment of its life
        before, whose number it does not know of, until it begins another stream.
        """
        head = head_there(self.storage, by.id)
        if head is None or self.storage.harmed or by.id in self.cloned or by.id in self.disturbed:
            return
        held: dict[bytes, set[int]] = {}
        for origin, first in self.readable(by.id):
            run = self.truth.runs[origin, first]
            held.setdefault(origin, set()).update(range(first, run.last + 1))
        for origin, spans in head.covers.items():
            for first, last in spans:
                if not set(range(first, last + 1)) <= held.get(origin, set()):
                    raise Wrong(f"the head of {by.id[:1].hex()} claims what its stream does not hold")

    def _look_at_position(self, reader: Device) -> None:
        """What a device has read is in its copy."""
        for writer, known in reader.courier._parts.memory.known.items():
            key = reader.copy_id, writer, known.stream
            before = max(self.positions.get(key, 1), known.oldest)  # what is older is in a snapshot
            if known.position <= before:
                continue
            self.positions[key] = known.position
            if self.storage.harmed or writer in self.disturbed or reader.id in self.disturbed:
                continue
            names = [relay_names.segment_name(KEY, known.stream, n) for n in range(before, known.position)]
            lacking = self.held_by(names) - reader.copy.names
            if lacking and writer in self.members:
                raise Wrong(f"{reader.id[:1].hex()} went past what it did not get from {writer[:1].hex()}")

    def held_by(self, names: Iterable[str]) -> set[RunName]:
        return set().union(*(self.contents.get(name, frozenset()) for name in names))

    def in_snapshots(self) -> set[RunName]:
        """What the snapshots give that members' heads speak of and that are there."""
        found: set[RunName] = set()
        for device in self.staying:
            head = head_there(self.storage, device.id)
            if head is not None and head.snapshot is not None and device._has_all(head.snapshot, opened=True):
                found |= self.truth.snapshots[head.snapshot.id][1]
        return found

    # ---- what happens

    def act(self) -> None:
        random = self.random
        device = random.choice(self.everybody)
        chance = random.random()
        if chance < 0.50:
            self.write(device)
        elif chance < 0.57:
            device.online = not device.online
            device.wake_s = self.now_s
            self.say("online" if device.online else "offline")
        elif chance < 0.62:
            self.lan = random.sample(self.everybody, min(len(self.everybody), random.randint(2, 4)))
            self.say("lan meeting")
            self.meet()
        elif chance < 0.66:
            self.lan = []
            self.meet()
        elif chance < 0.71:
            device.weather.lose_before = random.choice([0.0, 0.0, 0.2, 0.6])
            device.weather.lose_after = random.choice([0.0, 0.0, 0.2, 0.6])
            device.weather.late = random.choice([0.0, 0.0, 0.5, 0.9])
        elif chance < 0.73:
            device.weather.throttled_until_s = self.now_s + random.choice([60.0, HOUR_S, 5 * HOUR_S])
            self.say("throttled")
        elif chance < 0.77:
            device.restart()
            device.wake_s = self.now_s
            self.say("restart")
        elif chance < 0.81:
            self.backups[device.id] = device.backup()
        elif chance < 0.83:
            device.courier.sync_now(device.moment(self.now_s))
            device.wake_s = self.now_s
        elif chance < 0.84:
            device.courier.noticed(device.moment(self.now_s))
            device.wake_s = self.now_s
        elif self.wild:
            self.act_wildly(device)

    def act_wildly(self, device: Device) -> None:
        random = self.random
        chance = random.random()
        if chance < 0.35 and device.id in self.backups:
            noticed = random.random() < 0.6
            device.restore(self.backups[device.id], noticed=noticed)
            device.wake_s = self.now_s
            self.disturbed.add(device.id)
            self.say("restored" if noticed else "slipped back")
        elif chance < 0.45:
            self.saved = self.storage.saved()
        elif chance < 0.53 and self.saved is not None:
            self.storage.roll_back(self.saved)
            self.say("rolled back")
        elif chance < 0.6:
            self.storage.lose(random, random.choice([0.05, 0.3, 1.0, 1.0]))
            self.say("lost")
        elif chance < 0.72:
            self.storage.tamper(random)
            self.say("tampered")
        elif chance < 0.8 and len(self.clones) < 1:
            self.clone(device)
        elif chance < 0.87 and len(self.staying) > 2:
            self.remove(random.choice(self.staying))
        elif chance < 0.95 and len(self.devices) < 7:
            self.say("joined")
            self.join()
        elif len(self.active) > 1:
            self.active.discard(random.choice(sorted(self.active)))
            self.say("dormant")

    def write(self, device: Device) -> None:
        random = self.random
        for _ in range(random.randint(1, 3)):
            size = random.choice([20, 200, 2000, 20_000]) if random.random() < 0.97 else 900_000
            device.write(1 if size > 2000 else random.randint(1, 4), size, self.now_s)
            self.counts["runs"] += 1
        if device in self.lan:
            self.meet()

    def meet(self) -> None:
        """All who are linked have what each of them has, and know it."""
        for _ in range(2):
            for one in self.lan:
                for other in self.lan:
                    if one.id in other.members - other.removed and one is not other:
                        for removed in one.removed:
                            other.learn_removal(removed)
                        other.copy.meet(one.copy, other.removed)
        for device in self.everybody:
            others = [other for other in self.lan if other is not device]
            known: Clock = {}
            if device in self.lan and self.active - {device.id} <= {other.id for other in others}:
                known = {
                    origin: min(other.copy.clock.get(origin, 0) for other in others)
                    for origin in device.copy.clock
                } if others else {}  # fmt: skip
            device.linked = {origin: seq for origin, seq in known.items() if seq}
            device.wake_s = min(device.wake_s, self.now_s)

    def clone(self, device: Device) -> None:
        """A second machine with the same keys."""
        self.disturbed.add(device.id)
        self.cloned.add(device.id)
        clone = Device(
            device.id, Random(self.random.random()), self.truth, self.storage, self.settings, self.members,
            self.active, device.copy.saved(), device.memory, dict(device.outbox),
        )  # fmt: skip
        clone.removed = device.removed
        clone.origins |= device.origins
        clone.restart()
        clone.wake_s = self.now_s
        self.clones.append(clone)
        self.say("cloned")

    def remove(self, device: Device) -> None:
        by = self.random.choice([other for other in self.staying if other is not device])
        by.learn_removal(device.id)
        self.members.discard(device.id)
        self.active.discard(device.id)
        self.say("removed")

    # ---- the end

    def calm(self) -> set[RunName]:
        """No more chaos. Gives what must be everywhere at last."""
        self.lan = []
        self.meet()
        for clone in self.clones:
            clone.gone = True
        self.clones.clear()
        for device in self.devices:
            device.online = True
            device.weather = Weather()
            device.wake_s = min(device.wake_s, self.now_s + 1)
        expected: set[RunName] = set()
        for device in self.staying:
            expected |= device.copy.names
            expected |= self.readable(device.id)
        limits = self.truth.limits
        removed = {device.id for device in self.devices} - self.members
        return {
            (origin, first) for origin, first in expected
            if self.truth.announcements[origin].device not in removed
            or self.truth.runs[origin, first].last <= limits.get(origin, 0)
        }  # fmt: skip

    def readable(self, device: bytes, head_object: tuple[str, bytes] | None = None) -> set[RunName]:
        """What somebody gets who reads this device's stream to its end; as its head says, or said."""
        head = open_head(head_object[1]) if head_object else head_there(self.storage, device)
        if head is None:
            return set()
        found: set[RunName] = set()
        pieces: list[Piece] = []
        for number in range(head.oldest, head.next):
            there = self.storage.objects.get(relay_names.segment_name(KEY, head.stream, number))
            segment = open_segment(there[1]).segment if there else None
            if segment is None or segment.piece is None:
                pieces = []
                found |= {(run.origin, run.first) for run in (segment.runs if segment else [])}
                continue
            pieces = [*pieces, segment.piece] if segment.piece.number == len(pieces) else [segment.piece]
            if [piece.number for piece in pieces] == list(range(segment.piece.count)):
                run = join_pieces(pieces)
                found.add((run.origin, run.first))
        return found


def deliverable(world: World, names: set[RunName]) -> set[RunName]:
    """Those that can be applied by somebody who has all of them: nothing that they depend on is lost."""
    clock: Clock = {}
    waiting = sorted(names, key=lambda name: name[1])
    moved = True
    applied: set[RunName] = set()
    while moved:
        moved = False
        for name in waiting:
            if name in applied:
                continue
            run, context = world.truth.runs[name], world.truth.contexts[name]
            if clock.get(run.origin, 0) == run.first - 1 and includes(clock, context):
                clock[run.origin] = run.last
                applied.add(name)
                moved = True
    return applied


def run(seed: int, options: Options | None = None) -> Counter[str]:
    """One history. Raises Wrong."""
    world = World(seed, options or Options())
    random = world.random
    end_s = random.uniform(*CHAOS_S)
    acts = random.randint(5, 80)
    times = sorted(random.uniform(0, end_s) for _ in range(acts))
    for at_s in times:
        world.run_until(at_s)
        world.act()
    world.run_until(end_s)
    expected = deliverable(world, world.calm())
    world.now_s = end_s
    for hours in range(1, int(QUIET_S / HOUR_S) + 1):
        world.run_until(end_s + hours * HOUR_S)
        if all(device.copy.names >= expected for device in world.staying) and agree(world):
            break
    else:
        raise Wrong(f"after {QUIET_S / DAY_S:.0f} days: {differences(world, expected)}")
    world.counts["hours to agree"] += hours
    check_quiet(world)
    return world.counts


def agree(world: World) -> bool:
    clocks = [device.copy.clock for device in world.staying]
    return all(clock == clocks[0] for clock in clocks)


def differences(world: World, expected: set[RunName]) -> str:
    missing = {device.id[:1].hex(): len(expected - device.copy.names) for device in world.staying}
    return f"missing {missing}, clocks {'equal' if agree(world) else 'differ'}"


def check_quiet(world: World) -> None:
    """Long after the last change: few requests, and a relay that holds no more than it must."""
    long = world.random.random() < 0.15
    world.run_until(world.now_s + CALM_S[long])
    before = {device.id: device.requests for device in world.staying}
    world.run_until(world.now_s + LAST_HOURS * HOUR_S)
    for device in world.staying:
        requests = device.requests - before[device.id]
        if requests > REQUESTS_AN_HOUR * LAST_HOURS:
            raise Wrong(f"{requests} requests in {LAST_HOURS} hours of quiet")
        for report in device.courier.status(device.standing(), device.moment(world.now_s)).reports:
            if report.code == "relay-lost":
                raise Wrong(f"a complaint is left: {report}")
    if long and world.snapshots:
        check_size(world)


def check_size(world: World) -> None:
    """All have everything: no more segments are left than make the next snapshot worth it."""
    heads = [head for device in world.staying if (head := head_there(world.storage, device.id)) is not None]
    best_bytes = max((head.snapshot.size_bytes for head in heads if head.snapshot), default=0)
    left_bytes = sum(sum(head.sizes) for head in heads)
    if left_bytes > max(SNAPSHOT_FROM_BYTES, 2 * best_bytes):
        raise Wrong(f"{left_bytes} bytes of segments are left beside a snapshot of {best_bytes}")
