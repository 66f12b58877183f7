"""A copy that was set back by more than others keep of their logs: nothing tells where the two part, perhaps not even
that they do. Whoever is less far goes over to the other, and writes again what it cannot be sure that others ever saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from peerd.core.batch import Doubt
from peerd.engine.conflicts import Conflicts
from peerd.store import snapshot_reading, trimming
from tests.engine.forks.test_forks import heal, keys, meet, past_of, peer, set_back
from tests.engine.snapshots.test_snapshots import made, take

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Two = tuple["Device", "Device"]
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)


async def trim(device: Device, *others: Device) -> None:
    """All that the others have goes from the log, and of the ends, of which there are too many, all but the last and
    those at which somebody stands.
    """
    for other in others:
        device.space.presence.note_acks(other.id, device.clock_now())
    device.housekeeping.history_days = lambda _: 0
    with patch.object(trimming, "ENDS_PER_ORIGIN", 0):
        await device.housekeeping.tidy(61 * DAY_MS)
    assert device.space.copy.horizon() == device.clock_now()


async def long_ago(desk: Device, laptop: Device, *others: Device) -> tuple[Device, bytes]:
    """The laptop wrote much, was set back, and wrote a little; what it wrote first has gone from the log of the desk.
    Gives the origin of which there are two histories, too.
    """
    for name in ("common", "edited", "gone"):
        await laptop.put(name, {"text": "old", "more": 1})
    await laptop.tell(desk, *others)
    for other in others:
        desk.space.presence.note_acks(other.id, desk.clock_now())
    past, laptop = await past_of(laptop)
    await laptop.put("first", {"text": "of the first life"})
    await laptop.patch("edited", set={"text": "first"})
    for number in range(8):
        await laptop.put("counter", {"n": number})
    await laptop.tell(desk)
    await trim(desk, laptop)
    laptop = await set_back(laptop, past)
    origin = laptop.space.commits.own_origin
    assert origin is not None
    await laptop.put("second", {"text": "of the second life"})
    await laptop.patch("edited", set={"text": "second"})
    await laptop.delete("gone")
    await laptop.put("third", {"text": "and more"})
    return laptop, origin


async def check(*devices: Device, more: frozenset[str] = frozenset()) -> None:
    """Everything that either life wrote is there. Nobody can tell any more whether the desk had seen it deleted."""
    for device in devices:
        expected = {"common", "edited", "first", "second", "third", "counter", *more}
        assert await keys(device) | {"gone"} == expected | {"gone"}, device.name
        assert (await device.value("counter")) == {"n": 7}
        listed = await Conflicts(device.space).list(collection=None, key="edited", limit=10, cursor=None)
        (conflict,) = [one for one in listed.conflicts if one.kind == "field"]
        assert {value.value for value in conflict.values} == {"first", "second"}


async def test_nothing_of_either_life_is_lost(
    two: Two, wire: Wire, until: Until, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """The one that was set back goes over; nobody has to say so."""
    desk, laptop = two
    laptop, origin = await long_ago(desk, laptop)
    assert desk.clock_now()[origin] == 13
    assert laptop.clock_now()[origin] == 7
    await heal(until, wire, desk, laptop)
    await check(desk, laptop)
    said = {event["event"] for event in log_events()}
    assert {"history in doubt", "copy set aside", "old copy taken in"} <= said
    assert desk.space.roster.closed_forks == (), "nobody knows where"
    assert list((laptop.folder / "set-aside").glob("*.db"))
    assert not (desk.folder / "set-aside").exists()
    assert laptop.space.commits.own_origin != origin
    await laptop.put("later", {"text": "goes on"})
    await until(lambda: desk.clock_now() == laptop.clock_now())


async def test_nor_what_a_third_wrote_on_top_of_it(desk: Device, make: MakeDevice, wire: Wire, until: Until) -> None:
    """Whoever heard only of the second life comes over too; what it had seen there, it has not seen of the first."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    laptop, origin = await long_ago(desk, laptop, attic)
    await laptop.tell(attic)
    await attic.patch("second", set={"more": 3})
    await attic.put("by the attic", {"n": 3})
    await attic.patch("common", set={"more": 3})
    assert attic.clock_now()[origin] == 7
    await heal(until, wire, desk, attic)
    await heal(until, wire, desk, attic, laptop)
    for device in (desk, attic, laptop):
        assert (await device.value("second")) == {"text": "of the second life", "more": 3}
        assert (await device.value("common")) == {"text": "old", "more": 3}
        assert "by the attic" in await keys(device)


async def test_both_say_what_is_in_doubt_and_who_does_what(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    laptop, origin = await long_ago(desk, laptop)

    async def nothing() -> bool:
        return False

    def waits(device: Device) -> bool:
        session = device.switchboard.sessions(device.space)
        return bool(session) and session[0].forks.goes_over is not None

    wire.connect(desk, laptop)
    for device in (desk, laptop):
        await until(lambda device=device: device.switchboard.sessions(device.space))  # type: ignore[misc] # mypy cannot infer it
        monkeypatch.setattr(device.switchboard.sessions(device.space)[0].forks, "recopy", nothing)
    await until(lambda: waits(desk) and waits(laptop))
    for device, other in ((desk, laptop), (laptop, desk)):
        status = peer(device, other)
        assert (
            status.reason == f"perhaps two histories of laptop: the log of that time is gone (origin {origin.hex()}, 7)"
        )
    assert peer(desk, laptop).next_step.startswith("That device takes in a copy of this one")
    assert peer(laptop, desk).next_step.startswith("This device takes in a copy of that one")


async def test_an_honest_copy_of_whose_place_nobody_knows_loses_nothing_either(
    two: Two, wire: Wire, until: Until
) -> None:
    """It was away, and what it heard last ends where no end is kept; what it wrote itself meanwhile is there, too."""
    desk, laptop = two
    for number in range(3):
        await desk.put(f"note {number}", {"n": number})
    await desk.tell(laptop)
    await desk.put("note 0", {"n": 10})
    await desk.put("more", {"n": 4})
    await laptop.patch("note 1", set={"n": 11})
    await trim(desk)
    await heal(until, wire, desk, laptop)
    for device in (desk, laptop):
        assert await keys(device) == {"note 0", "note 1", "note 2", "more"}
        listed = await Conflicts(device.space).list(collection=None, key="note 1", limit=10, cursor=None)
        (conflict,) = listed.conflicts
        assert {value.value for value in conflict.values} == {1, 11}, "nobody can tell that the laptop had seen it"


async def test_what_was_deleted_since_an_old_backup_stays_deleted(
    two: Two, wire: Wire, until: Until, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """Long after the log of that time has gone: where each of its runs ended is still known."""
    desk, laptop = two
    for number in range(3):
        await desk.put(f"desk {number}", {"n": number})
        await laptop.put(f"laptop {number}", {"n": number})
        await desk.tell(laptop)
        await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    await desk.delete("desk 1")
    await desk.tell(laptop)
    await laptop.delete("laptop 1")
    await laptop.patch("desk 2", set={"n": 12})
    await laptop.tell(desk)
    for number in range(20):
        await desk.put("counter", {"n": number})
    desk.space.presence.note_acks(laptop.id, desk.clock_now())
    desk.housekeeping.history_days = lambda _: 0
    await desk.housekeeping.tidy(61 * DAY_MS)
    assert desk.space.copy.horizon() == desk.clock_now()
    laptop = await set_back(laptop, past)
    await laptop.put("new", {"n": 1})
    await heal(until, wire, desk, laptop)
    for device in (desk, laptop):
        assert await keys(device) == {"desk 0", "desk 2", "laptop 0", "laptop 2", "counter", "new"}
        assert (await Conflicts(device.space).list(collection=None, key=None, limit=10, cursor=None)).conflicts == []
    assert not any(event["event"] == "history in doubt" for event in log_events())


async def test_doubt_that_both_can_dispel_ends_with_a_new_session(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """A snapshot tells some ends; asked for all of them, its maker knows the place."""
    desk, laptop = two
    for number in range(12):
        await desk.put(f"{number}", {"n": number})
        if number == 5:
            await desk.tell(laptop)
    place = laptop.clock_now()
    assert sum(place.values()) == 6
    desk.space.presence.note_acks(laptop.id, place)
    await trim(desk)
    real = snapshot_reading._thinned
    hidden = [True]

    def thinned(known: list[int], standing: Any) -> list[int]:
        return [seq for seq in real(known, standing) if not hidden[0] or seq != 6]

    monkeypatch.setattr(snapshot_reading, "_thinned", thinned)
    link = meet(wire, desk, laptop)
    link()
    await until(lambda: any(event["event"] == "history in doubt" for event in log_events()))
    hidden[0] = False
    await heal(until, wire, desk, laptop)
    assert not any(event["event"] == "copy set aside" for event in log_events())


async def test_of_many_ends_a_snapshot_tells_those_at_which_others_stand(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a copy that is merely behind could not tell that it is on the same history."""
    monkeypatch.setattr(snapshot_reading, "ENDS_PER_ORIGIN", 4)
    desk, laptop = two
    for number in range(9):
        await desk.put(f"{number}", {"n": number})
        if number == 1:
            await desk.tell(laptop)
    with pytest.raises(Doubt):
        await take(laptop, await made(desk))
    desk.space.presence.note_acks(laptop.id, laptop.clock_now())
    assert await take(laptop, await made(desk))
    assert laptop.clock_now() == desk.clock_now()


async def test_what_waits_while_a_copy_is_replaced_is_not_judged_by_what_was_known_of_the_one_before(
    desk: Device, make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop and the attic held the second life, and the attic goes on in it; of the first it has seen nothing."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    laptop, _ = await long_ago(desk, laptop, attic)
    await laptop.tell(attic)
    wire.connect(laptop, attic)
    await until(lambda: peer(laptop, attic).state == "in sync")
    snapshots, commits = laptop.space.store.snapshots, laptop.space.commits
    begun, goes_on, waiting = asyncio.Event(), asyncio.Event(), asyncio.Event()
    replace, take_runs = snapshots.replace, commits.take

    async def slowly(*given: Any) -> Any:
        begun.set()
        await goes_on.wait()
        return await replace(*given)

    async def taking(*given: Any) -> None:
        waiting.set()
        await take_runs(*given)

    monkeypatch.setattr(snapshots, "replace", slowly)
    monkeypatch.setattr(commits, "take", taking)
    wire.connect(desk, laptop)
    await begun.wait()
    await attic.patch("edited", set={"text": "attic"})
    await waiting.wait()
    goes_on.set()
    await heal(until, wire, desk, laptop, attic)
    for device in (desk, laptop, attic):
        listed = await Conflicts(device.space).list(collection=None, key="edited", limit=10, cursor=None)
        (conflict,) = [one for one in listed.conflicts if one.kind == "field"]
        assert {value.value for value in conflict.values} == {"first", "second", "attic"}, device.name


async def test_what_others_had_of_the_history_before_dispels_no_doubt_about_the_one_in_its_place(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """The attic said on a link that it has what the laptop had. Then it is met on a relay alone."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    laptop, origin = await long_ago(desk, laptop, attic)
    await laptop.tell(attic)
    near, _ = wire.connect(laptop, attic)
    await until(lambda: laptop.space.presence.peers[attic.id].acks.get(origin) == 7)
    await near.close(1000, "over")
    await until(lambda: not laptop.switchboard.links)
    positions = attic.space.copy.positions()
    await laptop.space.forks.heard_on_relay("cloud", attic.id, positions)
    assert laptop.space.forks.on_relay(attic.id) is None
    await heal(until, wire, desk, laptop)
    for again in (False, True):
        laptop = await laptop.reopen() if again else laptop
        await laptop.space.forks.heard_on_relay("cloud", attic.id, positions)
        (found,) = laptop.space.forks.seen_on("cloud")
        assert (found.peer, found.origin, found.doubtful) == (attic.id, origin, True)
