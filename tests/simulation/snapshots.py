"""Snapshots in random histories: made while their sender writes, in the parts that travel, and merged into copies that
write, delete and restore meanwhile. Whoever switched has a log that begins at a horizon.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import Name, Stored
from peerd.core.copy import CopyState
from peerd.core.origin import Announcement
from peerd.core.record_form import decode_record
from peerd.core.snapshots.intake import Authority, Intake, Standing
from peerd.core.snapshots.merge import Pair, ahead, horizon_after, merge_all
from peerd.core.snapshots.parts import (
    Begin,
    End,
    Ends,
    EndsOf,
    Group,
    Joiner,
    OriginEnd,
    Origins,
    Part,
    Records,
    Runs,
    encode,
)
from peerd.core.writes import PARKED
from tests.simulation.device import SPACE, Device, Wrong, compare_histories, verify
from tests.simulation.memory import Disk, MemoryReader
from tests.simulation.world import World, begin_session


class Transfer:
    """A snapshot on its way. Rows are read one at a time, the rest at once; both sides go on meanwhile."""

    def __init__(self, sender: Device, receiver: Device) -> None:
        self.sender, self.receiver = sender, receiver
        self.lives = sender.life, receiver.life
        self.clock = sender.disk.state.clock()  # when the first row is read
        self.side = Disk(CopyState(SPACE))
        self.standing = Standing()
        self.numbers = {origin: number for number, origin in enumerate(sender.disk.state.origins)}
        self._joiner = Joiner()
        self._at = len(sender.disk.log)
        self._last: Name = ("", "")
        authority = Authority(lambda _: True, receiver.limit_of, verify)
        self._intake = Intake(SPACE, authority)
        for part in self._beginning():
            self._give(part)

    @property
    def can_go_on(self) -> bool:
        return self.lives == (self.sender.life, self.receiver.life)

    def _beginning(self) -> Iterator[Part]:
        disk = self.sender.disk
        yield Begin(SPACE, 1, len(disk.rows), len(disk.state.origins))
        yield Origins(
            [
                OriginEnd(self.numbers[origin], at.announcement, at.seq, at.head, disk.signatures.get(origin, b""),
                          at.context)
                for origin, at in disk.state.origins.items()
            ]
        )  # fmt: skip
        ends: dict[bytes, list[tuple[int, bytes]]] = {}
        for (origin, seq), hash8 in sorted(disk.hashes.items()):
            if seq <= self.clock.get(origin, 0):
                ends.setdefault(origin, []).append((seq, hash8))
        yield Ends([EndsOf(self.numbers[origin], found) for origin, found in ends.items()])

    def _give(self, part: Part) -> None:
        for data in encode(part):
            taken = self._joiner.take(data)
            if taken is not None:
                done = self._intake.take(self.standing, taken, MemoryReader(self.side))
                self.side.take(done)
                for origin, seq, hash8 in done.ends:
                    self.side.hashes[origin, seq] = hash8
                self.standing = self.standing.after(done)

    def read_row(self) -> bool:
        """The next one; False if there is none."""
        later = [name for name in self.sender.disk.rows if name > self._last]
        if not later:
            return False
        self._last = min(later)
        new = self._new_numbers()
        stamps, body, _, _ = self.sender.disk.rows[self._last]
        numbered = [[self.numbers[row[0]], *row[1:]] for row in stamps]
        stored = (self._last[1], msgspec.msgpack.encode(numbered), body)
        self._give(Records([Group(self._last[0], [stored])], new))
        return True

    def _new_numbers(self) -> list[tuple[int, Announcement]]:
        new = []
        for origin, at in self.sender.disk.state.origins.items():
            if origin not in self.numbers:
                self.numbers[origin] = len(self.numbers)
                new.append((self.numbers[origin], at.announcement))
        return new

    def complete(self) -> None:
        """What was written since the first row, and the end."""
        disk = self.sender.disk
        new = self._new_numbers()
        self._give(Runs([applied.run for applied in disk.log[self._at :]], new))
        self._give(End(digest.summary(disk.state.digest), len(disk.rows)))
        assert self.standing.clock == disk.state.clock()

    def switch(self) -> None:
        """Merge what is complete into the receiver, in one step. Removals were exchanged just before."""
        receiver, side, disk = self.receiver, self.side, self.receiver.disk
        compare_histories(receiver, self.sender)
        theirs = {origin: at.state() for origin, at in self.standing.origins.items()}
        if any(not _accepted(receiver, origin, at.announcement, at.seq) for origin, at in theirs.items()):
            return
        names = sorted(disk.rows.keys() | side.rows.keys())
        pairs = [Pair(name, _stored(disk, name), _stored(side, name)) for name in names]
        merged = merge_all(pairs, disk.state.clock(), self.standing.clock)
        rows = dict(side.rows)
        rows.update((row.name, (row.stamps, row.body, row.share, row.flags)) for row in merged.rows)
        for name in merged.gone:
            del rows[name]
        for name, row in disk.rows.items():
            if not row[3] & PARKED and name in rows and rows[name][3] & PARKED and name not in merged.images:
                raise Wrong(f"{receiver} has no image of {name}, which it showed")
        moved = ahead(disk.state.origins, theirs)
        disk.horizon = horizon_after(disk.horizon, moved)
        disk.log = [one for one in disk.log if one.run.last > disk.horizon.get(one.run.origin, 0)]
        disk.rows = rows
        disk.hashes = {**side.hashes, **disk.hashes}
        disk.signatures.update((origin, self.standing.origins[origin].signature) for origin in moved)
        disk.images.update(merged.images)
        disk.history.extend(merged.history)
        visible = sum(self.standing.progress.visible.values()) + sum(merged.visible.values())
        origins = {
            **disk.state.origins,
            **{origin: at for origin, at in theirs.items() if origin not in disk.state.origins},
        }
        disk.state = replace(
            disk.state,
            origins={**origins, **moved},
            digest=digest.moved(self.standing.progress.digest, merged.steps),
            visible=visible,
        )
        assert len(rows) == self.standing.progress.records + merged.records
        receiver.order += [number for number in self.sender.order if not receiver.applied >> number & 1]
        receiver.applied |= self.sender.applied
        receiver.life += 1
        receiver.restore_parked()


def _accepted(receiver: Device, origin: bytes, announcement: Announcement, seq: int) -> bool:
    limit = receiver.limit_of(origin, announcement)
    return limit is None or seq <= limit


def _stored(disk: Disk, name: Name) -> Stored | None:
    row = disk.rows.get(name)
    return None if row is None else Stored(decode_record(row[0], row[1]), row[2], not row[3] & PARKED)


def send_at_once(sender: Device, receiver: Device) -> None:
    transfer = Transfer(sender, receiver)
    while transfer.read_row():
        pass
    transfer.complete()
    transfer.switch()


@dataclass
class Transfers:
    """The snapshots of one history that are on their way."""

    chance: random.Random
    open: list[Transfer] = field(default_factory=list)

    def step(self, world: World) -> None:
        dice = self.chance.random()
        if dice < 0.12 and len(world.reachable()) > 1 and len(self.open) < 3:
            sender, receiver = self.chance.sample(world.reachable(), 2)
            if begin_session(sender, receiver):
                self.open.append(Transfer(sender, receiver))
                world.counts["snapshots begun"] += 1
        elif dice < 0.5 and self.open:
            self._advance(world, self.chance.choice(self.open))

    def _advance(self, world: World, transfer: Transfer) -> None:
        if not transfer.can_go_on or not begin_session(transfer.sender, transfer.receiver):
            self.open.remove(transfer)
            return
        if self.chance.random() < 0.6 and transfer.read_row():
            return
        while transfer.read_row():
            pass
        transfer.complete()
        transfer.switch()
        self.open.remove(transfer)
        world.counts["snapshots"] += 1
