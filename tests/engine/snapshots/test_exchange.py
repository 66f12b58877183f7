"""Asking for a snapshot over a link, and what ends that. The whole conversation: test_snapshots.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from peerd.engine.snapshots.exchange import SnapshotExchange
from peerd.errors import DiskFull
from peerd.protocol.messages import SnapshotChunk, SnapshotRefuse, SnapshotWant
from peerd.protocol.session import Phase
from tests.engine.forks.test_forks import forked
from tests.engine.snapshots.test_snapshots import each, made

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.conftest import Device, Hands, MakeDevice, Until


async def test_one_that_no_longer_comes_makes_way_for_the_one_that_settles_a_fork(
    two: tuple[Device, Device], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session stops while parts are on their way, and passes them over from then on."""
    monkeypatch.setattr("peerd.engine.snapshots.exchange.AGAIN_S", 0.01)
    desk, laptop = two
    said: list[Any] = []
    machine = cast("Any", SimpleNamespace(phase=Phase.BEHIND))
    exchange = SnapshotExchange(laptop.space, desk.id, machine, said.append, lambda _effects: None, lambda _fork: None)
    async with asyncio.TaskGroup() as group:
        exchange.start(group)
        exchange.fetch()
        await until(lambda: said)
        replacing = group.create_task(exchange.replace())
        machine.phase = Phase.BLOCKED
        exchange.give_up()
        await until(lambda: len(said) == 2)
        assert {type(one) for one in said} == {SnapshotWant}
        exchange.stop()
        assert not await replacing


async def test_one_of_which_nothing_comes_makes_way_for_that_of_another_member(
    two: tuple[Device, Device], make: MakeDevice, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker may have promised it only to keep us from the others. It is asked again later."""
    monkeypatch.setattr("peerd.engine.snapshots.exchange.SILENT_S", 0.05)
    monkeypatch.setattr("peerd.engine.snapshots.exchange.AGAIN_S", 0.01)
    desk, laptop = two
    attic = make("attic")
    machine = cast("Any", SimpleNamespace(phase=Phase.BEHIND, without_snapshot=lambda _ours: []))
    asked: list[bytes] = []
    exchanges = [
        SnapshotExchange(
            laptop.space,
            device,
            machine,
            lambda _message, device=device: asked.append(device),  # type: ignore[misc] # of this turn
            lambda _effects: None,
            lambda _fork: None,
        )
        for device in (desk.id, attic.id)
    ]
    async with asyncio.TaskGroup() as group:
        for one in exchanges:
            one.start(group)
            one.fetch()
        await until(lambda: len(asked) == 4)
        assert asked == [desk.id, attic.id] * 2
        trouble = exchanges[0].trouble
        assert trouble is not None
        assert "nothing of its snapshot" in trouble.cause
        machine.phase = Phase.STREAMING
        for one in exchanges:
            one.stop()


async def test_who_had_to_make_way_for_others_is_served_when_it_asks_again(
    two: tuple[Device, Device], clock: Hands, until: Until
) -> None:
    """Its part was being read for more than a minute, as while the copy here waits for something itself."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    serving = desk.space.snapshots.serving
    said: list[Any] = []

    def say(message: Any) -> None:
        said.append(message)
        exchange.sent()

    machine = cast("Any", SimpleNamespace(phase=Phase.STREAMING))
    exchange = SnapshotExchange(desk.space, laptop.id, machine, say, lambda _effects: None, lambda _fork: None)
    async with asyncio.TaskGroup() as group:
        exchange.start(group)
        async with desk.space.damage.turn:
            exchange.serve(SnapshotWant(desk.space.id, bytes(16), 0, 4))
            await until(lambda: laptop.id in serving.served)
            await asyncio.sleep(0.05)
            clock.pass_s(61)
            for number in range(4):
                await serving.serve(bytes([number]) * 32, bytes(16), 0)
            assert laptop.id not in serving.served
        await until(lambda: any(isinstance(one, SnapshotRefuse) for one in said))
        assert said[-1].code == "snapshot-gone"
        for number in range(4):
            await serving.end_serving(bytes([number]) * 32)
        said.clear()
        exchange.serve(SnapshotWant(desk.space.id, bytes(16), 0, 4))
        await until(lambda: said)
        assert isinstance(said[0], SnapshotChunk)
        exchange.stop()


async def test_nobody_is_blamed_for_what_another_members_snapshot_holds(
    desk: Device, make: MakeDevice, clock: Hands, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to take the place of the laptop's copy, and was whole: there was no room to set that aside."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    laptop = await forked(desk, laptop, attic)

    async def full() -> Path:
        raise DiskFull("no space left")

    monkeypatch.setattr(laptop.space.store.asides, "make", full)
    snapshots = laptop.space.snapshots
    with pytest.raises(DiskFull):
        await snapshots.take_in(b"s" * 16, each(await made(desk)), maker=desk.id, replaces=True)
    clock.pass_s(61)
    said: list[Any] = []
    forks: list[Any] = []
    machine = cast("Any", SimpleNamespace(phase=Phase.BEHIND, without_snapshot=lambda _ours: []))
    exchange = SnapshotExchange(laptop.space, attic.id, machine, said.append, lambda _effects: None, forks.append)
    async with asyncio.TaskGroup() as group:
        exchange.start(group)
        exchange.fetch()
        await until(lambda: said or forks)
        exchange.stop()
    assert not forks
    assert isinstance(said[0], SnapshotWant)
    assert exchange.trouble is None
