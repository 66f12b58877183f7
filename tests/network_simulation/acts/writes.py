"""Writes of every kind, and people who look at records and settle conflicts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from peerd.errors import PeerdError
from peerd.protocol.control.messages import ChangeRequest, Resolution
from tests.network_simulation.device import Device
from tests.network_simulation.spaces import Acknowledged
from tests.network_simulation.world import World

KEYS = ("one", "two", "three")
FIELDS = ("a", "b", "c")


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
    world.counts["deletes"] += sum(change.kind == "delete" for change in changes)
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
