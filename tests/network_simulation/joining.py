"""How spaces begin, and how devices come into them."""

from __future__ import annotations

import asyncio

from peerd.errors import PeerdError
from peerd.protocol.control.reports import NewJoin
from tests.network_simulation.device import Device
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World


async def found(world: World) -> None:
    """One space of nearly all devices, and perhaps one more of two of them."""
    for device in world.devices:
        await world.start(device)
    inside = len(world.devices) - (len(world.devices) > 2 and world.chance.random() < 0.3)
    await found_space(world, "home", world.devices[:inside])
    if len(world.devices) > 2 and world.chance.random() < 0.4:
        await found_space(world, "work", world.chance.sample(world.devices, 2))
    # Who has not heard of the others cannot hear from them either; that everybody has is where a history begins.
    while not all(world.knows_all(space, device) for space in world.spaces for device in space.devices):
        world.air.refresh()
        await asyncio.sleep(1)


async def found_space(world: World, name: str, devices: list[Device]) -> SimSpace:
    founder = devices[0]
    running = founder.running
    live = await founder.do(lambda: running.spaces.found(name))
    space = SimSpace(live.id, name, [founder])
    world.spaces.append(space)
    for device in devices[1:]:
        sponsor = world.chance.choice(space.devices)
        await let_in(space, sponsor, device)
    return space


async def let_in(space: SimSpace, sponsor: Device, device: Device) -> None:
    """What pairing comes to, without it."""
    inviter, joiner = sponsor.running, device.running
    live = inviter.spaces.by_id[space.id]
    await sponsor.do(lambda: inviter.spaces.admit(live, joiner.spaces.card()))
    await device.do(lambda: joiner.spaces.adopt(space.id, space.name, live.roster.statements))
    space.devices.append(device)


async def pair(world: World, space: SimSpace, inviter: Device, joiner: Device) -> bool:
    """By code, over the network."""
    inviting, joining = inviter.running, joiner.running
    joining.service.hosts = _hosts
    if inviting.inviting.open is not None:
        return False

    async def invite() -> None:
        events = await inviting.service.invite(space.name, assume_yes=True)
        async for event in events:
            if event.code is not None:
                code.set_result(event.code)

    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    invitation = asyncio.create_task(world.guarded(inviter.do(invite)))
    try:
        async with asyncio.timeout(5):
            drawn = await code
        request = NewJoin(code=drawn, host=f"{inviter.name}:7337", name=space.name)
        await joiner.do(lambda: joining.service.join(request))
    except (PeerdError, TimeoutError) as problem:
        world.counts[f"join failed: {getattr(problem, 'code', 'timeout')}"] += 1
        return has_joined(world, space, joiner)
    else:
        return has_joined(world, space, joiner)
    finally:
        invitation.cancel()
        await asyncio.wait([invitation])


def has_joined(world: World, space: SimSpace, device: Device) -> bool:
    """Is it a member again, or for the first time? Whatever it was told: the answer to a join may be lost."""
    if not device.is_up or space.id not in device.running.spaces.by_id:
        return False
    member = device.running.spaces.by_id[space.id].roster.members.get(device.id)
    if member is None or member.admission in space.ended:  # who was removed may not have heard of it
        return False
    if device in space.removed:
        space.removed.remove(device)
    if device not in space.devices:
        space.devices.append(device)
    world.forget_backups()
    return True


async def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    host, port = text.split(":")
    return ((host, int(port)),)
