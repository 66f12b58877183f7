"""One history: devices, spaces, what was acknowledged, and what may be lost."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from peerd.core.batch import Name
from peerd.core.clocks import Clock, covers, includes
from peerd.core.copy import CopyState
from peerd.engine.space import Space
from peerd.errors import PeerdError
from tests.network_simulation.device import Air, Device, Surroundings
from tests.network_simulation.disk import being_taken_in
from tests.network_simulation.network import Network
from tests.network_simulation.relay import some_relay
from tests.network_simulation.relay_contents import Watch, left_on_relays
from tests.network_simulation.spaces import Acknowledged, SimSpace

DAY_MS = 24 * 3_600_000
SNAPSHOT_S = 0.003  # about as long as one takes


class World:
    def __init__(self, seed: int, folder: Path, size: int | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.network = Network(self.chance, contextvars.copy_context())
        self.air = Air(self.network, self.chance)
        count = size or self.chance.choice((2, 2, 3, 3, 4, 5))
        around = Surroundings()
        self.ledger, self.relays, self.calendar = around.ledger, around.relays, around.calendar
        self.ledger.trimmed, self.ledger.part_came = self._look_at_trim, self._cut_a_snapshot
        self.cuts_a_snapshot = False
        self.watch, self.is_watched = Watch(), True
        self.apart = False  # no device ever hears another one: all goes through relays
        self.devices = [Device(number, folder, self.network, self.air, self.chance, around) for number in range(count)]
        self.spaces: list[SimSpace] = []
        self.acknowledged: list[Acknowledged] = []
        self.tokens: dict[tuple[int, str, str, str], str] = {}
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.step = 0
        self.wrong = ""
        self.rotten: Name | None = None  # the record that a disk has spoilt
        self.damaged_everywhere: set[str] = set()  # spaces of which somebody has said that nobody knows what was lost
        self.more: Mapping[str, float] = {}  # how much more often than usual something happens, by name
        self.bulk = 100
        self.large_bytes = 3_000
        self._backup_copies: dict[tuple[int, bytes], CopyState] = {}
        self.set_back_at_all = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- the beginning

    def with_relays(self, *, apart: bool) -> None:
        """One relay or two for all devices; `apart`: and nothing else."""
        names = ("cloud", "stick")[: self.chance.choice((1, 1, 2))]
        self.relays += [some_relay(name, self.chance, contextvars.copy_context()) for name in names]
        self.apart = apart
        self.heal()

    def heal(self) -> None:
        """Everybody hears everybody again, unless nobody ever does."""
        self.network.heal()
        if self.apart:
            self.network.part({device.id: device.number for device in self.devices})

    def knows_all(self, space: SimSpace, device: Device, devices: list[Device] | None = None) -> bool:
        """Is this device up and aware of every other one of the space?"""
        live = device.running.spaces.by_id.get(space.id) if device.now is not None else None
        return live is not None and all(live.roster.is_member(one.id) for one in devices or space.devices)

    def forget_backups(self) -> None:
        """A sponsor that goes back in time forgets whom it let in, or removed, and perhaps nobody else knew."""
        for one in self.devices:
            one.backups.kept = None

    async def guarded(self, work: Coroutine[Any, Any, object]) -> None:
        with suppress(PeerdError):
            await work

    # ---- devices

    def up(self) -> list[Device]:
        return [device for device in self.devices if device.is_up]

    def some_up(self) -> Device | None:
        up = self.up()
        return self.chance.choice(up) if up else None

    def some_writer(self) -> tuple[Device | None, str]:
        space = self.chance.choice(self.spaces)
        up = [device for device in space.devices if device.is_up and device.running.is_started]
        return (self.chance.choice(up) if up else None), space.name

    async def start(self, device: Device) -> None:
        if not device.is_up:
            await device.start()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.wrong = f"a writer came upon {problem!r}"

    async def pass_days(self, days: int) -> None:
        """Days pass at once for those that run; those that do not see it in their clocks, if these are right."""
        for device in self.up():
            running = device.running
            with suppress(asyncio.CancelledError, PeerdError):
                await device.do(partial(running.housekeeping.tidy, days * DAY_MS))
        self.calendar.skipped_ms += days * DAY_MS
        await asyncio.sleep(1)
        self.look_at_relays()

    # ---- what may be lost

    def back_up(self, device: Device) -> None:
        device.backups.take(device.state)
        for space in self.spaces:
            self._backup_copies[device.number, space.id] = device.copy_now(space.id)

    async def put_back(self, device: Device, *, whole_machine: bool = False) -> None:
        device.made_way |= being_taken_in(device.state)  # what comes back does not know of it: a person is asked
        device.backups.put_back(device.state, whole_machine=whole_machine)
        device.has_gone_back = True
        if whole_machine:
            self.set_back_at_all = True
            self.ledger.set_back.add(device.id)
            for one in self.devices:
                one.has_gone_back = True  # so may the copy of anybody, in taking in the other variant
        device.replaced.clear()
        for space in self.spaces:
            if (device.number, space.id) in self._backup_copies:
                device.last_copies[space.id] = self._backup_copies[device.number, space.id]
        for key in [key for key in self.tokens if key[0] == device.number]:
            del self.tokens[key]
        await self.note_losses()

    def was_forked(self, space: SimSpace) -> bool:
        """Was there another history, or did somebody go over in doubt? Then what it had is there under other names."""
        return self.set_back_at_all or space.id in self.ledger.in_doubt

    async def note_losses(self) -> None:
        """What no member's copy has any more, nor its head on a relay, cannot be asked for at the end."""
        for space in self.spaces:
            members = space.inside
            clocks = [device.clock_now(space.id) for device in members]
            reached = self.ledger.reach(space.id, clocks, left_on_relays(space.id, members, self.relays))
            space.losses |= {
                (one.origin, one.seq)
                for one in self.acknowledged
                if one.space == space.id and not covers(reached, (one.origin, one.seq))
            }
            self._note_lost_runs(space)

    def _note_lost_runs(self, space: SimSpace) -> None:
        """Of two histories each counts for itself; what was set aside waits to be written again, or was."""
        held: set[bytes] = set()
        for device in space.inside:
            for copy in (device.copy_now(space.id), *device.replaced.get(space.id, [])):
                held.update(self.ledger.ends(copy))
        space.lost |= self.ledger.nodes.get(space.id, {}).keys() - held

    def _cut_a_snapshot(self, space: Space) -> None:
        """If that was asked for."""
        device = next(one for one in self.devices if one.id == space.keys.device)
        if self.cuts_a_snapshot and any(link.ours == device.id for link in self.network.links):
            self.cuts_a_snapshot = False
            self.counts["snapshots cut"] += 1
            at_s = asyncio.get_running_loop().time() + self.chance.random() * SNAPSHOT_S
            self.network.call_at(at_s, partial(self.network.cut_all_of, device.id))

    def note_cut_snapshots(self, devices: Sequence[Device]) -> None:
        """Something happens to these devices: what of snapshots is on its way to them?"""
        self.counts["snapshots cut"] += sum(self.snapshots_coming(device) for device in devices)

    def snapshots_coming(self, device: Device) -> int:
        live = device.now.spaces.by_id.values() if device.now is not None else ()
        return sum(one.snapshots.coming is not None for one in live)

    def look_at_ledger(self) -> None:
        for wrong in (self.wrong, self.ledger.forked, *(relay.wrong for relay in self.relays)):
            if wrong:
                raise AssertionError(wrong)

    def look_at_relays(self) -> None:
        """No stream gives up what an active member has not acknowledged. Copies that went back and wrong clocks
        end that: then somebody had it once, or counts as gone for months.
        """
        if self.counts["put back"] or self.counts["set back"] or any(device.clock.offset_ms for device in self.devices):
            self.is_watched = False
        if self.is_watched:
            for space in self.spaces:
                for sentence in self.watch.given_up(space.id, space.inside, self.relays):
                    raise AssertionError(sentence)

    def _look_at_trim(self, live: Space, gone: Clock) -> None:
        """What goes from a log is in the copy of every member that counts, unless that went back in time."""
        active = live.presence.active()
        for space in self.spaces:
            for device in space.inside if space.id == live.id else ():
                counts = device.id in active and not device.has_gone_back and not self.was_forked(space)
                if counts and not includes(device.clock_now(space.id), gone):
                    self.wrong = f"the log of {live.name} was trimmed before {device.name} had it"

    def members(self, space: SimSpace) -> list[Device]:
        """By the roster of somebody who was not removed; without those who were let in again and never heard of it, as
        where a disk was full: they know of their removal at most, and it takes a person to invite them once more.
        """
        witness = space.inside[0]
        roster = witness.running.spaces.by_id[space.id].roster
        return [
            device
            for device in space.devices
            if roster.is_member(device.id) and (device not in space.removed or _is_inside(space, device))
        ]

    async def wait_for_tasks(self) -> None:
        """For all that was spawned."""
        while self._tasks:
            await asyncio.wait(set(self._tasks), timeout=60)

    async def stop(self) -> None:
        for device in self.devices:
            await device.stop()

    async def abandon(self) -> None:
        """Something went wrong: let go of the files, however it stands."""
        for device in self.up():
            with suppress(Exception):
                await device.running.shelf.abandon()


def _is_inside(space: SimSpace, device: Device) -> bool:
    """By its own copy, if it has one."""
    live = device.running.spaces.by_id.get(space.id)
    return live is not None and live.roster.is_member(device.id)
