"""New devices, and those that lack very much, begin with a snapshot: real sessions and databases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partialmethod
from typing import Any

import pytest
from structlog.testing import capture_logs

from peerd.core.snapshots import choice as snapshot_choice
from peerd.engine.links.link_runner import LinkRunner
from peerd.engine.snapshots.serving import SILENT_S
from peerd.engine.snapshots.snapshots import PATIENCE_S
from peerd.errors import StoreError
from peerd.protocol.messages import Entries, SnapshotChunk, SnapshotOffer
from peerd.protocol.session import Phase
from peerd.protocol.wanting import Wanting
from peerd.store import snapshot_reading
from tests.engine.conftest import Device, MakeDevice, Pipe, Until, Wire
from tests.engine.snapshots.test_snapshots import agree, damage, query, session


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


async def halfway(taker: Device, maker: Device, wire: Wire, until: Until) -> tuple[Pipe, Pipe]:
    """The ends of a link on which more than half of a snapshot has come: what the maker says waits from then on."""
    take_part = taker.space.snapshots._store.take
    held: list[int] = []

    async def up_to_the_sixth(standing: Any, decide: Any, parts: int) -> Any:
        standing = await take_part(standing, decide, parts)
        if standing.progress.records >= 6 and not held:
            far.flowing.clear()
            held.append(parts)
        taker.clock.pass_s(1.0)
        return standing

    taker.space.snapshots._store.take = up_to_the_sixth  # type: ignore[method-assign] # to stop at the right moment
    near, far = wire.connect(taker, maker)
    await until(lambda: held)
    return near, far


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


async def test_what_members_had_before_a_new_device_had_a_copy_they_do_not_lack(
    full: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    """They told it when it knew none of the origins. Else it would say that only it has what all have."""
    desk, laptop = full
    attic = make("attic")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    await desk.tell(laptop)
    assert not attic.clock_now()
    for one in (desk, laptop):
        wire.connect(attic, one)
    for one in (desk, laptop):
        await linked(attic, one, until)
    await agree(desk, laptop, attic)
    for one in (desk, laptop):
        assert attic.space.presence.peers[one.id].acks == attic.clock_now()


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
    monkeypatch.setattr(Wanting, "again", partialmethod(Wanting.again, either=False))
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
    assert len(desk.space.snapshots.serving.served) + len(laptop.space.snapshots.serving.served) == 1


# ---- while it comes in


async def test_what_a_new_device_writes_meanwhile_reaches_the_others_at_once_and_stays(
    full: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Its copy has nothing of the snapshot meanwhile; it is written to, and read, and sends."""
    desk, laptop = full
    phone = make("phone")
    await laptop.admit(phone)
    wire.connect(laptop, phone)
    _, far = await halfway(laptop, desk, wire, until)
    await laptop.put("own", {"a": 1})
    await laptop.put("003", {"title": "mine"})
    await laptop.put("short-lived", {"a": 1})
    await laptop.delete("short-lived")
    await until(lambda: laptop.clock_now().items() <= desk.clock_now().items())
    await until(lambda: phone.clock_now() == laptop.clock_now())
    assert laptop.space.snapshots.coming is not None, "and all that while it comes in"
    assert laptop.space.copy.visible == 2
    assert await laptop.value("003") == {"title": "mine"}
    assert await desk.value("003") == {"title": "mine", "text": "x" * 100_000}
    await desk.patch("own", set={"b": 2})
    far.go_on()
    await linked(desk, laptop, until)
    await agree(desk, laptop)
    assert await laptop.value("own") == {"a": 1, "b": 2}
    assert await laptop.value("003") == {"title": "mine", "text": "x" * 100_000}


async def test_what_is_written_meanwhile_survives_a_crash_of_the_new_device(
    full: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    desk, laptop = full
    near, far = await halfway(laptop, desk, wire, until)
    await laptop.put("own", {"a": 1})
    parts = await laptop.space.snapshots.wanted(await laptop.space.snapshots.begun() or b"")
    far.go_on()
    await near.close(1000, "cut")
    laptop = await laptop.reopen()
    assert await laptop.space.snapshots.wanted(await laptop.space.snapshots.begun() or b"") >= parts > 3
    assert await laptop.value("own") == {"a": 1}
    wire.connect(laptop, desk)
    await linked(desk, laptop, until)
    await agree(desk, laptop)
    assert await desk.value("own") == {"a": 1}


# ---- after a cut, among several


@pytest.fixture
async def cut(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> tuple[Device, Device, Device, bytes]:
    """The desk and the laptop have everything, the phone half of a snapshot of the desk's, whose link was cut. Now the
    laptop has its turn to send.
    """
    monkeypatch.setattr("peerd.engine.snapshots.exchange.LOOK_S", 0.0)
    monkeypatch.setattr("peerd.engine.links.turns.FAR_BEHIND", 1)
    monkeypatch.setattr("peerd.protocol.wanting.NEARLY", 1)
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await fill(desk)
    await desk.tell(laptop)
    near, far = await halfway(phone, desk, wire, until)
    far.go_on()
    await near.close(1000, "cut")
    await until(lambda: session(phone, desk) is None and session(desk, phone) is None)
    begun = await phone.space.snapshots.begun()
    assert begun is not None
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).machine.offer)
    return desk, laptop, phone, begun


async def test_its_maker_is_waited_for_and_goes_on(
    cut: tuple[Device, Device, Device, bytes], wire: Wire, until: Until
) -> None:
    """Even if another member offers one too, and has its turn."""
    desk, laptop, phone, begun = cut
    told = next(one for one in (await phone.statuses.status()).spaces[0].peers if one.name == "laptop")
    assert told.reason == "the member whose snapshot was cut may go on with it: it is waited for first"
    assert await phone.space.snapshots.begun() == begun
    wire.connect(desk, phone)
    await linked(desk, phone, until)
    await linked(laptop, phone, until)
    await agree(desk, laptop, phone)
    assert phone.space.provenance.taken is not None
    assert phone.space.provenance.taken.device == desk.id
    assert not laptop.space.snapshots.serving.served


async def test_after_a_minute_another_member_begins_anew(
    cut: tuple[Device, Device, Device, bytes], until: Until
) -> None:
    _, laptop, phone, _ = cut
    phone.clock.pass_s(PATIENCE_S)
    await linked(laptop, phone, until)
    await agree(laptop, phone)
    assert phone.space.provenance.taken is not None
    assert phone.space.provenance.taken.device == laptop.id


async def test_so_many_at_once_and_the_next_one_asks_again(
    full: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody loses what has begun to somebody who comes later."""
    monkeypatch.setattr("peerd.engine.snapshots.serving.SERVED", 1)
    monkeypatch.setattr("peerd.engine.snapshots.exchange.AGAIN_S", 0.0)
    desk, laptop = full
    phone = make("phone")
    await desk.spaces.admit(desk.space, phone.spaces.card())
    await phone.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    _, far = await halfway(laptop, desk, wire, until)
    (served,) = desk.space.snapshots.serving.served.values()
    with capture_logs() as logged:
        wire.connect(phone, desk)
        await until(lambda: any(one.get("code") == "snapshot-busy" for one in logged))
    assert list(desk.space.snapshots.serving.served) == [laptop.id]
    assert session(phone, desk).machine.phase is Phase.BEHIND
    far.go_on()
    await linked(desk, laptop, until)
    await linked(desk, phone, until)
    await agree(desk, phone)
    assert served.outgoing.records == 10


async def test_who_does_not_ask_for_a_minute_makes_way(
    full: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerd.engine.snapshots.serving.SERVED", 1)
    desk, _ = full
    served = await desk.space.snapshots.serving.serve(b"one", bytes(16), 0)
    assert await served.part(0)
    with pytest.raises(StoreError, match="1 devices take in a snapshot"):
        await desk.space.snapshots.serving.serve(b"two", bytes(16), 0)
    desk.clock.pass_s(SILENT_S + 1)
    await desk.space.snapshots.serving.serve(b"two", bytes(16), 0)
    assert list(desk.space.snapshots.serving.served) == [b"two"]
