"""Random histories: what may happen, and the steps it happens in.

Two to six devices, three records with three fields, transactions of one to three changes, some by callers who looked
long ago. Deliveries are cut short, doubled, out of order, and carry runs of any origin through any device; foreign
runs and own transactions share a group commit, which a crash may lose. Clocks are wrong, stand still, or live in 1970
or 2100. Devices go away and come back, or never do; they are put back from an older copy, forget their history, and
are removed while they and others go on writing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from msgspec import Raw

from peerd.core import values
from peerd.core.batch import Verdict
from peerd.core.clocks import includes
from peerd.core.entry import Change, Kind
from tests.simulation.device import Backup, Device, Truth, Work, compare_histories, meaning
from tests.simulation.hostile import attack
from tests.simulation.writers import RECORDS, Tokens, look, whole_put, write_something

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
EPOCH_MS = 0
YEAR_2100_MS = 4_102_444_800_000


@dataclass(frozen=True)
class ClockOf:
    """A device's clock at a step: right, off by some time, or standing still."""

    offset_ms: int = 0
    fixed_ms: int | None = None
    tq: int = 2

    def at(self, step: int) -> tuple[int, int]:
        if self.fixed_ms is not None:
            return self.fixed_ms, self.tq
        return NOW_MS + step * 1000 + self.offset_ms, self.tq


CLOCKS = (
    ClockOf(),
    ClockOf(),
    ClockOf(tq=1),
    ClockOf(HOUR_MS, tq=0),
    ClockOf(-HOUR_MS, tq=0),
    ClockOf(-HOUR_MS, tq=2),
    ClockOf(fixed_ms=EPOCH_MS, tq=0),
    ClockOf(YEAR_2100_MS - NOW_MS, tq=0),
    ClockOf(fixed_ms=YEAR_2100_MS, tq=1),
)


@dataclass
class World:
    """One history. All chance comes from one seeded generator."""

    chance: random.Random
    truth: Truth
    devices: list[Device]
    clocks: dict[int, ClockOf] = field(default_factory=dict)
    away: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)  # removed by somebody
    lost: set[int] = field(default_factory=set)  # broken for ever, though a member
    backups: dict[int, Backup] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def members(self) -> list[Device]:
        """The devices that will meet at the end."""
        return [device for device in self.devices if device.number not in self.gone | self.lost]

    def reachable(self) -> list[Device]:
        return [device for device in self.devices if device.number not in self.away | self.lost]


def new_world(seed: int, size: int | None = None) -> World:
    chance = random.Random(seed)
    truth = Truth()
    count = size or chance.choice((2, 3, 3, 4, 4, 5, 6))
    devices = [Device(number, chance.randbytes, truth) for number in range(count)]
    world = World(chance, truth, devices)
    world.clocks = {device.number: chance.choice(CLOCKS) for device in devices}
    form_opinions(world)
    return world


def form_opinions(world: World) -> None:
    """Everybody has an opinion of who is active, mostly right."""
    for device in world.devices:
        device.active = {
            each.id for each in world.reachable() if each.number not in world.gone and world.chance.random() < 0.9
        }


def take_step(world: World, step: int) -> None:
    chance = world.chance
    device = chance.choice([device for device in world.devices if device.number not in world.lost])
    for each in world.devices:
        each.stamp = world.clocks[each.number].at(step)
    dice = chance.random()
    if dice < 0.45:
        commit_some(world, device, step)
    elif dice < 0.86:
        meet_somebody(world, step)
    elif dice < 0.90:
        change_presence(world)
    elif dice < 0.92:
        world.clocks[device.number] = chance.choice(CLOCKS)
    elif dice < 0.94:
        device.disk.forget_history()
    elif dice < 0.978:
        back_up_or_put_back(world, device)
    elif dice < 0.985:
        lose_somebody(world)
    else:
        remove_somebody(world)


def commit_some(world: World, device: Device, step: int) -> None:
    """A group commit of one to four transactions of one device. Some are lost in a crash."""

    def act(work: Work) -> None:
        for _ in range(world.chance.choice((1, 1, 1, 2, 4))):
            world.counts["stale"] += write_something(world.chance, work, world.tokens, step)

    crash = world.chance.random() < 0.05
    world.counts["crashes"] += crash
    device.transact(act, crash=crash)
    for name in RECORDS:
        if world.chance.random() < 0.3:
            token = look(device, name)
            if token is not None:
                world.tokens[device.number, name] = token


def meet_somebody(world: World, step: int) -> None:
    if len(world.reachable()) < 2:
        return
    one, other = world.chance.sample(world.reachable(), 2)
    if not begin_session(one, other):
        return
    for receiver, sender in ((one, other), (other, one)):
        if world.chance.random() < 0.15 and (lie := attack(world.chance, sender, receiver)):
            world.counts[f"lies: {lie}"] += 1
        deliver_some(world, sender, receiver, step)
    end_session(one, other)


def begin_session(one: Device, other: Device) -> bool:
    """Removals go before everything else, then the histories are compared. False: one of the two is removed."""
    for ours, theirs in ((one, other), (other, one), (one, other)):
        if ours.id in theirs.removed or theirs.id in ours.removed:
            return False
        ours.learn_removals(theirs.removed)
    compare_histories(one, other)
    return True


def deliver_some(world: World, sender: Device, receiver: Device, step: int) -> None:
    """Some of what the receiver lacks: cut short, doubled, shuffled, mixed with its own writes, or lost in a crash."""
    chance = world.chance
    if not includes(receiver.disk.state.clock(), sender.disk.horizon):
        return
    missing = [applied.run for applied in sender.disk.missing_for(receiver.disk.state.clock())]
    runs = missing[: chance.choice((None, None, 1, 3))]
    if chance.random() < 0.1:
        runs += chance.sample(runs, min(2, len(runs)))
    if chance.random() < 0.1:
        chance.shuffle(runs)
        world.counts["shuffled"] += 1
    announcements = [at.announcement for at in sender.disk.state.origins.values()]
    mixed = chance.random() < 0.25
    while runs:
        now, runs = runs[: (part := chance.choice((1, 4, 100)))], runs[part:]

        def act(work: Work, now: list[Any] = now) -> None:
            work.learn_origins(announcements)
            for run in now:
                verdict = work.take(run)
                world.counts[verdict.value] += 1
                if mixed and chance.random() < 0.4:
                    world.counts["stale"] += write_something(chance, work, world.tokens, step)

        crash = chance.random() < 0.03
        world.counts["crashes"] += crash
        receiver.transact(act, crash=crash)
        if crash:
            break


def deliver_all(sender: Device, receiver: Device) -> None:
    clock = receiver.disk.state.clock()
    if not includes(clock, sender.disk.horizon):
        return
    if includes(clock, sender.disk.state.clock()):
        return
    announcements = [at.announcement for at in sender.disk.state.origins.values()]
    missing = [applied.run for applied in sender.disk.missing_for(clock)]

    def act(work: Work) -> None:
        work.learn_origins(announcements)
        for run in missing:
            if work.take(run) is Verdict.REFUSED:
                break

    receiver.transact(act)


def end_session(one: Device, other: Device) -> None:
    """Each tells for which parked records of the other it holds no image."""
    for receiver, sender in ((one, other), (other, one)):
        for name, row in receiver.disk.rows.items():
            if row[3] & 1:
                lacking = receiver.lacking.setdefault(name, set())
                (lacking.discard if sender.holds_image(name) else lacking.add)(sender.id)
        receiver.restore_parked()


def change_presence(world: World) -> None:
    if world.away and world.chance.random() < 0.5:
        world.away.remove(world.chance.choice(sorted(world.away)))
    elif len(world.away) < len(world.devices) - 1:
        world.away.add(world.chance.choice(world.devices).number)
    form_opinions(world)


def back_up_or_put_back(world: World, device: Device) -> None:
    backup = world.backups.get(device.number)
    if backup is None or world.chance.random() < 0.4:
        world.backups[device.number] = device.backup()
        return
    device.put_back(backup)
    world.counts["put back"] += 1
    for name in RECORDS:  # what a caller had looked at may never have been, for this copy
        world.tokens.pop((device.number, name), None)


def lose_somebody(world: World) -> None:
    members = world.members()
    if len(members) > 2:
        world.lost.add(world.chance.choice(members).number)
        form_opinions(world)


def last_quarrel(world: World, step: int) -> None:
    """One edits what another deletes, tells a third, and is never seen again: somebody else has to restore it."""
    members = world.members()
    if len(members) < 3:
        return
    editor, witness, deleter = world.chance.sample(members, 3)
    name = world.chance.choice(RECORDS)

    def put(work: Work) -> None:
        work.write([change := whole_put(world.chance, name, step)], [meaning(change, work.applied)])

    def edit(work: Work) -> None:
        work.write(
            [change := Change(Kind.PATCH, *name, {"a": Raw(values.pack("last"))})], [meaning(change, work.applied)]
        )

    def delete(work: Work) -> None:
        work.write([change := Change(Kind.DELETE, *name)], [meaning(change, work.applied)])

    editor.transact(put)
    if begin_session(editor, deleter) and begin_session(editor, witness):
        deliver_all(editor, deleter)
        editor.transact(edit)
        deliver_all(editor, witness)
        deleter.transact(delete)
        world.lost.add(editor.number)


def remove_somebody(world: World) -> None:
    members = world.members()
    if len(members) > 2:
        remover, leaving = world.chance.sample(members, 2)
        remover.learn_removals({leaving.id: {}})
        world.gone.add(leaving.number)
        form_opinions(world)


def settle(world: World, send_snapshot: Callable[[Device, Device], None] | None = None) -> None:
    """Everybody who is still a member meets everybody else, often enough for restores to spread. Whoever is behind the
    log of somebody else gets a snapshot.
    """
    members = world.members()
    for device in members:
        device.active = {each.id for each in members}
    for _ in range(4):
        for one, other in permutations(members, 2):
            if begin_session(one, other):
                for sender, receiver in ((one, other), (other, one)):
                    if send_snapshot and not includes(receiver.disk.state.clock(), sender.disk.horizon):
                        send_snapshot(sender, receiver)
                    deliver_all(sender, receiver)
                end_session(one, other)
