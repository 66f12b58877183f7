"""The end of a history: everything is put right, and then it must come to rest by itself."""

from __future__ import annotations

import asyncio
from functools import partial

from peerd.core.device_id import format_device_id
from peerd.engine.forks.recopying import recopy_from
from peerd.engine.relay.status import RELAYED
from peerd.engine.upkeep.reopening import Reopening
from peerd.protocol.control.reports import PeerStatus
from peerd.protocol.relay.courier_settings import DAY_S
from tests.network_simulation.device import Device
from tests.network_simulation.joining import has_joined
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World

SETTLE_S = 3_000.0
PATIENCE_S = 60.0
RELAYED_SETTLE_S = 12 * DAY_S  # a relay that was set back is filled anew at most now and then


async def settle(world: World) -> None:
    """Until nothing is left to be done; fails if that never comes."""
    await _Settling(world).settle()


class _Settling:
    def __init__(self, world: World) -> None:
        self._world = world
        self._settling_ms: dict[int, int] = {}  # when all was put right, by the clocks of the devices
        self._stuck_s: dict[tuple[bytes, int, str], float] = {}

    async def settle(self) -> None:
        world = self._world
        await world.wait_for_tasks()
        world.cuts_a_snapshot = False
        world.heal()
        for relay in world.relays:
            relay.calm()
        weather = world.network.weather
        weather.delay_s, weather.jitter_s, weather.bytes_per_s, weather.dropped_hellos = 0.001, 0.001, 20e6, 0.0
        for device in world.devices:
            device.fault_now = lambda: None
            await world.start(device)
            running = device.running
            await device.do(Reopening(running.spaces, running.times).look)  # what a full disk had stopped
        for space in world.spaces:
            for device in world.devices:
                if device not in space.inside:
                    has_joined(world, space, device)
        await asyncio.sleep(1)  # what broke in the last moment is noticed
        if world.rotten:
            await self._scrub()
        until_s = asyncio.get_running_loop().time() + (RELAYED_SETTLE_S if world.relays else SETTLE_S)
        pause_s = 5.0
        self._settling_ms = {device.number: device.running.times.wall_ms() for device in world.devices}
        while (waiting := self.waits_for()) and asyncio.get_running_loop().time() < until_s:
            world.air.refresh()
            await self._do_as_told()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 600.0) if world.relays else pause_s
        world.look_at_ledger()
        if waiting:
            raise AssertionError(f"never at rest: {waiting}")
        await asyncio.sleep(1)

    async def _do_as_told(self) -> None:
        """Where the log of a parting is gone, devices ask a person whose copy shall go on: always that of the first."""
        now_s = asyncio.get_running_loop().time()
        world = self._world
        for space in world.spaces:
            for device in world.members(space):
                live = device.running.spaces.by_id[space.id]
                for peer in device.running.statuses.peers.of(live):
                    place = space.id, device.number, peer.device
                    is_asked = peer.next_step.startswith("`peerctl recopy")
                    if not is_asked or peer.device != format_device_id(world.members(space)[0].id):
                        self._stuck_s.pop(place, None)
                    elif now_s - self._stuck_s.setdefault(place, now_s) >= PATIENCE_S:
                        self._stuck_s.clear()
                        world.counts["people asked"] += 1
                        theirs = next(one.id for one in space.devices if format_device_id(one.id) == peer.device)
                        await world.guarded(device.do(partial(recopy_from, live, theirs, device.running.switchboard)))
                        return

    async def _scrub(self) -> None:
        """Everybody reads its copies again."""
        for device in self._world.devices:
            for live in device.running.spaces.by_id.values():
                await device.do(live.scrub.round)

    def waits_for(self) -> str:
        """What is not at rest yet, in words; empty if all is."""
        for space in self._world.spaces:
            for device in space.inside:  # of two that removed each other the wrong one may have been heard first
                if not self._world.knows_all(space, device, space.inside):
                    return f"{space.name} on {device.name}: it does not know all members"
            members = self._world.members(space)
            rosters = {device.running.spaces.by_id[space.id].roster.digest() for device in members}
            if self._world.apart and len(rosters) > 1:  # no link has told them; somebody has yet to look
                return f"{space.name}: rosters differ"
            for device in members:
                live = device.running.spaces.by_id[space.id]
                if live.recopying.pending is not None:
                    return f"{space.name} on {device.name}: a recopy is pending"
                if live.damage.is_known:
                    return f"{space.name} on {device.name}: {live.damage.findings.open}"
                ids = {format_device_id(one.id) for one in members}
                peers = [peer for peer in device.running.statuses.peers.of(live) if peer.device in ids]
                if not all(_is_at_rest(peer, by_relay=self._world.apart) for peer in peers):
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
                or (self._world.apart and (view.state == "trouble" or view.to_send))
            )
        ]


def _is_at_rest(peer: PeerStatus, *, by_relay: bool) -> bool:
    if by_relay and peer.state == RELAYED:
        return not peer.behind and not peer.ahead
    return peer.state == "in sync"
