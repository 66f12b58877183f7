"""One history: devices, spaces, what was acknowledged, and how it must end."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peerd.core.clocks import Clock, covers, includes
from peerd.core.copy import CopyState
from peerd.core.device_id import format_device_id
from peerd.engine.recopying import recopy_from
from peerd.engine.relay_status import RELAYED
from peerd.engine.space import Space
from peerd.errors import PeerdError
from peerd.protocol.control_messages import (
    ChangeRequest,
)
from peerd.protocol.control_reports import NewJoin, PeerStatus
from peerd.protocol.courier_settings import DAY_S
from tests.network_simulation.device import Air, Device, Surroundings
from tests.network_simulation.network import Network
from tests.network_simulation.relay import some_relay
from tests.network_simulation.relay_contents import Watch, left_on_relays

DAY_MS = 24 * 3_600_000
SETTLE_S = 3_000.0
PATIENCE_S = 60.0
RELAYED_SETTLE_S = 12 * DAY_S  # a relay that was set back is filled anew at most now and then


@dataclass(frozen=True)
class Acknowledged:
    space: bytes
    origin: bytes
    seq: int
    changes: tuple[ChangeRequest, ...]
    end: bytes  # the hash at the end of the run that it is in


@dataclass
class SimSpace:
    """A space and the devices that were let in. `losses`: acknowledged writes that no surviving copy had when copies
    were put back or devices removed; `lost`: likewise, all runs, by the hash at their end. `removed`: who was removed,
    and not let in again since.
    """

    id: bytes
    name: str
    devices: list[Device]
    losses: set[tuple[bytes, int]] = field(default_factory=set)
    removed: list[Device] = field(default_factory=list)
    lost: set[bytes] = field(default_factory=set)

    @property
    def inside(self) -> list[Device]:
        return [device for device in self.devices if device not in self.removed]


class World:
    def __init__(self, seed: int, folder: Path, size: int | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.network = Network(self.chance, contextvars.copy_context())
        self.air = Air(self.network, self.chance)
        count = size or self.chance.choice((2, 2, 3, 3, 4, 5))
        around = Surroundings()
        self.ledger, self.relays, self.calendar = around.ledger, around.relays, around.calendar
        self.ledger.trimmed = self._look_at_trim
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
        self.rotten = False
        self._settling_ms: dict[int, int] = {}  # when all was put right, by the clocks of the devices
        self.more: Mapping[str, float] = {}  # how much more often than usual something happens, by name
        self.bulk = 100
        self.large_bytes = 3_000
        self._backup_copies: dict[tuple[int, bytes], CopyState] = {}
        self.set_back_at_all = False
        self._stuck_s: dict[tuple[bytes, int, str], float] = {}
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

    async def found(self) -> None:
        """One space of nearly all devices, and perhaps one more of two of them."""
        for device in self.devices:
            await self.start(device)
        inside = len(self.devices) - (len(self.devices) > 2 and self.chance.random() < 0.3)
        await self._found("home", self.devices[:inside])
        if len(self.devices) > 2 and self.chance.random() < 0.4:
            await self._found("work", self.chance.sample(self.devices, 2))
        # Who has not heard of the others cannot hear from them either; that everybody has is where a history begins.
        while not all(self.knows_all(space, device) for space in self.spaces for device in space.devices):
            self.air.refresh()
            await asyncio.sleep(1)

    def knows_all(self, space: SimSpace, device: Device, devices: list[Device] | None = None) -> bool:
        """Is this device up and aware of every other one of the space?"""
        live = device.running.spaces.by_id.get(space.id) if device.now is not None else None
        return live is not None and all(live.roster.is_member(one.id) for one in devices or space.devices)

    async def _found(self, name: str, devices: list[Device]) -> SimSpace:
        founder = devices[0]
        running = founder.running
        live = await founder.do(lambda: running.spaces.found(name))
        space = SimSpace(live.id, name, [founder])
        self.spaces.append(space)
        for device in devices[1:]:
            sponsor = self.chance.choice(space.devices)
            await self.let_in(space, sponsor, device)
        return space

    async def let_in(self, space: SimSpace, sponsor: Device, device: Device) -> None:
        """What pairing comes to, without it."""
        inviter, joiner = sponsor.running, device.running
        live = inviter.spaces.by_id[space.id]
        await sponsor.do(lambda: inviter.spaces.admit(live, joiner.spaces.card()))
        await device.do(lambda: joiner.spaces.adopt(space.id, space.name, live.roster.statements))
        space.devices.append(device)

    async def pair(self, space: SimSpace, inviter: Device, joiner: Device) -> bool:
        """By code, over the network."""
        inviting, joining = inviter.running, joiner.running
        before = {
            member.admission
            for one in self.up()
            if (live := one.running.spaces.by_id.get(space.id)) is not None
            and (member := live.roster.members.get(joiner.id)) is not None
        }
        joining.service.hosts = self._hosts
        if inviting.inviting.open is not None:
            return False

        async def invite() -> None:
            events = await inviting.service.invite(space.name, assume_yes=True)
            async for event in events:
                if event.code is not None:
                    code.set_result(event.code)

        code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        invitation = asyncio.create_task(self._guarded(inviter.do(invite)))
        try:
            async with asyncio.timeout(5):
                drawn = await code
            request = NewJoin(code=drawn, host=f"{inviter.name}:7337", name=space.name)
            await joiner.do(lambda: joining.service.join(request))
        except (PeerdError, TimeoutError) as problem:
            self.counts[f"join failed: {getattr(problem, 'code', 'timeout')}"] += 1
            return self._has_joined(space, joiner, before)
        else:
            return self._has_joined(space, joiner, before)
        finally:
            invitation.cancel()
            await asyncio.wait([invitation])

    def _has_joined(self, space: SimSpace, device: Device, before: set[bytes]) -> bool:
        if not device.is_up or space.id not in device.running.spaces.by_id:
            return False
        member = device.running.spaces.by_id[space.id].roster.members.get(device.id)
        if member is None or member.admission in before:  # who was removed may not have heard of it
            return False
        if device in space.removed:
            space.removed.remove(device)
        if device not in space.devices:
            space.devices.append(device)
        self.forget_backups()
        return True

    def forget_backups(self) -> None:
        """A sponsor that goes back in time forgets whom it let in, or removed, and perhaps nobody else knew."""
        for one in self.devices:
            one.backups.kept = None

    async def _hosts(self, text: str) -> tuple[tuple[str, int], ...]:
        host, port = text.split(":")
        return ((host, int(port)),)

    async def _guarded(self, work: Coroutine[Any, Any, object]) -> None:
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

    # ---- what may be lost

    def back_up(self, device: Device) -> None:
        device.backups.take(device.state)
        for space in self.spaces:
            self._backup_copies[device.number, space.id] = device.copy_now(space.id)

    async def put_back(self, device: Device, *, whole_machine: bool = False) -> None:
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

    def look_at_ledger(self) -> None:
        if self.wrong or self.ledger.forked:
            raise AssertionError(self.wrong or self.ledger.forked)

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
        active = live.active()
        for space in self.spaces:
            for device in space.inside if space.id == live.id else ():
                counts = device.id in active and not device.has_gone_back
                if counts and not includes(device.clock_now(space.id), gone):
                    self.wrong = f"the log of {live.name} was trimmed before {device.name} had it"

    # ---- the end

    async def settle(self) -> None:
        """Everything is put right; then it must come to rest by itself."""
        while self._tasks:
            await asyncio.wait(set(self._tasks), timeout=60)
        self.heal()
        for relay in self.relays:
            relay.calm()
        weather = self.network.weather
        weather.delay_s, weather.jitter_s, weather.bytes_per_s, weather.dropped_hellos = 0.001, 0.001, 20e6, 0.0
        for device in self.devices:
            device.fault_now = lambda: None
            await self.start(device)
        if self.rotten:
            await self.scrub()
        until_s = asyncio.get_running_loop().time() + (RELAYED_SETTLE_S if self.relays else SETTLE_S)
        pause_s = 5.0
        self._settling_ms = {device.number: device.running.times.wall_ms() for device in self.devices}
        while (waiting := self.unsettled()) and asyncio.get_running_loop().time() < until_s:
            self.air.refresh()
            await self._do_as_told()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 600.0) if self.relays else pause_s
        self.look_at_ledger()
        if waiting:
            raise AssertionError(f"never at rest: {waiting}")
        await asyncio.sleep(1)

    async def _do_as_told(self) -> None:
        """Where the log of a parting is gone, devices ask a person whose copy shall go on: always that of the first."""
        now_s = asyncio.get_running_loop().time()
        for space in self.spaces:
            for device in self.members(space):
                live = device.running.spaces.by_id[space.id]
                for peer in device.running.statuses.peers_of(live):
                    place = space.id, device.number, peer.device
                    is_asked = peer.next_step.startswith("`peerctl recopy")
                    if not is_asked or peer.device != format_device_id(self.members(space)[0].id):
                        self._stuck_s.pop(place, None)
                    elif now_s - self._stuck_s.setdefault(place, now_s) >= PATIENCE_S:
                        self._stuck_s.clear()
                        self.counts["people asked"] += 1
                        theirs = next(one.id for one in space.devices if format_device_id(one.id) == peer.device)
                        await self._guarded(device.do(partial(recopy_from, live, theirs, device.running.switchboard)))
                        return

    async def scrub(self) -> None:
        """Everybody reads its copies again."""
        for device in self.devices:
            for live in device.running.spaces.by_id.values():
                await device.do(live.scrub.round)

    def unsettled(self) -> str:
        for space in self.spaces:
            for device in self.members(space):
                live = device.running.spaces.by_id[space.id]
                if live.recopying.pending is not None:
                    return f"{space.name} on {device.name}: a recopy is pending"
                if live.scrub.is_damaged:
                    return f"{space.name} on {device.name}: {live.scrub.open_findings}"
                ids = {format_device_id(one.id) for one in space.devices}
                peers = [peer for peer in device.running.statuses.peers_of(live) if peer.device in ids]
                if not all(_is_at_rest(peer, by_relay=self.apart) for peer in peers):
                    said = [(peer.name, peer.state, peer.reason, peer.behind, peer.ahead) for peer in peers]
                    return f"{space.name} on {device.name}: {said}"
                if busy := self._busy_relays(device, space):
                    return f"{space.name} on {device.name}: {busy}"
        return ""

    def _busy_relays(self, device: Device, space: SimSpace) -> list[object]:
        """Those that were not read since all was put right, since they may hold the only copy of something; and, where
        there is nothing else, those to which something is yet to be left.
        """
        since_ms = self._settling_ms[device.number]
        return [
            view
            for view in device.running.relays.views().relays
            if view.space == space.name
            and (
                view.to_fetch
                or (view.last_success_ms or 0) <= since_ms
                or (self.apart and (view.state == "trouble" or view.to_send))
            )
        ]

    def members(self, space: SimSpace) -> list[Device]:
        """By the roster of somebody who was not removed."""
        witness = space.inside[0]
        roster = witness.running.spaces.by_id[space.id].roster
        return [device for device in space.devices if roster.is_member(device.id)]

    async def stop(self) -> None:
        for device in self.devices:
            await device.stop()


def _is_at_rest(peer: PeerStatus, *, by_relay: bool) -> bool:
    if by_relay and peer.state == RELAYED:
        return not peer.behind and not peer.ahead
    return peer.state == "in sync"
