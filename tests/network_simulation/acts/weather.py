"""What the network does."""

from __future__ import annotations

from tests.network_simulation.world import World


async def cut(world: World) -> None:
    world.note_cut_snapshots(world.devices)
    world.counts["links cut"] += world.network.cut_some(world.chance.choice((0.3, 1.0)))


async def part(world: World) -> None:
    if world.apart:
        return
    world.note_cut_snapshots(world.devices)
    world.network.part({device.id: world.chance.randrange(2) for device in world.devices})
    world.counts["partitions"] += 1


async def heal(world: World) -> None:
    world.heal()
    world.air.refresh()


async def cut_a_snapshot(world: World) -> None:
    """Everybody hears everybody; the next snapshot of which something comes over a link breaks off there."""
    world.cuts_a_snapshot = True
    await heal(world)


async def change_weather(world: World) -> None:
    weather = world.network.weather
    weather.delay_s, weather.jitter_s = world.chance.choice(((0.0005, 0.0), (0.002, 0.01), (0.05, 0.2), (0.5, 0.5)))
    weather.bytes_per_s = world.chance.choice((20e6, 1e6, 20e3))
    weather.dropped_hellos = world.chance.choice((0.0, 0.0, 0.3))


async def redial(world: World) -> None:
    """Everybody sees everybody at once and dials."""
    world.air.refresh()
    for device in world.up():
        device.running.dialing.nudge_all()
