"""What status says of snapshots: those that come in, those that are sent, those that fail, and where a copy is from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from peerd.core import digest
from peerd.core.device_id import format_device_id
from peerd.core.snapshots import choice as snapshot_choice
from peerd.store import snapshot_reading
from tests.engine.conftest import Device, MakeDevice, Until, Wire
from tests.engine.snapshots.test_offers import fill, halfway, linked
from tests.engine.snapshots.test_snapshots import damage, made, query, session, take


@pytest.fixture(autouse=True)
def _little_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (snapshot_choice, snapshot_reading):
        monkeypatch.setattr(module, "LEAST_LOG_BYTES", 20_000)


async def view(device: Device) -> Any:
    return (await device.statuses.status()).spaces[0]


async def peer(device: Device, other: Device) -> Any:
    return next(one for one in (await view(device)).peers if one.device == format_device_id(other.id))


@pytest.fixture
async def half(two: tuple[Device, Device], wire: Wire, until: Until) -> AsyncIterator[tuple[Device, Device]]:
    """The laptop has half of a snapshot of the desk's, and waits for more."""
    desk, laptop = two
    await fill(desk)
    _, far = await halfway(laptop, desk, wire, until)
    yield desk, laptop
    far.go_on()


async def test_status_says_how_much_is_here_of_how_much_and_how_long_it_takes(half: tuple[Device, Device]) -> None:
    desk, laptop = half
    found = await view(laptop)
    assert (found.state, found.reason) == ("receiving", "")
    shown = found.snapshot
    assert (shown.device, shown.name, shown.state) == (format_device_id(desk.id), "desk", "receiving")
    assert 6 <= shown.records < shown.of_records == 10
    assert 600_000 < shown.bytes < shown.of_bytes < 1_100_000
    assert shown.left_s > 0
    told = await peer(laptop, desk)
    assert told.state == "syncing"
    assert told.reason == f"its snapshot comes in: {shown.records} of 10 records, {round(shown.left_s)} s left"


async def test_status_of_the_maker_says_what_it_sends(half: tuple[Device, Device]) -> None:
    desk, laptop = half
    told = await peer(desk, laptop)
    assert told.state == "syncing"
    assert told.reason.startswith("it takes in a snapshot from here: ")
    assert told.reason.endswith(" of 10 records are sent")


async def test_who_asks_no_more_may_have_got_one_elsewhere(
    half: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says that it does not want the rest; after a minute it counts as no more than behind."""
    desk, laptop = half
    monkeypatch.setattr("peerd.engine.snapshots.serving.SILENT_S", 0.0)
    told = await peer(desk, laptop)
    assert "snapshot" not in told.reason


async def test_when_it_is_in_place_there_is_none_and_history_begins_there(
    two: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    desk, laptop = two
    await fill(desk)
    wire.connect(desk, laptop)
    await linked(desk, laptop, until)
    found = await view(laptop)
    assert (found.state, found.snapshot) == ("in sync", None)
    assert (found.taken.device, found.taken.name) == (format_device_id(desk.id), "desk")
    assert (found.taken.time_ms, found.taken.agreed) == (laptop.clock.wall_ms(), False)
    assert (await view(desk)).taken is None
    again = await laptop.reopen()
    assert (await view(again)).taken == found.taken
    assert not (await peer(desk, laptop)).reason.startswith("it takes in")


async def test_without_room_nothing_comes_and_status_says_what_to_do(
    two: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything was kept; and it goes on when there is room."""
    monkeypatch.setattr("peerd.engine.snapshots.exchange.AGAIN_S", 0.0)
    desk, laptop = two
    await fill(desk)
    room = [1_500_000 + (64 << 20)]
    monkeypatch.setattr(laptop.space.store, "room_bytes", lambda: (room[0], 1 << 40))
    wire.connect(desk, laptop)
    seen = await view(laptop)
    for _ in range(1_000):  # it tries again at once, and is at it for a moment each time
        if seen.state == "degraded":
            break
        await asyncio.sleep(0.001)
        seen = await view(laptop)
    (told,) = seen.peers
    assert told.state == "blocked"
    assert told.reason == (
        "its snapshot could not be taken in: a snapshot of 10 records needs 2 MiB for a while, and 1 MiB of the disk "
        "are to be had"
    )
    assert told.next_step == "Make room on this device; it goes on by itself."
    assert query(laptop, "SELECT parts FROM incoming") == [(0,)]
    room[0] = 1 << 30
    await linked(desk, laptop, until)


async def test_one_that_its_maker_cannot_make_is_named_until_it_is_in_step(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    """The laptop's log begins at a snapshot, so the phone cannot do without."""
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await fill(desk)
    await laptop.space.learn(desk.space.roster.statements)
    assert await take(laptop, await made(desk))
    damage(laptop, "UPDATE record SET share = share + 1 WHERE key = '003'")
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).snapshot_trouble)
    told = await peer(phone, laptop)
    assert told.state == "blocked"
    assert told.reason == ("its snapshot could not be taken in: that device makes none: it cannot make a snapshot")
    assert 'docs/recovery.md, "Copies diverged"' in told.next_step


# ---- whose it is


async def three(make: MakeDevice, desk: Device, laptop: Device) -> Device:
    phone = make("phone")
    await desk.admit(phone)
    await fill(desk)
    await desk.tell(laptop)
    return phone


async def test_whose_snapshot_it_is_is_remembered_until_another_member_agrees(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    phone = await three(make, desk, laptop)
    wire.connect(desk, phone)
    await linked(desk, phone, until)
    assert (await view(phone)).taken.agreed is False, "its maker is no witness"
    phone = await phone.reopen()
    wire.connect(laptop, phone)
    await linked(laptop, phone, until)
    assert (await view(phone)).taken.agreed is True
    await until(lambda: not phone.space.provenance._keeping)
    phone = await phone.reopen()
    assert (await view(phone)).taken.agreed is True


async def test_a_difference_names_who_made_the_snapshot(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Not when it differs from its maker's own copy: then that is all there is to say."""
    desk, laptop = two
    phone = await three(make, desk, laptop)
    wire.connect(desk, phone)
    await linked(desk, phone, until)
    damaged = digest.moved(laptop.space.copy.digest, [(3, 7)])
    laptop.space.commits.state = replace(laptop.space.copy, digest=damaged)
    with capture_logs() as logged:
        wire.connect(laptop, phone)
        await until(lambda: session(phone, laptop) and session(phone, laptop).diverged)
    doubt = "the copy here came as a snapshot of desk, with which no other member has agreed since"
    told = await peer(phone, laptop)
    assert (told.state, told.reason.partition("; ")[2]) == ("diverged", doubt)
    assert [one["cause"] for one in logged if one["event"] == "copies diverged" and "cause" in one] == [doubt]
    assert phone.space.provenance.doubt(desk.id) == ""
