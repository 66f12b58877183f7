"""What is done now and then: history is forgotten by daemon time, secrets change with the members."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from peerd.core.roster import compose, epochs
from peerd.engine.upkeep import housekeeping, small_steps
from peerd.errors import DiskFull, StoreClosed

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands, MakeDevice, Pipe, Until, Wire

DAY_MS = 24 * 3600 * 1000
Two = tuple["Device", "Device"]


async def remembered(device: Device, key: str = "a") -> int:
    """How many dropped values of a record the local history holds."""
    past = await device.space.store.read(lambda transaction: transaction.past(("notes", key)))
    return sum(len(values) for values in past.values())


@asynccontextmanager
async def running(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- history --------------------------------------------------------------------------------------------


async def test_history_is_forgotten_after_its_days(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    await desk.housekeeping.tidy(20 * DAY_MS)
    await desk.put("a", {"x": 3})
    await desk.housekeeping.tidy(9 * DAY_MS)
    assert await remembered(desk) == 2
    await desk.housekeeping.tidy(2 * DAY_MS)
    assert await remembered(desk) == 1
    await desk.housekeeping.tidy(20 * DAY_MS)
    assert await remembered(desk) == 0
    assert await desk.value("a") == {"x": 3}


async def test_a_wall_clock_that_jumps_forgets_nothing(desk: Device, clock: Hands) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    clock.now_ms += 13 * 365 * DAY_MS
    await desk.housekeeping.tidy(3_600_000)
    assert await remembered(desk) == 1


async def test_each_space_has_its_own_days(desk: Device) -> None:
    """The setting is asked for by name, every time: it may have been reloaded."""
    days = {"home": 3}
    desk.housekeeping.history_days = days.__getitem__
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    await desk.housekeeping.tidy(4 * DAY_MS - 1)
    assert await remembered(desk) == 0
    await desk.put("a", {"x": 3})
    days["home"] = 30
    await desk.housekeeping.tidy(4 * DAY_MS)
    assert await remembered(desk) == 1


async def test_a_mass_of_old_history_goes_at_once(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever writes more in an hour than is forgotten at once would fill the disk."""
    monkeypatch.setattr(small_steps, "FIRST_SIZE", 3)
    monkeypatch.setattr(small_steps, "MAX_SIZE", 3)
    for number in range(20):
        await desk.put("a", {"x": number})
    await desk.housekeeping.tidy(31 * DAY_MS)
    assert await remembered(desk) == 0


async def test_once_an_hour_it_is_done_for_the_time_that_passed(
    desk: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Time in suspend is no time of the daemon."""
    passed: list[int] = []

    async def tidy(elapsed_ms: int) -> None:
        passed.append(elapsed_ms)

    monkeypatch.setattr(housekeeping, "LOOK_S", 0.001)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.001)
    monkeypatch.setattr(desk.housekeeping, "tidy", tidy)
    async with running(desk.housekeeping.run):
        await until(lambda: passed)
        clock.slept_s += 7_200
        clock.pass_s(3_600)
        await until(lambda: sum(passed) > 0)
        clock.pass_s(1_800)
        await until(lambda: sum(passed) > 3_600_000)
    assert sum(passed) == 5_400_000
    assert housekeeping.EVERY_S >= 0.001


async def test_it_is_done_when_it_is_asked_for(desk: Device, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    done: list[int] = []

    async def tidy(elapsed_ms: int) -> None:
        done.append(elapsed_ms)

    monkeypatch.setattr(desk.housekeeping, "tidy", tidy)
    async with running(desk.housekeeping.run):
        for count in (1, 2):
            desk.housekeeping.soon()
            await until(lambda count=count: len(done) == count)  # type: ignore[misc] # mypy cannot infer it


async def test_whoever_stays_linked_is_seen(two: Two, wire: Wire, until: Until) -> None:
    """However long that is, while nothing has to be said."""
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: desk.switchboard.sessions(desk.space))
    for _ in range(3):
        await desk.housekeeping.tidy(59 * DAY_MS)
        assert desk.space.presence.active() == {desk.id, laptop.id}


async def test_a_space_that_cannot_be_tidied_stops_no_other(
    desk: Device, monkeypatch: pytest.MonkeyPatch, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    home = desk.space
    work = await desk.spaces.found("work")
    desk.spaces.by_id = {work.id: work, home.id: home}

    async def full(*_: int) -> int:
        raise DiskFull("no space left")

    monkeypatch.setattr(work.store.upkeep, "note_age", full)
    await desk.housekeeping.tidy(31 * DAY_MS)
    del desk.spaces.by_id[work.id]
    assert await remembered(desk) == 0
    (event,) = [one for one in log_events() if one["event"] == "housekeeping failed"]
    assert (event["space"], event["code"], event["cause"]) == ("work", "disk-full", "no space left")
    desk.spaces.by_id[work.id] = work


async def test_a_space_that_is_closed_meanwhile_is_no_failure(
    desk: Device, monkeypatch: pytest.MonkeyPatch, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """As when it is rebuilt."""
    asked: list[object] = []

    async def closed(age: object) -> int:
        asked.append(age)
        raise StoreClosed("closed")

    monkeypatch.setattr(desk.space.store.upkeep, "note_age", closed)
    await desk.housekeeping.tidy(DAY_MS)
    assert len(asked) == 1
    assert [one for one in log_events() if one["level"] == "warning"] == []


async def test_what_is_known_of_peers_outlives_a_crash(two: Two) -> None:
    desk, laptop = two
    desk.space.presence.note_seen(laptop.id, name="laptop", addresses=(("192.0.2.7", 7337),))
    await desk.housekeeping.tidy(0)
    assert saved_peers(desk) == [(laptop.id, "laptop")]


def saved_peers(device: Device) -> list[tuple[bytes, str]]:
    (path,) = (device.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT device, name FROM peer").fetchall()


async def test_a_new_address_is_kept_soon(two: Two, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in the hour after two devices were paired by hand must not part them for ever."""
    monkeypatch.setattr(housekeeping, "SAVE_PEERS_S", 0.0)
    desk, laptop = two
    desk.space.presence.peer_known = partial(desk.housekeeping.peer_known, desk.space)
    desk.housekeeping.peer_known(desk.space, b"somebody who is gone again")
    async with running(desk.housekeeping.save_peers):
        desk.space.presence.note_seen(laptop.id, name="laptop", addresses=(("192.0.2.7", 7337),))
        await until(lambda: saved_peers(desk) == [(laptop.id, "laptop")])
        desk.space.presence.note_seen(laptop.id)
        assert not desk.housekeeping._unsaved, "being seen again is no news"
        desk.space.presence.note_seen(laptop.id, name="desk's laptop")
        await until(lambda: saved_peers(desk) == [(laptop.id, "desk's laptop")])


async def test_peers_that_find_no_room_stop_nothing(two: Two, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "SAVE_PEERS_S", 0.0)
    desk, laptop = two
    desk.space.presence.peer_known = partial(desk.housekeeping.peer_known, desk.space)
    asked = []

    async def full(peer: object) -> None:
        asked.append(peer)
        raise DiskFull("no room")

    monkeypatch.setattr(desk.space.store, "save_peer", full)
    async with running(desk.housekeeping.save_peers):
        desk.space.presence.note_seen(laptop.id, name="laptop")
        await until(lambda: asked)
        monkeypatch.undo()
        monkeypatch.setattr(housekeeping, "SAVE_PEERS_S", 0.0)
        desk.space.presence.note_seen(laptop.id, name="new laptop")
        await until(lambda: saved_peers(desk) == [(laptop.id, "new laptop")])


async def test_a_parked_record_whose_author_is_gone_is_restored_in_time(two: Two, clock: Hands, until: Until) -> None:
    """Its author was about when it was parked, and has not been seen for 60 days since."""
    desk, laptop = two
    laptop.space.presence.note_seen(desk.id)
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await laptop.delete("a")
    await desk.patch("a", set={"x": 1})
    await desk.tell(laptop)
    await laptop.housekeeping.tidy(0)
    await until(lambda: laptop.space._parked_task is not None and laptop.space._parked_task.done())
    assert laptop.space.copy.visible == 0
    clock.pass_s(61 * 24 * 3600)
    await laptop.housekeeping.tidy(61 * DAY_MS)
    await until(lambda: laptop.space.copy.visible == 1)
    assert await laptop.value("a") == {"x": 1, "y": 0}


# --- our clock ------------------------------------------------------------------------------------------


async def test_without_a_peer_our_clock_has_no_witness(desk: Device) -> None:
    said: list[bool] = []
    desk.housekeeping.set_agreed = said.append
    desk.housekeeping.judge_clock()
    assert said == [False]


@pytest.mark.parametrize(("off_s", "agrees"), [(0, True), (119, True), (-119, True), (121, False), (-121, False)])
async def test_a_peer_within_two_minutes_agrees_for_seven_days(
    desk: Device, make: MakeDevice, clock: Hands, wire: Wire, until: Until, off_s: int, *, agrees: bool
) -> None:
    said: list[bool] = []
    desk.housekeeping.set_agreed = said.append
    other = type(clock)()
    other.pass_s(off_s)
    laptop = make("laptop", clock=other)
    await desk.admit(laptop)
    wire.connect(desk, laptop)
    await until(lambda: laptop.id in desk.switchboard.links)
    desk.housekeeping.judge_clock()
    assert said == [agrees]
    pipe: Pipe = desk.switchboard.links[laptop.id].link  # type: ignore[assignment] # it is one of ours
    await pipe.close(1000, "cut")
    await until(lambda: not desk.switchboard.links)
    for seconds, expected in [(0, agrees), (7 * 24 * 3600 - 1, agrees), (2, False)]:
        clock.pass_s(seconds)
        desk.housekeeping.judge_clock()
        assert said[-1] == expected


async def test_clocks_are_asked_for_again(desk: Device, make: MakeDevice, wire: Wire, until: Until) -> None:
    """A clock that was set right after the link came up counts from the next hour on."""
    other = type(desk.clock)()
    other.pass_s(500)
    laptop = make("laptop", clock=other)
    await desk.admit(laptop)
    wire.connect(desk, laptop)
    await until(lambda: laptop.id in desk.switchboard.links)
    assert desk.switchboard.links[laptop.id].offset_ms == 500_000
    other.pass_s(-500)
    await desk.housekeeping.tidy(0)
    await until(lambda: desk.switchboard.links[laptop.id].offset_ms == 0)


# --- secrets --------------------------------------------------------------------------------------------


def current(device: Device) -> bytes | None:
    epoch = epochs.current(device.space.roster)
    return epoch.id if epoch is not None else None


def knows_current(device: Device) -> bool:
    epoch = current(device)
    return epoch is not None and epoch in device.spaces.secrets(device.space)


@pytest.fixture
async def three(desk: Device, make: MakeDevice) -> tuple[Device, Device, Device]:
    laptop, tablet = make("laptop"), make("tablet")
    await desk.admit(laptop, tablet)
    return desk, laptop, tablet


async def test_a_removal_is_followed_by_a_new_secret(three: tuple[Device, Device, Device]) -> None:
    desk, laptop, tablet = three
    before = current(desk)
    await desk.spaces.remove(desk.space, tablet.id)
    await desk.tell(laptop, tablet)
    assert current(desk) not in {None, before}
    assert (knows_current(desk), knows_current(laptop)) == (True, True)
    assert current(desk) not in tablet.spaces.secrets(tablet.space)


async def test_whoever_hears_of_a_removal_tends_the_secret(three: tuple[Device, Device, Device], until: Until) -> None:
    """The one who removed was switched off before it could."""
    desk, laptop, tablet = three
    removal = compose.remove(desk.space.roster, desk.id, tablet.id, {})
    await desk.space.learn([compose.signed(removal, desk.keys.sign)])
    async with running(laptop.housekeeping.tend_secrets):
        laptop.space.on_roster.append(lambda _: laptop.housekeeping.roster_changed())
        await desk.tell(laptop)
        assert current(laptop) is None
        await until(lambda: current(laptop) is not None)
    await laptop.tell(desk)
    assert knows_current(desk)
    assert knows_current(laptop)


async def test_a_space_whose_disk_is_full_keeps_no_other_from_its_secret(
    three: tuple[Device, Device, Device], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _, tablet = three
    full, work = desk.space, await desk.spaces.found("work")
    await desk.spaces.admit(work, tablet.spaces.card())
    for space in (full, work):
        removal = compose.remove(space.roster, desk.id, tablet.id, {})
        await space.learn([compose.signed(removal, desk.keys.sign)])
        assert epochs.current(space.roster) is None
    monkeypatch.setattr(full.store, "add_statements", Mock(side_effect=DiskFull("no room")))
    async with running(desk.housekeeping.tend_secrets):
        desk.housekeeping.roster_changed()
        await until(lambda: epochs.current(work.roster) is not None)
        monkeypatch.undo()
        desk.housekeeping.roster_changed()
        await until(lambda: epochs.current(full.roster) is not None)


async def test_once_an_hour_the_secret_is_looked_at_too(three: tuple[Device, Device, Device]) -> None:
    desk, _, tablet = three
    removal = compose.remove(desk.space.roster, desk.id, tablet.id, {})
    await desk.space.learn([compose.signed(removal, desk.keys.sign)])
    assert current(desk) is None
    await desk.housekeeping.tidy(0)
    assert knows_current(desk)


async def test_a_secret_is_stated_again_for_who_was_admitted_meanwhile(
    three: tuple[Device, Device, Device], make: MakeDevice
) -> None:
    """The laptop admitted a phone while the desk removed the tablet: nobody has sealed the new secret to the phone."""
    desk, laptop, tablet = three
    phone = make("phone")
    await laptop.admit(phone)
    await desk.spaces.remove(desk.space, tablet.id)
    await desk.tell(laptop, phone)
    await laptop.tell(desk)
    assert not knows_current(phone)
    before = current(laptop)
    await laptop.housekeeping.tidy(0)
    await laptop.tell(phone)
    assert knows_current(phone)
    assert current(phone) == before
    statements = len(laptop.space.roster.statements)
    await laptop.housekeeping.tidy(0)
    assert len(laptop.space.roster.statements) == statements, "once is enough"


async def test_who_is_no_admin_leaves_secrets_alone(desk: Device, make: MakeDevice) -> None:
    reader, tablet = make("reader"), make("tablet")
    await desk.spaces.admit(desk.space, reader.spaces.card(), "member")
    await reader.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    await desk.spaces.admit(desk.space, tablet.spaces.card())
    removal = compose.remove(desk.space.roster, desk.id, tablet.id, {})
    await desk.space.learn([compose.signed(removal, desk.keys.sign)])
    await desk.tell(reader)
    await reader.housekeeping.tidy(0)
    assert current(reader) is None


# --- when -----------------------------------------------------------------------------------------------


async def test_it_is_time_once_an_hour_and_when_much_may_go(
    desk: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Where nothing is kept for its age, a burst of changes does not wait for the hour; and nothing does nothing."""
    monkeypatch.setattr(housekeeping, "MANY", 5)
    keeper = desk.housekeeping
    days = {"home": 30}
    keeper.history_days = days.__getitem__
    monkeypatch.setattr(housekeeping, "LOOK_S", 0.001)
    told: list[int] = []
    tidy = keeper.tidy

    async def counted(elapsed_ms: int) -> None:
        told.append(elapsed_ms)
        await tidy(elapsed_ms)

    monkeypatch.setattr(keeper, "tidy", counted)

    async def times(count: int) -> None:
        await until(lambda: len(told) >= count and not keeper.is_due())
        assert len(told) == count

    async with running(keeper.run):
        await times(1)
        for number in range(5):
            await desk.put(f"{number}", {"x": 1})
        await times(1)
        days["home"] = 0
        clock.pass_s(60)
        await times(2)
        assert told[1] == 60_000
        await until(lambda: desk.space.copy.horizon() == desk.clock_now())
        await desk.put("a", {"x": 1})
        await times(2)
        clock.pass_s(3_600)
        await times(3)
        keeper.soon()
        await times(4)


async def test_what_is_acknowledged_long_after_a_burst_does_not_wait_for_the_hour(
    two: Two, wire: Wire, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """And while it is not acknowledged nothing is done again and again."""
    monkeypatch.setattr(housekeeping, "MANY", 5)
    desk, laptop = two
    keeper = desk.housekeeping
    keeper.history_days = lambda _: 0
    for number in range(5):
        await desk.put(f"{number}", {"x": 1})
    await keeper.tidy(60_000)
    assert not desk.space.copy.horizon()
    assert not keeper.is_due()
    wire.connect(desk, laptop)
    await until(keeper.is_due)
    await keeper.tidy(60_000)
    assert desk.space.copy.horizon() == desk.clock_now()
    assert not keeper.is_due()
