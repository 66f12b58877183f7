"""What may happen in a history: writes of every kind, weather, crashes, restored copies, wrong clocks, members that
come and go. All chance comes from the seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from peerd.errors import DiskFull, PeerdError
from peerd.protocol.control_messages import (
    ChangeRequest,
    Resolution,
)
from peerd.protocol.control_relays import RelaySync
from tests.network_simulation.device import Device
from tests.network_simulation.disk import damage
from tests.network_simulation.parts import START_MS
from tests.network_simulation.world import Acknowledged, SimSpace, World

KEYS = ("one", "two", "three")
FIELDS = ("a", "b", "c")
PAUSES_S = (0.0, 0.0, 0.001, 0.004, 0.02, 0.05, 0.3, 2.0, 20.0)
HOUR_S = 3_600.0
HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS

Action = Callable[[World], Awaitable[None]]


def some_value(chance: random.Random, step: int) -> Any:
    return chance.choice((step, f"value {step}", 0, "same", None, [step, {"deep": True}], step / 7))


def some_change(world: World, device: Device, space: str, step: int) -> ChangeRequest:
    chance = world.chance
    collection, key = chance.choice(("notes", "notes", "tags")), chance.choice(KEYS)
    token = world.tokens.get((device.number, space, collection, key))
    seen = token if chance.random() < 0.4 else None
    dice = chance.random()
    if dice < 0.15:
        return ChangeRequest(kind="delete", collection=collection, key=key, seen=seen)
    fields = chance.sample(FIELDS, chance.choice((1, 2, 3)))
    values = {field: some_value(chance, step) for field in fields}
    if dice < 0.5:
        return ChangeRequest(kind="put", collection=collection, key=key, value=values, seen=seen)
    drop = [field for field in FIELDS if field not in values][:1] if chance.random() < 0.2 else []
    return ChangeRequest(kind="patch", collection=collection, key=key, set=values, drop=drop, seen=seen)


async def write_one(world: World, device: Device, space: str, changes: Sequence[ChangeRequest]) -> None:
    """A writer: what is acknowledged is remembered, whatever happens to the writer otherwise."""
    running = device.now
    if running is None or all(one.name != space for one in running.spaces.by_id.values()):
        return
    space_id = running.spaces.named(space).id
    try:
        written = await device.do(lambda: running.service.write(space, changes))
    except PeerdError as problem:
        world.counts[f"refused: {problem.code}"] += 1
        return
    except asyncio.CancelledError:
        if device.now is running:
            raise
        world.counts["writers of a crashed device"] += 1
        return
    world.counts["writes"] += 1
    if written.dot is not None:
        origin, seq = written.dot.split(":")
        end = running.device.ledger.newest[space_id, bytes.fromhex(origin), int(seq)]
        world.acknowledged.append(Acknowledged(space_id, bytes.fromhex(origin), int(seq), tuple(changes), end))
        if any(device in one.removed for one in world.spaces if one.id == space_id):
            await world.note_losses()  # only what somebody else has by the time of the removal is sure to stay


async def write(world: World) -> None:
    device, space = world.some_writer()
    if device is None:
        return
    world.step += 1
    count = world.chance.choice((1, 1, 1, 1, 2, 3))
    changes = {}
    for _ in range(count):
        change = some_change(world, device, space, world.step)
        changes[change.collection, change.key] = change
    writer = world.spawn(write_one(world, device, space, list(changes.values())))
    if world.chance.random() < 0.05:
        await asyncio.sleep(world.chance.random() * 0.003)
        writer.cancel()
        world.counts["cancelled writers"] += 1


async def write_many(world: World) -> None:
    """Writers at once, which share commits; each with a record of its own."""
    device, space = world.some_writer()
    if device is None:
        return
    count = world.chance.choice((5, 20, 60, world.bulk))
    for _ in range(count):
        world.step += 1
        change = ChangeRequest(kind="put", collection="bulk", key=f"{world.step}", value={"n": world.step})
        world.spawn(write_one(world, device, space, [change]))
    world.counts["bulks"] += 1


async def write_large(world: World) -> None:
    device, space = world.some_writer()
    if device is None:
        return
    world.step += 1
    text = f"{world.step}" * world.large_bytes
    change = ChangeRequest(kind="put", collection="large", key=world.chance.choice(KEYS), value={"text": text})
    world.spawn(write_one(world, device, space, [change]))
    world.counts["large"] += 1


async def write_wide(world: World) -> None:
    """One transaction of many records."""
    device, space = world.some_writer()
    if device is None:
        return
    world.step += 1
    changes = [
        ChangeRequest(kind="put", collection="wide", key=f"{number}", value={"step": world.step})
        for number in range(world.chance.choice((10, 40)))
    ]
    world.spawn(write_one(world, device, space, changes))


async def quarrel(world: World) -> None:
    """Several devices say different things about one record at once; one of them may delete it."""
    space = world.chance.choice(world.spaces)
    up = [device for device in space.devices if device.is_up and device.running.is_started]
    if len(up) < 2:
        return
    collection, key = world.chance.choice(("notes", "tags")), world.chance.choice(KEYS)
    fields = world.chance.sample(FIELDS, 2)
    with_delete = world.chance.random() < 0.3
    for number, device in enumerate(world.chance.sample(up, world.chance.randint(2, len(up)))):
        world.step += 1
        change = ChangeRequest(kind="delete", collection=collection, key=key)
        if number or not with_delete:
            change = ChangeRequest(kind="put", collection=collection, key=key, value=dict.fromkeys(fields, world.step))
        world.spawn(write_one(world, device, space.name, [change]))
    world.counts["quarrels"] += 1


async def look(world: World) -> None:
    """Somebody reads a record and keeps its token."""
    device, space = world.some_writer()
    if device is None:
        return
    collection, key = world.chance.choice(("notes", "tags")), world.chance.choice(KEYS)
    running = device.running
    try:
        view = await device.do(lambda: running.service.read_record(space, collection, key))
    except PeerdError:
        world.tokens[device.number, space, collection, key] = ""
    else:
        world.tokens[device.number, space, collection, key] = view.etag


async def settle_a_conflict(world: World) -> None:
    device, space = world.some_writer()
    if device is None:
        return
    running = device.running
    try:
        found = await device.do(
            lambda: running.service.conflicts(space, collection=None, key=None, limit=10, cursor=None)
        )
        for conflict in found.conflicts[:1]:
            await device.do(partial(running.service.resolve, space, conflict.id, Resolution(choose=0)))
            world.counts["conflicts settled"] += 1
    except PeerdError as problem:
        world.counts[f"refused: {problem.code}"] += 1


# ---- weather


async def cut(world: World) -> None:
    world.counts["links cut"] += world.network.cut_some(world.chance.choice((0.3, 1.0)))


async def part(world: World) -> None:
    if world.apart:
        return
    world.network.part({device.id: world.chance.randrange(2) for device in world.devices})
    world.counts["partitions"] += 1


async def heal(world: World) -> None:
    world.heal()
    world.air.refresh()


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


# ---- devices


async def crash(world: World) -> None:
    device = world.some_up()
    if device is not None:
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


SET_BACK = 2  # devices in one history
MINUTE_S = 60.0


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
    if damage(device, space.id, world.chance):
        world.rotten = True
        world.counts["records rotten"] += 1
        live = device.running.spaces.by_id[space.id]
        if world.chance.random() < 0.5:
            world.spawn(_quietly(partial(device.do, live.scrub.round)))


async def _quietly(work: Callable[[], Awaitable[object]]) -> None:
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


# ---- relays


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

    world.spawn(_quietly(partial(device.do, ask)))


async def wait_long(world: World) -> None:
    """Long enough for couriers that take their time."""
    if world.relays:
        await asyncio.sleep(world.chance.choice((60.0, 600.0, 3 * HOUR_S)) * world.chance.random())


# ---- members


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
    if await world.pair(home, inviter, joiner):
        world.counts["joins again" if was_removed else "joins"] += 1


ACTIONS: Sequence[tuple[float, Action]] = (
    (30, write),
    (6, write_many),
    (1.5, write_large),
    (2, write_wide),
    (6, quarrel),
    (6, look),
    (3, settle_a_conflict),
    (5, cut),
    (3, part),
    (4, heal),
    (2, change_weather),
    (2, redial),
    (3, crash),
    (3, crash_and_start),
    (2, stop),
    (7, start),
    (2, back_up),
    (2, put_back),
    (0, set_back),  # by `more` only
    (3, wrong_clock),
    (6, days_pass),
    (4, forget_soon),
    (1, full_disk),
    (0, rot),  # by `more` only
    (1, pause),
    (1, tidy),
    (1.5, remove),
    (0.7, remove_each_other),
    (4, join),
    (2, change_relay_weather),
    (1, throttle),
    (2, harm_a_relay),
    (2, sync_relays),
    (4, wait_long),
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
