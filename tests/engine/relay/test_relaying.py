"""Devices that are never linked, and a folder between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from peerd.engine.relay import relaying
from peerd.errors import DiskFull, UserError
from peerd.protocol.control.relays import RelaySync
from tests.engine.conftest import Device, MakeDevice, Until
from tests.engine.relay_scene import QUICK, Relayed, new_stick, objects

Begin = Callable[[Device], Awaitable[Relayed]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_stick(tmp_path)


@pytest.fixture
async def relay(folder: Path) -> AsyncIterator[Begin]:
    """Call it with a device: from then on it uses the folder."""
    begun: list[Relayed] = []

    async def begin(device: Device) -> Relayed:
        begun.append(await Relayed(device, folder).start())
        return begun[-1]

    yield begin
    for one in begun:
        await one.stop()


def contents(folder: Path) -> dict[str, bytes]:
    """What lies there; somebody may be at work, whose temporary names come and go."""
    found: dict[str, bytes] = {}
    for path in objects(folder):
        with suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


async def has(device: Device, key: str) -> bool:
    try:
        await device.value(key)
    except UserError:
        return False
    return True


async def comes_true(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - there is no event for whatever a test may ask
            await asyncio.sleep(0.01)


async def arrives(device: Device, key: str) -> None:
    await comes_true(lambda: has(device, key))


async def are_equal(one: Device, other: Device) -> None:
    async def equal() -> bool:
        return one.clock_now() == other.clock_now()

    await comes_true(equal)


def clear(folder: Path) -> None:
    for path in folder.glob("??/*"):
        path.unlink()


def move(folder: Path, target: Path) -> None:
    folder.rename(target)


async def test_changes_reach_a_device_that_is_never_linked(two: tuple[Device, Device], relay: Begin) -> None:
    """Both ways, deletes too; both end with one clock and one digest."""
    desk, laptop = two
    await relay(desk)
    await desk.put("milk", {"n": 1})
    await relay(laptop)
    await arrives(laptop, "milk")
    await laptop.put("bread", {"n": 2})
    await laptop.delete("milk")
    await arrives(desk, "bread")
    await are_equal(desk, laptop)
    assert not await has(desk, "milk")
    assert desk.space.copy.digest == laptop.space.copy.digest


async def test_who_stops_leaves_what_waits(desk: Device, folder: Path) -> None:
    """It would have been gathered for an hour. Once all is there, and when there is nobody to ask, nothing is waited
    for.
    """
    slow = replace(QUICK, quiet_s=(3600.0, 3600.0), gather_s=3600.0, foreign_s=(3600.0, 3600.0))
    relay = await Relayed(desk, folder, courier=slow).start()
    (runner,) = relay.relays._runners.values()
    async with asyncio.timeout(20):
        await runner.settled.wait()
    before = len(objects(folder))
    await desk.put("milk", {"n": 1})
    assert runner.has_to_leave()
    await relay.relays.leave_now()
    assert len(objects(folder)) == before + 1
    assert not runner.has_to_leave()
    relay.store.calls.clear()
    await relay.relays.leave_now()
    assert not relay.store.calls
    move(folder, folder.with_name("away"))
    await desk.put("bread", {"n": 1})
    await relay.relays.sync(RelaySync())
    assert runner.trouble is not None
    relay.store.calls.clear()
    await relay.relays.leave_now()
    assert not relay.store.calls
    await relay.stop()


async def test_who_wakes_up_looks_at_once(desk: Device, folder: Path) -> None:
    seldom = replace(QUICK, poll_min_s=3600.0, poll_max_s=3600.0, quiet_s=(3600.0, 3600.0), gather_s=3600.0)
    relay = await Relayed(desk, folder, courier=seldom).start()
    (runner,) = relay.relays._runners.values()
    async with asyncio.timeout(20):
        await runner.settled.wait()
    looks = relay.store.calls.count("lookup")
    relay.relays.woke()

    async def looked() -> bool:
        return relay.store.calls.count("lookup") > looks

    await comes_true(looked)
    await relay.stop()


async def test_what_others_made_is_left_by_whoever_has_it(make: MakeDevice, desk: Device, relay: Begin) -> None:
    """The desk meets the laptop only, the laptop alone uses the relay, and the attic hears of the desk's change."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    await desk.put("milk", {"n": 1})
    await desk.tell(laptop)
    await relay(laptop)
    await relay(attic)
    await arrives(attic, "milk")
    assert desk.clock_now() == attic.clock_now()


async def test_of_two_that_removed_each_other_the_one_that_stays_is_read_again(
    make: MakeDevice, desk: Device, relay: Begin, folder: Path
) -> None:
    """The attic hears of the laptop's removal of the desk first, and tells the desk so in the place of its head; the
    desk, which is the elder, writes on. The laptop is out for everybody.
    """
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    relays = [await relay(one) for one in (desk, laptop, attic)]
    for one in (desk, laptop, attic):
        await one.put(one.name, {"n": 1})
        await arrives(desk, one.name)
        await arrives(attic, one.name)
    for relayed in relays:
        await relayed.stop()
    await desk.spaces.remove(desk.space, laptop.id)
    await laptop.spaces.remove(laptop.space, desk.id)
    await laptop.tell(attic)
    assert not attic.space.roster.is_member(desk.id)
    before = contents(folder)
    await relay(attic)

    async def told_so() -> bool:
        now = contents(folder)
        return sum(now[name] != data for name, data in before.items()) == 2  # the desk's head and the attic's own

    await comes_true(told_so)
    await relay(desk)
    await desk.put("milk", {"n": 1})
    await arrives(attic, "milk")
    await attic.put("bread", {"n": 1})
    await arrives(desk, "bread")
    for device in (desk, attic):
        assert device.space.roster.members.keys() == {desk.id, attic.id}


async def test_who_is_let_in_again_has_acknowledged_nothing_on_a_relay_either(
    two: tuple[Device, Device], relay: Begin
) -> None:
    """It comes with an empty copy: what was said of the one before holds back neither more nor less of the log."""
    desk, laptop = two
    await desk.put("milk", {"n": 1})
    relays = (await relay(desk)).relays
    theirs = await relay(laptop)
    await arrives(laptop, "milk")

    async def acknowledged() -> bool:
        seen = relays.last_seen(desk.space, laptop.id)
        return seen is not None and seen.clock == desk.clock_now()

    await theirs.relays.sync(RelaySync())
    await comes_true(acknowledged)
    await theirs.stop()
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    assert relays.last_seen(desk.space, laptop.id) is None
    await relays.sync(RelaySync())
    assert relays.last_seen(desk.space, laptop.id) is None
    await desk.tell(laptop)
    await (await relay(laptop)).relays.sync(RelaySync())
    await comes_true(acknowledged)


async def test_who_reads_the_folder_learns_nothing(two: tuple[Device, Device], relay: Begin, folder: Path) -> None:
    """No collection, key, field, value, name of a device or space; and every object has a padded size."""
    desk, laptop = two
    await desk.put("canary-key", {"canary-field": "canary-value" * 50}, collection="canary-collection")
    await relay(desk)
    await relay(laptop)
    await are_equal(desk, laptop)
    found = contents(folder)
    assert len(found) >= 3
    for name, data in found.items():
        for secret in (b"canary", b"desk", b"laptop", b"home", desk.id, laptop.id, desk.space.id):
            assert secret not in data
            assert secret.hex() not in name
        assert len(data) >= 4096


async def test_a_courier_outlives_a_disk_that_is_full(
    two: tuple[Device, Device], relay: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is nothing to do but to remember that, and when it has just begun."""
    desk, laptop = two
    monkeypatch.setattr(relaying, "STORE_AGAIN_S", 0.01)
    kept, asked = desk.space.store.relays, 0
    read, save = kept.load, kept.save

    async def full(*_: object) -> NoReturn:
        nonlocal asked
        asked += 1
        raise DiskFull("no space left")

    monkeypatch.setattr(kept, "load", full)
    monkeypatch.setattr(kept, "save", full)
    await relay(desk)
    await relay(laptop)
    await desk.put("milk", {"n": 1})

    async def asked_often() -> bool:
        return asked >= 5

    await comes_true(asked_often)
    monkeypatch.setattr(kept, "load", read)
    asked = 0
    await comes_true(asked_often)
    monkeypatch.setattr(kept, "save", save)
    await arrives(laptop, "milk")


async def test_an_answer_that_got_lost_changes_nothing(two: tuple[Device, Device], relay: Begin, folder: Path) -> None:
    """Each operation was done, and its answer never came: it is repeated, and nothing is there twice."""
    desk, laptop = two
    ours = await relay(desk)
    ours.store.mishaps = [(method, True) for method in ("create", "replace", "lookup", "create", "replace")]
    await desk.put("milk", {"n": 1})
    await relay(laptop)
    await arrives(laptop, "milk")
    while ours.store.mishaps:
        await desk.put("more", {"n": len(ours.store.mishaps)})
        await ours.relays.sync(RelaySync())
    await are_equal(desk, laptop)
    (view,) = ours.relays.views().relays
    assert view.findings == []


async def test_a_restart_goes_on_where_it_was(
    two: tuple[Device, Device], relay: Begin, folder: Path, until: Until
) -> None:
    """The same stream: what is there stays there, and what comes is added."""
    desk, laptop = two
    ours = await relay(desk)
    await desk.put("milk", {"n": 1})
    await until(lambda: ours.relays.views().relays[0].to_send == 0 and len(contents(folder)) == 2)
    before = contents(folder)
    await ours.stop()
    desk = await desk.reopen()
    await relay(desk)
    await desk.put("bread", {"n": 2})
    await relay(laptop)
    await arrives(laptop, "bread")
    after = contents(folder)
    assert len(before.items() & after.items()) == 1  # the first segment; the head was replaced


async def test_trouble_is_named_and_passes(
    two: tuple[Device, Device], relay: Begin, folder: Path, until: Until
) -> None:
    """The stick is pulled out and put back in."""
    desk, laptop = two
    ours = await relay(desk)
    await relay(laptop)
    await desk.put("milk", {"n": 1})
    await arrives(laptop, "milk")
    away = folder.with_name("elsewhere")
    move(folder, away)
    await desk.put("bread", {"n": 1})
    await until(lambda: ours.relays.views().relays[0].code == "relay-unreachable")
    (view,) = ours.relays.views().relays
    assert str(folder) in view.reason
    assert view.next_step
    move(away, folder)
    await ours.relays.sync(RelaySync())
    await arrives(laptop, "bread")
    assert ours.relays.views().relays[0].reason == ""


async def test_a_removed_device_reads_nothing_that_comes_after(
    two: tuple[Device, Device], make: MakeDevice, relay: Begin, until: Until
) -> None:
    """The attic meets the others only here: it hears of the new secret, and the laptop, which is out, of nothing."""
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await desk.tell(laptop)
    for device in (desk, laptop, attic):
        await relay(device)
    await desk.put("before", {"n": 1})
    await arrives(laptop, "before")
    await arrives(attic, "before")
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.put("after", {"n": 2})
    await arrives(attic, "after")
    assert not await has(laptop, "after")
    assert len(attic.spaces.secrets(attic.space)) == 2
    assert len(laptop.spaces.secrets(laptop.space)) == 1


async def test_a_relay_that_lost_everything_is_filled_again(
    two: tuple[Device, Device], make: MakeDevice, relay: Begin, folder: Path
) -> None:
    desk, laptop = two
    await relay(desk)
    await relay(laptop)
    await desk.put("milk", {"n": 1})
    await arrives(laptop, "milk")
    clear(folder)
    attic = make("attic")
    await desk.admit(attic)
    await relay(attic)
    await arrives(attic, "milk")


async def test_much_is_left_at_once(desk: Device, folder: Path) -> None:
    """A courier that waits long for quiet does not wait with a full segment."""
    one = Relayed(desk, folder)
    long_s = 3600.0, 7200.0
    patient = replace(QUICK, quiet_s=long_s, lan_s=long_s, poll_min_s=long_s[0], poll_max_s=long_s[1])
    one.plan = replace(one.plan, courier=patient)
    await one.start()
    await desk.put("small", {"n": 1})
    await comes_true(lambda: _idle(one))
    assert len(contents(folder)) == 1
    await desk.put("large", {"text": "x" * (300 << 10)})
    await comes_true(lambda: _holds(folder, 2))
    await one.stop()


async def _idle(one: Relayed) -> bool:
    return [view.state for view in one.relays.views().relays] != ["working"]


async def _holds(folder: Path, count: int) -> bool:
    return len(contents(folder)) >= count
