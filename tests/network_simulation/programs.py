"""What may happen in a history, and how often: writes of every kind, weather, crashes, restored copies, wrong clocks,
members that come and go. All chance comes from the seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.network_simulation.acts import machines, members, relays, weather, writes
from tests.network_simulation.world import World

PAUSES_S = (0.0, 0.0, 0.001, 0.004, 0.02, 0.05, 0.3, 2.0, 20.0)

Action = Callable[[World], Awaitable[None]]

ACTIONS: Sequence[tuple[float, Action]] = (
    (30, writes.write),
    (6, writes.write_many),
    (1.5, writes.write_large),
    (2, writes.write_wide),
    (6, writes.quarrel),
    (6, writes.look),
    (3, writes.settle_a_conflict),
    (5, weather.cut),
    (3, weather.part),
    (4, weather.heal),
    (2, weather.cut_a_snapshot),
    (2, weather.change_weather),
    (2, weather.redial),
    (3, machines.crash),
    (3, machines.crash_and_start),
    (2, machines.stop),
    (7, machines.start),
    (2, machines.back_up),
    (2, machines.put_back),
    (0, machines.set_back),  # by `more` only
    (3, machines.wrong_clock),
    (6, machines.days_pass),
    (4, machines.forget_soon),
    (1, machines.full_disk),
    (1, machines.rot),
    (1, machines.pause),
    (1, machines.tidy),
    (1.5, members.remove),
    (0.7, members.remove_each_other),
    (4, members.join),
    (2, relays.change_relay_weather),
    (1, relays.throttle),
    (2, relays.harm_a_relay),
    (2, relays.sync_relays),
    (4, relays.wait_long),
)


async def act(world: World) -> None:
    more = world.more
    weights = [
        (weight or 1) * more[action.__name__] if action.__name__ in more else weight for weight, action in ACTIONS
    ]
    (chosen,) = world.chance.choices([action for _, action in ACTIONS], weights)
    world.trace.append(f"{asyncio.get_running_loop().time():.4f} {chosen.__name__}")
    await chosen(world)
    await asyncio.sleep(world.chance.choice(PAUSES_S) * world.chance.random())
