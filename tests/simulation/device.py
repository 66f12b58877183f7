"""One simulated device: a copy on a disk, a clock, opinions about others, and what the daemon would do around the core.

The core decides, this file only carries: it opens a batch, lets the steps of one group commit act on it, gives parked
records their births back, and commits or loses all of it. Signatures are keyed hashes, because histories are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from peerd.core import entry, intents, restore, writes
from peerd.core.batch import AppliedRun, Author, Batch, Fork, Name, Verdict
from peerd.core.chain import Run
from peerd.core.clocks import Clock, Dot, join
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.intents import Intent
from peerd.core.origin import Announcement, origin_of
from peerd.core.reading import DEFAULT_RULES
from peerd.core.restore import Image
from tests.simulation.memory import Disk, MemoryReader
from tests.simulation.oracle import Event, Expected, Meant, expected_records

SPACE = b"simulated space!"
Draw = Callable[[int], bytes]


class Wrong(AssertionError):
    """The history did what the rules forbid."""


@dataclass
class Truth:
    """What really happened, known to the simulator alone."""

    events: list[Event] = field(default_factory=list)
    numbers: dict[tuple[bytes, int, bytes], int] = field(default_factory=dict)  # origin, seq, entry
    by_number: dict[int, Event] = field(default_factory=dict)
    next_number: int = 0

    def draw_number(self) -> int:
        self.next_number += 1
        return self.next_number

    def settle(self, event: Event) -> None:
        self.events.append(event)
        self.numbers[(*event.dot, event.entry)] = event.number
        self.by_number[event.number] = event


@dataclass
class Backup:
    """A copy of a device's disk, and what the simulator knows about it."""

    disk: Disk
    order: list[int]
    removed: dict[bytes, Clock]


def meaning(change: Change, looked_at: int) -> Meant:
    """What a change says, as its writer means it who knows these transactions."""
    packed = {field: bytes(raw) for field, raw in change.set.items()}
    return Meant(Kind(change.kind), change.record, packed, change.drop, looked_at, change.answers)


def signature(device: bytes, data: bytes) -> bytes:
    return blake2b(data, key=device).digest()


def verify(device: bytes, signed: bytes, data: bytes) -> bool:
    return signature(device, data) == signed


def mask_of(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


class Device:
    def __init__(self, number: int, draw: Draw, truth: Truth) -> None:
        self.id = blake2b(b"device %d" % number, digest_size=32).digest()
        self.number = number
        self.truth = truth
        self.disk = Disk(CopyState(SPACE))
        self.applied = 0  # mask of the transactions that this copy has really applied
        self.order: list[int] = []  # their numbers, in the order in which it applied them
        self.removed: dict[bytes, Clock] = {}  # removed device -> its origins' last accepted seq
        self.active: set[bytes] = {self.id}
        self.lacking: dict[Name, set[bytes]] = {}  # parked record -> devices that hold no image of it
        self.staged: list[Run] = []
        self.stamp: tuple[int, int] = (0, 0)  # (t, tq) of what is written now
        self.restores = 0
        self.life = 0  # how often its rows were replaced
        self._draw = draw
        self.take_new_origin()

    def __repr__(self) -> str:
        return f"device {self.number}"

    # ---- its lives

    def take_new_origin(self) -> None:
        announcement = Announcement(self.id, b"admission number", self._draw(16))
        origin = origin_of(SPACE, announcement)
        self.author = Author(origin, announcement, lambda data: signature(self.id, data))

    def backup(self) -> Backup:
        removed = {device: dict(accepted) for device, accepted in self.removed.items()}
        return Backup(self.disk.backup(), list(self.order), removed)

    def put_back(self, backup: Backup) -> None:
        """The device is restored from an older copy, and notices it at start."""
        self.disk, self.order = backup.disk.backup(), list(backup.order)
        self.applied = mask_of(self.order)
        self.removed = {device: dict(accepted) for device, accepted in backup.removed.items()}
        self.lacking = {}
        self.staged = []
        self.life += 1
        self.take_new_origin()

    # ---- one SQL transaction

    def transact(self, act: Callable[[Work], None], *, crash: bool = False) -> None:
        """Let `act` work on a batch, then commit it; or lose it, in a crash."""
        work = Work(self)
        act(work)
        work.restore_parked()
        done = writes.finish(work.batch)
        if crash:
            self.staged = []
            self.lacking = {}
            return
        self.disk.commit(done)
        self.applied = work.applied
        self.order += work.order
        work.tell(done.runs)
        self.check_nothing_waits()

    def restore_parked(self) -> None:
        """Look again at every parked record: who holds images, or who is active, has changed."""
        parked = [name for name, row in self.disk.rows.items() if row[3] & writes.PARKED]
        if parked:
            self.transact(lambda work: work.look_at(parked))

    def check_nothing_waits(self) -> None:
        """No record is parked at its author, if the author holds an image of it."""
        for name, row in self.disk.rows.items():
            if row[3] & writes.PARKED and name in self.disk.images:
                record = self.disk.record(name)
                if record and self.id in {self.disk.state.device_of(origin) for origin in record.writers()}:
                    raise Wrong(f"{name} is parked at its author, {self}")

    def holds_image(self, name: Name) -> bool:
        row = self.disk.rows.get(name)
        return name in self.disk.images or (row is not None and not row[3] & writes.PARKED)

    # ---- members

    def limit_of(self, origin: bytes, announcement: Announcement) -> int | None:
        accepted = self.removed.get(announcement.device)
        return None if accepted is None else accepted.get(origin, 0)

    def learn_removals(self, removals: dict[bytes, Clock]) -> None:
        """Learning of a removal and vouching for what is applied already are one step."""
        for device, accepted in removals.items():
            applied = {
                origin: at.seq for origin, at in self.disk.state.origins.items() if at.announcement.device == device
            }
            self.removed[device] = join(join(self.removed.get(device, {}), accepted), applied)


class Work:
    """The steps of one group commit."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.reader = MemoryReader(device.disk)
        self.batch = Batch(device.disk.state, self.reader, device.limit_of, verify)
        self.applied = device.applied
        self.order: list[int] = []
        self._written: list[Event] = []

    # ---- from others

    def learn_origins(self, announcements: Iterable[Announcement]) -> None:
        for announcement in announcements:
            self.batch.state = self.batch.state.with_origin(origin_of(SPACE, announcement), announcement)

    def take(self, run: Run) -> Verdict:
        """Apply a run, and then whatever waited for it."""
        verdict = self._take(run)
        if verdict is Verdict.WAITING:
            self.device.staged.append(run)
        while verdict is Verdict.APPLIED and self._retry_staged():
            pass
        return verdict

    def _take(self, run: Run) -> Verdict:
        verdict = self.batch.take(run, [entry.decode(data) for data in run.entries])
        if verdict is Verdict.APPLIED:
            for seq, data in enumerate(run.entries, run.first):
                self._happened(self.device.truth.numbers[run.origin, seq, data])
        return verdict

    def _retry_staged(self) -> bool:
        before = self.device.staged
        self.device.staged = []
        left = [run for run in before if self._take(run) is Verdict.WAITING]
        self.device.staged = left
        return len(left) < len(before)

    # ---- our own

    def plan(self, intent: Intent) -> Change | None:
        name = (intent.collection, intent.key)
        self.batch.load([name])

        def past() -> dict[str, dict[Dot, bytes]]:
            return self.batch.past(name, self.reader.past(name))

        return intents.plan(self.batch.records[name], intent, DEFAULT_RULES, past)

    def write(self, changes: list[Change], meant: list[Meant]) -> None:
        t_ms, tq = self.device.stamp
        self.batch.load([change.record for change in changes])
        number = self.device.truth.draw_number()
        dot = self.batch.write(self.device.author, changes, t_ms, tq)
        self._written.append(Event(number, dot, b"", t_ms, tq, tuple(meant)))
        self._happened(number)

    def _happened(self, number: int) -> None:
        self.applied |= 1 << number
        self.order.append(number)

    # ---- edit wins

    def restore_parked(self) -> None:
        changes = []
        for name in sorted(self.batch.parked()):
            record, image = self.batch.records[name], self.batch.image(name)
            if record is not None and image is not None and self._is_ours(name):
                changes.append(self._restore(name, image))
        for portion in restore.portions(changes):
            self.device.restores += len(portion)
            self.write(portion, [meaning(change, 0) for change in portion])

    def look_at(self, names: list[Name]) -> None:
        self.batch.load(names)
        for name in names:
            self.batch.touched[name] = None

    def _is_ours(self, name: Name) -> bool:
        device, record = self.device, self.batch.records[name]
        assert record is not None
        active = device.active - device.removed.keys()
        lacking = device.lacking.get(name, set())
        return restore.is_ours_to_restore(record, device.id, self.batch.state.device_of, active, lacking)

    def _restore(self, name: Name, image: Image) -> Change:
        record = self.batch.records[name]
        assert record is not None
        change = restore.restore(record, name, image)
        if image.removed_by is None or self.device.disk.horizon:
            return change  # what a snapshot brought was not seen to come and go here: the image is of an earlier life
        delete, before = self._last_look(name)
        missing = {field: value for field, value in before.items() if field not in record.fields}
        if {field: bytes(raw) for field, raw in change.set.items()} != missing or change.answers != delete:
            raise Wrong(f"the restore of {name} writes {change.set} instead of {missing}")
        return change

    def _last_look(self, name: Name) -> tuple[Dot, dict[str, bytes]]:
        """The delete that last took a record's births here, and what it showed before; from causality alone."""
        events = {event.number: event for event in self._written} | self.device.truth.by_number
        order = [events[number] for number in (*self.device.order, *self.order)]
        order = [event for event in order if any(change.name == name for change in event.changes)]
        was = Expected()
        for position in range(len(order), 0, -1):
            is_, was = was, expected_records(order[:position], only=name).get(name, Expected())
            if was.births and position < len(order) and not is_.births:
                return order[position].dot, was.winners()
        raise Wrong(f"{name} was never deleted from {self.device}")

    # ---- what the simulator notes

    def tell(self, runs: Iterable[AppliedRun]) -> None:
        """After the commit: what was written has happened."""
        entries = {
            (applied.run.origin, seq): data
            for applied in runs
            for seq, data in enumerate(applied.run.entries, applied.run.first)
        }
        for event in self._written:
            self.device.truth.settle(replace(event, entry=entries[event.dot]))


def compare_histories(one: Device, other: Device) -> None:
    """What two copies do first: every origin at the last run end both have must have one hash.

    Raises:
        Fork: they have not.
    """
    theirs = other.disk.state.clock()
    for origin, seq in one.disk.state.clock().items():
        at = (origin, min(seq, theirs.get(origin, 0)))
        if at[1] and one.disk.hashes.get(at) != other.disk.hashes.get(at):
            raise Fork(*at)
