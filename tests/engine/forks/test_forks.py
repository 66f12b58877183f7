"""A copy that was set back in time, its mark with it, wrote before it met the others: found, named, and healed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from peerd.core.batch import Fork
from peerd.core.device_id import format_device_id
from peerd.engine.conflicts import Conflicts
from peerd.engine.links.switchboard import Switchboard
from peerd.errors import StoreError
from peerd.protocol.control.reports import PeerStatus
from tests.engine.snapshots.test_snapshots import made, take
from tests.engine.tables.test_runner import TASKS, Bound

if TYPE_CHECKING:
    from peerd.store.space import SpaceStore
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Two = tuple["Device", "Device"]
STALLED_S = 20.0
IN_ALL_S = 300.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the snapshot may take in another one meanwhile: then it is asked for again after half a minute."""
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)


class Past:
    """What the files of a device were, to be written back into the same files."""

    def __init__(self, device: Device) -> None:
        self._files = {
            path: path.read_bytes()
            for folder in ("spaces", "marks")
            for path in (device.folder / folder).iterdir()
            if path.suffix in {".db", ".mark"}
        }

    def come_back(self) -> None:
        for path, data in self._files.items():
            path.write_bytes(data)


async def past_of(device: Device) -> tuple[Past, Device]:
    """The device as it is now, and after a restart."""
    await device.close()
    past = Past(device)
    return past, await again(device)


async def again(device: Device) -> Device:
    return await device.reopen()


async def set_back(device: Device, past: Past) -> Device:
    await device.close()
    past.come_back()
    return await again(device)


async def keys(device: Device) -> set[str]:
    page = await device.records.list("notes", "", 1000, None)
    return {record.key for record in page.records}


def peer(of: Device, who: Device) -> PeerStatus:
    return next(one for one in of.statuses.peers.of(of.space) if one.device == format_device_id(who.id))


async def forked(desk: Device, laptop: Device, *others: Device) -> Device:
    """The laptop wrote, was set back, and wrote again; the desk has the first, the laptop the second. What is common:
    common, edited, gone.
    """
    for name in ("common", "edited", "gone"):
        await laptop.put(name, {"text": "old", "more": 1})
    await laptop.tell(desk, *others)
    past, laptop = await past_of(laptop)
    await laptop.put("first", {"text": "of the first life"})
    await laptop.patch("edited", set={"text": "first"})
    await laptop.tell(desk)
    laptop = await set_back(laptop, past)
    await laptop.put("second", {"text": "of the second life"})
    await laptop.patch("edited", set={"text": "second"})
    await laptop.delete("gone")
    await laptop.put("third", {"text": "and more"})
    return laptop


async def agreed(until: Until, *devices: Device) -> None:
    first = devices[0]

    def equal() -> bool:
        return all(
            one.clock_now() == first.clock_now()
            and one.space.copy.digest == first.space.copy.digest
            and one.space.recopying.pending is None
            for one in devices
        )

    await until(equal)


def meet(wire: Wire, *devices: Device) -> Callable[[], None]:
    """Everybody is linked with everybody, again and again: links end when a copy is replaced."""

    def link() -> None:
        for number, one in enumerate(devices):
            for other in devices[:number]:
                if other.id not in one.switchboard.links:
                    wire.connect(one, other)

    return link


async def linked_until(until: Until, link: Callable[[], None], condition: Callable[[], object]) -> None:
    def met() -> bool:
        link()
        return bool(condition())

    await until(met)


def how_it_stands(*devices: Device) -> list[tuple[Any, ...]]:
    """Of each: what it has, and what it is about to do about its forks."""
    return [
        (
            one.clock_now(),
            one.space.copy.digest,
            one.space.recopying.pending,
            one.space.forks.falls,
            one.space.forks.views(),
            one.space.roster.digest(),
        )
        for one in devices
    ]


async def goes_on_until_healed(*devices: Device, meanwhile: Callable[[], None] = lambda: None) -> None:
    """All the same, and no fork among them. It may be slow, as on a busy machine, as long as something changes. Their
    clock runs meanwhile: what came from another one is held back for a moment. `meanwhile` is called again and again.
    """
    ids = {one.id for one in devices}

    def is_healed() -> bool:
        first = devices[0]
        return all(
            one.clock_now() == first.clock_now()
            and one.space.copy.digest == first.space.copy.digest
            and one.space.recopying.pending is None
            and not one.space.forks.falls
            and not any(fork.peer in ids for fork in one.space.forks.seen())
            for one in devices
        )

    loop = asyncio.get_running_loop()
    clocks = list({id(one.clock): one.clock for one in devices}.values())
    ends_s, before, called_s, passed_s = loop.time() + IN_ALL_S, None, 0.0, loop.time()
    async with asyncio.timeout(STALLED_S) as patience:
        while not is_healed():
            now = how_it_stands(*devices)
            if now != before:
                before = now
                patience.reschedule(min(ends_s, loop.time() + STALLED_S))
            if loop.time() - called_s > 0.3:
                called_s = loop.time()
                meanwhile()
            await asyncio.sleep(0.01)
            for clock in clocks:
                clock.pass_s(loop.time() - passed_s)
            passed_s = loop.time()


async def heal(_until: Until, wire: Wire, *devices: Device) -> None:
    await goes_on_until_healed(*devices, meanwhile=meet(wire, *devices))


async def check_values(*devices: Device, still: AbstractSet[str] = frozenset()) -> None:
    for device in devices:
        assert await keys(device) == {"common", "edited", "first", "second", "third", *still}
        listed = await Conflicts(device.space).list(collection=None, key="edited", limit=10, cursor=None)
        (conflict,) = [one for one in listed.conflicts if one.kind == "field"]
        assert {value.value for value in conflict.values} == {"first", "second"}


async def test_two_of_them_find_name_and_heal_it(
    two: Two, wire: Wire, until: Until, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """Each value of either side is there, and what one side deleted and the other left alone is gone."""
    desk, laptop = two
    laptop = await forked(desk, laptop)
    await heal(until, wire, desk, laptop)
    await check_values(desk, laptop)
    said = {event["event"] for event in log_events()}
    assert {"fork found", "fork closed", "recopy begins", "copy set aside", "old copy taken in"} <= said
    (fork,) = desk.space.roster.closed_forks
    assert {place[fork.origin] for place in desk.space.forks.places()} == {fork.seq, fork.stands.seq, fork.falls[0].seq}
    assert desk.space.roster.is_closed(fork.origin)
    assert fork.origin in desk.clock_now(), "it stays in clocks for ever"
    holder = next(device for device in (desk, laptop) if (device.folder / "set-aside").exists())
    assert len(list((holder.folder / "set-aside").glob("*.db"))) == 1
    await laptop.put("later", {"text": "goes on"})
    await until(lambda: desk.clock_now() == laptop.clock_now())
    assert laptop.space.commits.own_origin != fork.origin


async def test_everybody_converges_whichever_side_they_hold(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """A third and a fourth that hold one variant each, and wrote on it; and a fifth that has neither."""
    laptop, third, fourth, fifth = (make(name) for name in ("laptop", "third", "fourth", "fifth"))
    await desk.admit(laptop, third, fourth, fifth)
    laptop = await forked(desk, laptop, third, fourth, fifth)
    await desk.tell(third)
    await laptop.tell(fourth)
    await third.put("by the third", {"n": 3})
    await fourth.put("by the fourth", {"n": 4})
    await fourth.patch("second", set={"more": 4})
    assert await keys(fifth) == {"common", "edited", "gone"}
    everybody = (desk, laptop, third, fourth, fifth)
    await heal(until, wire, *everybody)
    for device in everybody:
        expected = {"common", "edited", "first", "second", "third", "by the third", "by the fourth"}
        assert await keys(device) == expected, device.name
        assert (await device.value("second"))["more"] == 4
        listed = await Conflicts(device.space).list(collection=None, key="edited", limit=10, cursor=None)
        (conflict,) = [one for one in listed.conflicts if one.kind == "field"]
        assert {value.value for value in conflict.values} == {"first", "second"}


async def test_what_a_link_of_before_sees_last_counts_for_nothing(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stand in another link's place already, and hear late of a copy that is no more."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    monkeypatch.setattr(Switchboard, "_drop", lambda *_: None)  # it takes its time
    before, _ = wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == "in sync")
    (session,) = desk.switchboard.sessions(desk.space)
    wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == "in sync" and session not in desk.switchboard.sessions(desk.space))
    (origin,) = desk.clock_now()
    session.forks.found(origin, 1, doubtful=False)
    await until(lambda: desk.space.forks.are_seen)
    await before.close(1000, "over")
    await until(lambda: not desk.space.forks.are_seen)
    assert peer(desk, laptop).state == "in sync"


async def test_who_has_neither_refuses_what_falls(desk: Device, make: MakeDevice, wire: Wire, until: Until) -> None:
    """And takes what stands, by the log."""
    laptop, fifth = make("laptop"), make("fifth")
    await desk.admit(laptop, fifth)
    laptop = await forked(desk, laptop, fifth)
    past_positions = dict(laptop.clock_now())
    falling = [(dict(device.space.copy.origins), device) for device in (desk, laptop)]
    wire.connect(desk, laptop)
    await until(lambda: laptop.space.roster.closed_forks)
    (fork,) = laptop.space.roster.closed_forks
    await fifth.space.learn(laptop.space.roster.statements)
    before = fifth.clock_now()
    assert before[fork.origin] == fork.seq
    assert past_positions[fork.origin] > fork.seq
    assert falling
    await heal(until, wire, desk, laptop, fifth)
    await check_values(desk, laptop, fifth)


async def test_a_late_fork_is_found_at_a_position_before_the_heads(two: Two, wire: Wire, until: Until) -> None:
    """Both went on since, in one run here and in several there, so that no end of the one is an end of the other."""
    desk, laptop = two
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    await asyncio.gather(*(laptop.put(f"a{number}", {"n": number}) for number in range(4)))
    await laptop.tell(desk)
    laptop = await set_back(laptop, past)
    for number in range(2):
        await laptop.put(f"b{number}", {"n": number})
    await heal(until, wire, desk, laptop)
    for device in (desk, laptop):
        assert await keys(device) == {"common", *(f"a{number}" for number in range(4)), "b0", "b1"}
    (fork,) = desk.space.roster.closed_forks
    assert fork.seq == 1


async def test_a_snapshot_that_ends_within_a_run_of_ours_is_of_another_history(two: Two) -> None:
    """Runs travel whole, so there is no hash to compare, and none is needed."""
    desk, laptop = two
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    for number in range(2):
        await laptop.put(f"b{number}", {"n": number})
    await laptop.tell(desk)
    laptop = await set_back(laptop, past)
    await asyncio.gather(*(laptop.put(f"a{number}", {"n": number}) for number in range(4)))
    with pytest.raises(Fork) as caught:
        await take(laptop, await made(desk))
    assert caught.value.seq == 3
    assert await keys(laptop) == {"common", *(f"a{number}" for number in range(4))}


async def test_a_third_history_is_known_by_the_run_that_stands_and_is_not_merged(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """The laptop was set back twice. The close names two variants; where the third ends, none of them does."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk, attic)
    past, laptop = await past_of(laptop)
    await asyncio.gather(*(laptop.put(f"a{number}", {"n": number}) for number in range(4)))
    await laptop.tell(desk)
    laptop = await set_back(laptop, past)
    await asyncio.gather(*(laptop.put(f"b{number}", {"n": number}) for number in range(4)))
    await laptop.tell(attic)
    laptop = await set_back(laptop, past)
    await heal(until, wire, desk, attic)
    for number in range(2):
        await laptop.put(f"c{number}", {"n": number})
    await laptop.space.learn(desk.space.roster.statements)
    for other in (desk, attic):
        with pytest.raises(Fork):
            await take(laptop, await made(other))
    await heal(until, wire, desk, attic, laptop)
    for device in (desk, attic, laptop):
        some = {f"{life}{number}" for life, count in (("a", 4), ("b", 4), ("c", 2)) for number in range(count)}
        assert await keys(device) == {"common", *some}


def forget(device: Device) -> None:
    """As if the log of what `forked` wrote had been let go long ago."""
    (path,) = (device.folder / "spaces").glob("*.db")
    origin = max(device.clock_now(), key=lambda one: device.clock_now()[one])
    with sqlite3.connect(path) as connection:
        connection.execute(
            "DELETE FROM run WHERE origin = (SELECT ref FROM origin WHERE id = ?) AND last < 5", (origin,)
        )
    connection.close()


@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_fork_is_named_until_it_is_healed(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool
) -> None:
    """Both devices, both hashes, the origin and where; and what comes next. Here hashes are gone: whoever is less far
    goes over, or a person decides.
    """
    desk, laptop = two
    if by_hand:
        monkeypatch.setattr("peerd.engine.forks.fork_talk.ForkTalk.goes_over", None)
    laptop = await forked(desk, laptop)
    forget(desk)
    forget(laptop)
    if not by_hand:
        await heal(until, wire, desk, laptop)
        await check_values(desk, laptop, still={"gone"})
        return
    wire.connect(desk, laptop)
    await until(lambda: all("peerctl recopy" in peer(*pair).next_step for pair in ((desk, laptop), (laptop, desk))))
    (view,) = desk.space.forks.views()
    (other,) = laptop.space.forks.views()
    assert (view.device_name, view.peer_name, other.peer_name) == ("laptop", "laptop", "desk")
    assert (len(view.ours), view.seq, view.shared, view.stands) == (16, 5, None, "")
    assert "two histories of laptop at 5" in peer(laptop, desk).reason
    assert "peerctl recopy home --from desk" in peer(laptop, desk).next_step
    assert (await laptop.statuses.spaces.view(laptop.space)).forks == [other]

    done = await laptop.service.recopy_from("home", format_device_id(desk.id))
    assert done.records == 3
    await heal(until, wire, desk, laptop)
    await check_values(desk, laptop, still={"gone"})  # nobody can tell any more whether the desk had seen it deleted


def asides(devices: Sequence[Device]) -> list[Path]:
    return [path for one in devices for path in (one.folder / "spaces").glob("*.aside-*")]


@pytest.mark.parametrize("after", ["make", "replace", "first write"])
async def test_a_recopy_survives_a_crash_at_any_step(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Set aside and not replaced; replaced and nothing written; and in the middle of writing again."""
    desk, laptop = two
    laptop = await forked(desk, laptop)
    monkeypatch.setattr("peerd.store.asides.ROWS_AT_ONCE", 2)
    crashed: list[Device] = []

    def crash(device: Device) -> NoReturn:
        crashed.append(device)
        raise asyncio.CancelledError

    for device in (desk, laptop):
        if after == "make":
            made = device.space.store.asides.make

            async def make(made: Any = made, device: Device = device) -> Path:
                await made()
                crash(device)

            monkeypatch.setattr(device.space.store.asides, "make", make)
        if after == "replace":
            monkeypatch.setattr(device.space.recopying, "begin", lambda _, device=device: crash(device))
        if after == "first write":
            write = device.space.recopying._write

            async def writing(*some: Any, write: Any = write, device: Device = device) -> int:
                await write(*some)
                crash(device)

            monkeypatch.setattr(device.space.recopying, "_write", writing)
    wire.connect(desk, laptop)
    await until(lambda: crashed)
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    await cast("SpaceStore", crashed[0].space.store).abandon()
    crashed[0].spaces.by_id.clear()
    devices = [await again(device) for device in (desk, laptop)]
    assert after != "make" or not asides(devices), "what was set aside for nothing"
    await heal(until, wire, *devices)
    await check_values(*devices)
    await until(lambda: not asides(devices))


async def test_an_edit_of_a_row_that_showed_what_falls_hides_nothing_of_what_stands(
    two: Two, wire: Wire, until: Until
) -> None:
    """Both sides wrote the row under one dot. An application that saw the one has not seen the other."""
    desk, laptop = two
    await laptop.put("a", {"title": "old"}, collection=TASKS)
    await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    await laptop.patch("a", collection=TASKS, set={"title": "first"})
    await laptop.tell(desk)
    laptop = await set_back(laptop, past)
    await laptop.patch("a", collection=TASKS, set={"title": "second"})
    bound = {device: Bound(device) for device in (desk, laptop)}
    for one in bound.values():
        await one.begin()
        await one.at_rest()
        await one.runner.stop()
    await heal(until, wire, desk, laptop)
    falls = next(device for device in (desk, laptop) if (device.folder / "set-aside").exists())
    assert bound[falls].file.plain["a"]["title"] == ("first" if falls is desk else "second")
    bound[falls].file.put("a", title="third")
    await bound[falls].again()
    await bound[falls].at_rest()
    listed = await Conflicts(falls.space).list(collection=TASKS, key="a", limit=10, cursor=None)
    (conflict,) = [one for one in listed.conflicts if one.kind == "field"]
    assert {value.value for value in conflict.values} == {"first", "second", "third"}
    await bound[falls].runner.stop()


async def test_what_our_disk_fails_to_set_aside_is_tried_again_on_the_same_link(
    two: Two, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    laptop = await forked(desk, laptop)
    failed: list[str] = []
    for device in (desk, laptop):
        real = device.space.store.asides.make

        async def make(real: Any = real, name: str = device.name) -> Path:
            if name not in failed:
                failed.append(name)
                raise StoreError("no file descriptors are left", code="too-many-files")
            made_so: Path = await real()
            return made_so

        monkeypatch.setattr(device.space.store.asides, "make", make)
    wire.connect(desk, laptop)
    await until(lambda: any((one.folder / "set-aside").exists() for one in (desk, laptop)))
    assert len(failed) == 1
    await heal(until, wire, desk, laptop)
    await check_values(desk, laptop)
