"""What befalls machines and their disks: crashes, restored copies, wrong clocks, rot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from peerd.errors import DiskFull, PeerdError
from tests.network_simulation.acts.writes import some_change, write_one
from tests.network_simulation.disk import damage
from tests.network_simulation.parts import START_MS
from tests.network_simulation.world import World

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
SET_BACK = 2  # devices in one history
MINUTE_S = 60.0


async def crash(world: World) -> None:
    device = world.some_up()
    if device is not None:
        world.note_cut_snapshots([device])
        await device.crash(power=world.chance.random() < 0.2)
        world.counts["crashes"] += 1


async def stop(world: World) -> None:
    device = world.some_up()
    if device is not None:
        await device.stop()
        world.counts["stops"] += 1


async def start(world: World) -> None:
    down = [device for device in world.devices if not device.is_up]
    if down:
        await world.start(world.chance.choice(down))


async def crash_and_start(world: World) -> None:
    device = world.some_up()
    if device is not None:
        await asyncio.sleep(world.chance.random() * 0.01)
        if device.is_up:
            world.note_cut_snapshots([device])
            await device.crash()
            world.counts["crashes"] += 1
            await world.start(device)


async def back_up(world: World) -> None:
    device = world.some_up()
    if device is not None:
        await device.stop()
        world.back_up(device)
        await world.start(device)


async def put_back(world: World) -> None:
    candidates = [device for device in world.devices if device.backups.kept is not None]
    if not candidates or world.rotten:  # nobody else may have what is to be put right
        return
    device = world.chance.choice(candidates)
    if device.is_up:
        await device.crash()
    await world.put_back(device)
    await world.start(device)
    world.counts["put back"] += 1


async def set_back(world: World) -> None:
    """A whole machine, its marks with it, so that nothing tells it. Others hear of it later, perhaps one at once."""
    candidates = [device for device in world.devices if device.backups.kept is not None]
    if not candidates or world.rotten or world.counts["set back"] >= SET_BACK:
        return
    device = world.chance.choice(candidates)
    if device.is_up:
        await device.crash()
    beside = world.chance.choice([None, None, *world.devices])
    world.network.part({one.id: int(one in (device, beside)) for one in world.devices})
    until_s = asyncio.get_running_loop().time() + MINUTE_S
    for relay in world.relays:
        relay.weather.away_until_s = max(relay.weather.away_until_s, until_s)
    await world.put_back(device, whole_machine=True)
    await world.start(device)
    world.counts["set back"] += 1
    for space in world.spaces:
        for one in space.devices:
            if one.is_up and (one is device or world.chance.random() < 0.5):
                world.step += 1
                world.spawn(write_one(world, one, space.name, [some_change(world, one, space.name, world.step)]))


async def wrong_clock(world: World) -> None:
    clock = world.chance.choice(world.devices).clock
    clock.offset_ms = world.chance.choice((0, HOUR_MS, -HOUR_MS, 50 * YEAR_MS, -50 * YEAR_MS, -START_MS, -120_001))
    clock.tq = world.chance.choice((0, 1, 2))


async def days_pass(world: World) -> None:
    """Together they may be months, in which members that are off come to count as gone."""
    for _ in range(world.chance.choice((1, 1, 3, 8))):
        await world.pass_days(world.chance.choice((1, 10)))
    world.counts["days passed"] += 1


async def forget_soon(world: World) -> None:
    """Somebody wants no history, or a little, or much."""
    world.chance.choice(world.devices).history_days = world.chance.choice((0, 0, 1, 30))


async def rot(world: World) -> None:
    """A record on the disk of a device is not what it was, or is gone, while others have the same copy."""
    space = world.chance.choice(world.spaces)
    up = [device for device in space.inside if device.is_up and device.running.is_started]
    clocks = [device.clock_now(space.id) for device in up]
    if world.apart or world.rotten or len(up) < 2 or any(clock != clocks[0] for clock in clocks):
        return
    device = world.chance.choice(up)
    world.rotten = damage(device, space.id, world.chance)
    if world.rotten is not None:
        world.counts["records rotten"] += 1
        live = device.running.spaces.by_id[space.id]
        if world.chance.random() < 0.5:
            world.spawn(quietly(partial(device.do, live.scrub.round)))


async def quietly(work: Callable[[], Awaitable[object]]) -> None:
    with suppress(PeerdError, asyncio.CancelledError):
        await work()


async def full_disk(world: World) -> None:
    device = world.some_up()
    if device is None:
        return
    left = [world.chance.choice((1, 1, 3))]

    def fault() -> Exception | None:
        left[0] -= 1
        if left[0] < 0:
            device.fault_now = lambda: None
            return None
        world.counts["full disks"] += 1
        return DiskFull("no space left")

    device.fault_now = fault


async def pause(world: World) -> None:
    device = world.some_up()
    if device is not None:
        running = device.running
        await device.do(running.service.pause)
        await asyncio.sleep(world.chance.random() * 5)
        if device.now is running:
            await device.do(running.service.resume)


async def tidy(world: World) -> None:
    device = world.some_up()
    if device is not None:
        running = device.running
        await device.do(lambda: running.housekeeping.tidy(1000))
