"""Members that come and go."""

from __future__ import annotations

import asyncio

from peerd.errors import PeerdError
from tests.network_simulation.device import Device
from tests.network_simulation.joining import pair
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World

REMOVED = 2  # devices of one space, at once


def _removable(world: World) -> tuple[SimSpace, list[Device]] | None:
    """Members that are up, of a space in which all have the same roster: whoever was let in at the last moment goes
    with the one that is removed, and of three that remove each other others stay; these are stories of their own.
    """
    space = world.chance.choice(world.spaces)
    up = [device for device in space.inside if device.is_up and device.running.is_started]
    if world.rotten or len(space.inside) < 3 or len(space.removed) >= REMOVED or len(up) < 2:
        return None
    if not all(world.knows_all(space, device, space.inside) for device in space.inside):
        return None
    if len({device.running.spaces.by_id[space.id].roster.digest() for device in space.inside}) > 1:
        return None
    return space, up


async def remove(world: World) -> None:
    """A device, by another one."""
    if (found := _removable(world)) is None:
        return
    space, up = found
    remover, target = world.chance.sample(up, 2)
    space.removed.append(target)
    world.forget_backups()
    await _do_remove(world, space, remover, target)
    await world.note_losses()


async def remove_each_other(world: World) -> None:
    """Two devices that do not hear each other; in the end one of them is still there."""
    if (found := _removable(world)) is None:
        return
    space, up = found
    one, other = world.chance.sample(up, 2)
    one.fault_now = other.fault_now = lambda: None
    world.forget_backups()
    world.network.part({device.id: device.number for device in world.devices})
    await _do_remove(world, space, one, other)
    await _do_remove(world, space, other, one)
    rosters = [device.running.spaces.by_id[space.id].roster for device in (one, other)]
    joined, _ = rosters[0].with_statements(rosters[1].statements)
    space.removed += [device for device in (one, other) if not joined.is_member(device.id)]
    world.counts["mutual removals"] += 1
    await world.note_losses()


async def _do_remove(world: World, space: SimSpace, remover: Device, target: Device) -> None:
    running = remover.running
    live = running.spaces.by_id[space.id]
    space.ended.add(live.roster.members[target.id].admission)
    try:
        await remover.do(lambda: running.spaces.remove(live, target.id))
    except (PeerdError, asyncio.CancelledError) as problem:
        if isinstance(problem, asyncio.CancelledError) and remover.now is running:
            raise
        world.counts["removals refused"] += 1
    world.counts["removals"] += 1


async def join(world: World) -> None:
    """A device that is in no space yet, or was removed, joins by code."""
    home = world.spaces[0]
    outside = [device for device in world.up() if device not in home.inside]
    inside = [device for device in home.inside if device.is_up]
    if not outside or not inside:
        return
    joiner, inviter = world.chance.choice(outside), world.chance.choice(inside)
    if world.network.is_parted(joiner.id, inviter.id):
        return
    was_removed = joiner in home.removed
    if await pair(world, home, inviter, joiner):
        world.counts["joins again" if was_removed else "joins"] += 1
