"""Two variants of a fork meet and a third stands before both, which nobody may have any more: they go on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.forks import Parting
from peerd.core.roster.statements import Final
from peerd.engine.forks.forks import LINK_STEP, RELAY_STEP
from peerd.protocol.messages import Entries
from tests.engine.forks import test_forks
from tests.engine.forks.test_forks import check_values, forked, keys, linked_until, past_of, set_back
from tests.engine.snapshots.test_snapshots import made, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerd.engine.store_ports import Transaction
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

LOST = bytes(8)  # there is no smaller hash, so this stands


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)
    monkeypatch.setattr("peerd.engine.forks.fork_talk.PATIENCE_S", 0.01)


async def lose(of: Device, before: dict[bytes, int], *devices: Device) -> None:
    """What `of` has of the origin that it shares with others up to there falls, and what stands is lost."""
    origin, seq = next(iter(before.items()))
    runs = (await of.space.store.runs_after(0, 1 << 20, 1_000)).rows
    first = next(row.run for row in runs if row.run.origin == origin and row.run.first == seq + 1)

    def hashes(transaction: Transaction) -> tuple[bytes, bytes]:
        history = transaction.history_of(origin)
        return history.hash8(seq) or b"", history.hash8(first.last) or b""

    common, ours = await of.space.store.read(hashes)
    await of.space.forks.close(Parting(origin, seq, common, Final(first.last, ours), Final(seq + 1, LOST)))
    for device in devices:
        await device.space.learn(of.space.roster.statements)


def meet(wire: Wire, *devices: Device) -> Callable[[], None]:
    """And their clock runs meanwhile: what came from another one is held back for a moment."""
    link = test_forks.meet(wire, *devices)

    def meeting() -> None:
        devices[0].clock.pass_s(0.001)
        link()

    return meeting


def are_alike(*devices: Device) -> Callable[[], bool]:
    def alike() -> bool:
        first = devices[0]
        return all(
            one.clock_now() == first.clock_now()
            and one.space.copy.digest == first.space.copy.digest
            and one.space.recopying.pending is None
            for one in devices
        )

    return alike


async def test_of_two_that_fall_one_goes_over_to_the_other(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Each value of either side is there, and a new member takes what they have."""
    laptop, fifth = make("laptop"), make("fifth")
    await desk.admit(laptop)
    laptop = await forked(desk, laptop)
    origin = laptop.space.commits.own_origin
    assert origin is not None
    await lose(desk, {origin: 3}, laptop)
    assert await desk.space.forks.look()
    assert await laptop.space.forks.look()
    await linked_until(until, meet(wire, desk, laptop), are_alike(desk, laptop))
    await check_values(desk, laptop)
    await desk.admit(fifth)
    await linked_until(until, meet(wire, desk, laptop, fifth), are_alike(desk, laptop, fifth))
    await check_values(desk, laptop, fifth)
    await laptop.put("later", {"text": "goes on"})
    await linked_until(until, meet(wire, desk, laptop, fifth), are_alike(desk, laptop, fifth))


async def test_on_a_relay_alone_two_that_fall_are_told_to_meet(desk: Device, make: MakeDevice) -> None:
    """Through a relay only what stands is taken."""
    laptop = make("laptop")
    await desk.admit(laptop)
    laptop = await forked(desk, laptop)
    origin = laptop.space.commits.own_origin
    assert origin is not None
    theirs = Final(4, b"t" * 8)
    parting = Parting(origin, 3, bytes(8), Final(4, b"o" * 8), theirs)
    desk.space.forks.parted(laptop.id, parting, "cloud")
    assert (desk.space.forks.on_relay(laptop.id) or ("", ""))[1] == RELAY_STEP
    await lose(desk, {origin: 3})
    assert (desk.space.forks.on_relay(laptop.id) or ("", ""))[1] == LINK_STEP


async def test_who_holds_what_falls_goes_over_to_who_has_neither(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Nothing stops the two, but one may take nothing of the other."""
    laptop, fifth = make("laptop"), make("fifth")
    await desk.admit(laptop, fifth)
    await forked(desk, laptop, fifth)
    (origin,) = fifth.clock_now()
    await lose(desk, {origin: 3}, fifth)
    await fifth.put("of the fifth", {"n": 5})
    await linked_until(until, meet(wire, desk, fifth), are_alike(desk, fifth))
    for device in (desk, fifth):
        assert await keys(device) == {"common", "edited", "gone", "first", "of the fifth"}
        assert (await device.value("edited"))["text"] == "first"
        assert device.clock_now()[origin] == 3
        assert not device.space.forks.falls


async def test_it_goes_over_too_if_it_hears_what_falls_when_the_two_have_met(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """From others, of whom nobody is left: what it sent meanwhile is refused, and the link goes on."""
    laptop, fifth = make("laptop"), make("fifth")
    await desk.admit(laptop, fifth)
    await forked(desk, laptop, fifth)
    (origin,) = fifth.clock_now()
    near, _ = wire.connect(desk, fifth, stop_at=Entries)
    await until(lambda: not near.flowing.is_set())
    await lose(desk, {origin: 3}, fifth)
    near.go_on()
    await until(lambda: not desk.space.forks.falls)
    await linked_until(until, meet(wire, desk, fifth), are_alike(desk, fifth))
    for device in (desk, fifth):
        assert await keys(device) == {"common", "edited", "gone", "first"}
        assert device.clock_now()[origin] == 3


async def test_a_new_member_takes_a_snapshot_of_what_falls_if_there_is_nothing_else(
    desk: Device, make: MakeDevice
) -> None:
    laptop, fifth = make("laptop"), make("fifth")
    await desk.admit(laptop)
    laptop = await forked(desk, laptop)
    origin = laptop.space.commits.own_origin
    assert origin is not None
    await lose(desk, {origin: 3})
    await desk.admit(fifth)
    assert await take(fifth, await made(desk))
    assert await keys(fifth) == await keys(desk)
    await fifth.space.forks.look()
    assert fifth.space.forks.falls
    await desk.put("more", {"n": 1})
    assert await take(fifth, await made(desk), b"2" * 16), "both hold the same that falls"


async def test_of_two_that_hold_what_falls_of_different_origins_one_goes_over(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Of each of two devices there are two histories, and whoever meets has the first of one and the second of the
    other: the smallest origin decides.
    """
    laptop, third, fourth = (make(name) for name in ("laptop", "third", "fourth"))
    await desk.admit(laptop, third, fourth)
    writers = [desk, laptop]
    for number, others in enumerate(((laptop, third, fourth), (desk, third, fourth))):
        await writers[number].put(f"common {number}", {"n": 0})
        await writers[number].tell(*others)
    for number, (first, second) in enumerate(((third, fourth), (fourth, third))):
        past, writer = await past_of(writers[number])
        await writer.put(f"first {number}", {"n": 1})
        await writer.tell(first)
        writer = await set_back(writer, past)
        await writer.put(f"second {number}", {"n": 2})
        await writer.tell(second)
    await linked_until(until, meet(wire, third, fourth), are_alike(third, fourth))
    for device in (third, fourth):
        assert await keys(device) == {f"{what} {number}" for what in ("common", "first", "second") for number in (0, 1)}


async def test_what_falls_is_known_of_a_close_too_that_is_heard_of_while_that_is_looked_up(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a snapshot is judged in the same moment."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    (origin,) = desk.clock_now()
    laptop = await forked(desk, laptop)
    await lose(desk, {origin: 1})
    of_laptop = next(one for one in desk.clock_now() if one != origin)
    read = desk.space.store.read
    heard: list[bool] = []

    async def reading(look: Any) -> Any:
        found = await read(look)
        if not heard:
            heard.append(True)
            await lose(desk, {of_laptop: 3})
        return found

    monkeypatch.setattr(desk.space.store, "read", reading)
    assert await desk.space.forks.look()
    assert set(desk.space.forks.sides) == {origin, of_laptop}
    assert all(side.falls for side in desk.space.forks.sides.values())
