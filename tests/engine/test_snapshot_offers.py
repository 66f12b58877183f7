"""New devices, and those that lack very much, begin with a snapshot: real sessions and databases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from peerd.core import snapshot_choice
from peerd.engine.link_runner import LinkRunner
from peerd.protocol.messages import Entries, SnapshotChunk, SnapshotOffer
from peerd.protocol.session import Session
from peerd.store import snapshot_reading
from tests.engine.conftest import Device, MakeDevice, Until, Wire
from tests.engine.test_snapshots import agree, damage, query, session


@pytest.fixture(autouse=True)
def _little_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (snapshot_choice, snapshot_reading):
        monkeypatch.setattr(module, "LEAST_LOG_BYTES", 20_000)


@pytest.fixture
async def full(two: tuple[Device, Device]) -> tuple[Device, Device]:
    """The desk has much, the laptop nothing."""
    await fill(two[0])
    return two


async def fill(device: Device) -> None:
    for number in range(10):
        await device.put(f"{number:03}", {"text": "x" * 100_000})


Said = dict[bytes, list[Any]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What is said to each device, on all links."""
    say, heard = LinkRunner.say, defaultdict[bytes, list[Any]](list)

    def noted(link: LinkRunner, message: Any, session: Any = None) -> None:
        heard[link.theirs].append(message)
        say(link, message, session)

    monkeypatch.setattr(LinkRunner, "say", noted)
    return heard


def of_kind(said: Sequence[Any], kind: type[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


async def linked(one: Device, other: Device, until: Until) -> None:
    await until(lambda: session(one, other) and session(one, other).in_sync and session(other, one).in_sync)


async def test_a_new_device_begins_with_a_snapshot(
    full: tuple[Device, Device], wire: Wire, until: Until, said: Said
) -> None:
    desk, laptop = full
    wire.connect(desk, laptop)
    await linked(desk, laptop, until)
    await agree(desk, laptop)
    (offer,) = of_kind(said[laptop.id], SnapshotOffer)
    assert offer.records == 10
    assert 1_000_000 < offer.record_bytes < 1_100_000
    assert of_kind(said[laptop.id], SnapshotChunk)
    assert not of_kind(said[laptop.id], Entries)
    assert query(laptop, "SELECT count(*) FROM run") == [(0,)]
    await desk.put("live", {"a": 1})
    await laptop.put("live too", {"a": 1})
    await until(lambda: desk.clock_now() == laptop.clock_now())
    await agree(desk, laptop)


async def test_a_device_that_lacks_a_little_gets_the_log(
    full: tuple[Device, Device], wire: Wire, until: Until, said: Said
) -> None:
    desk, laptop = full
    await desk.tell(laptop)
    await desk.put("more", {"text": "x" * 100_000})
    wire.connect(desk, laptop)
    await linked(desk, laptop, until)
    assert not of_kind(said[laptop.id], SnapshotOffer)
    assert laptop.space.copy.horizon() == {}


async def test_a_device_that_missed_more_changes_than_there_are_records_gets_a_snapshot(
    full: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    desk, laptop = full
    await desk.tell(laptop)
    for _ in range(12):
        await desk.patch("003", set={"text": "y" * 100_000})
        await desk.patch("003", set={"text": "z" * 100_000})
    await laptop.patch("004", set={"own": 1})
    wire.connect(desk, laptop)
    await linked(desk, laptop, until)
    await agree(desk, laptop)
    assert desk.space.commits.own_origin in laptop.space.copy.horizon()
    assert (await desk.value("004"))["own"] == 1


async def test_a_device_of_an_earlier_version_gets_the_log(
    full: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = Session._want
    monkeypatch.setattr(Session, "_want", lambda session, ours: want(session, ours, either=False))
    desk, laptop = full
    wire.connect(desk, laptop)
    await linked(desk, laptop, until)
    await agree(desk, laptop)
    assert laptop.space.copy.horizon() == {}


async def test_who_is_refused_a_snapshot_gets_the_log(full: tuple[Device, Device], wire: Wire, until: Until) -> None:
    desk, laptop = full
    damage(desk, "UPDATE record SET share = share + 1 WHERE key = '003'")
    wire.connect(desk, laptop)
    await until(lambda: desk.clock_now() == laptop.clock_now())
    assert laptop.space.copy.horizon() == {}
    assert laptop.space.copy.visible == 10


async def test_of_several_members_one_sends_its_snapshot(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await fill(desk)
    await desk.tell(laptop)
    wire.connect(desk, phone)
    wire.connect(laptop, phone)
    await linked(desk, phone, until)
    await linked(laptop, phone, until)
    await agree(desk, laptop, phone)
    assert len(desk.space.snapshots.served) + len(laptop.space.snapshots.served) == 1
