"""What befalls relays, and who asks for them."""

from __future__ import annotations

import asyncio
from functools import partial

from peerd.protocol.control.relays import RelaySync
from tests.network_simulation.acts.machines import quietly
from tests.network_simulation.world import World

HOUR_S = 3_600.0


async def change_relay_weather(world: World) -> None:
    if world.relays:
        weather, chance = world.chance.choice(world.relays).weather, world.chance
        weather.delay_s = chance.choice((0.0, 0.05, 2.0))
        weather.lost_before = chance.choice((0.0, 0.0, 0.2, 0.6))
        weather.lost_after = chance.choice((0.0, 0.0, 0.2, 0.6))
        weather.late = chance.choice((0.0, 0.5))
        weather.lag_s = chance.choice((0.0, 0.0, 10.0, 300.0))
        weather.full = chance.random() < 0.05
        world.counts["relay weather"] += 1


async def throttle(world: World) -> None:
    if world.relays:
        until_s = asyncio.get_running_loop().time() + world.chance.choice((30.0, HOUR_S, 5 * HOUR_S))
        world.chance.choice(world.relays).weather.away_until_s = until_s
        world.counts["throttled"] += 1


async def harm_a_relay(world: World) -> None:
    """Rarely enough that what follows is seen."""
    if not world.relays:
        return
    relay = world.chance.choice(world.relays)
    dice = world.chance.random()
    if dice < 0.4:
        relay.save()
    elif dice < 0.6:
        relay.roll_back(world.chance.choice((0.2, 1.0, 1.0)))
        world.counts["relays set back"] += 1
    elif dice < 0.8:
        relay.lose(world.chance.choice((0.05, 0.5, 1.0)))
        world.counts["relays lost"] += 1
    else:
        relay.spoil()
        world.counts["objects spoilt"] += 1
    await world.note_losses()


async def sync_relays(world: World) -> None:
    """Somebody asks for it, and does not wait for the answer."""
    device = world.some_up()
    if device is None or not world.relays:
        return
    running = device.running

    async def ask() -> None:
        await running.relays.sync(RelaySync())

    world.spawn(quietly(partial(device.do, ask)))


async def wait_long(world: World) -> None:
    """Long enough for couriers that take their time."""
    if world.relays:
        await asyncio.sleep(world.chance.choice((60.0, 600.0, 3 * HOUR_S)) * world.chance.random())
