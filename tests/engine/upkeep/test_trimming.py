"""The log goes when everybody who counts has it, and whoever needs what has gone gets on all the same."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerd.engine.cursors import to_word
from peerd.engine.feed import Feed
from peerd.engine.past.history import History, Wanted
from peerd.engine.relay.relays import Holding, SeenThere
from peerd.engine.tables.images import TableImages
from peerd.protocol.control.messages import ChangeRequest
from peerd.protocol.messages import Summary
from peerd.protocol.session import Phase
from tests.engine.growing import MOST, grow
from tests.engine.snapshots.test_snapshots import agree

if TYPE_CHECKING:
    from peerd.protocol.control.messages import ChangeEvent
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire

DAY_MS = 24 * 3600 * 1000
Two = tuple["Device", "Device"]


async def log_of(device: Device) -> list[int]:
    """The positions that are left."""
    return [row.position for row in (await device.space.store.runs_after(0, 1 << 20)).rows]


async def days(device: Device, count: int) -> None:
    await device.housekeeping.tidy(count * DAY_MS)


async def told(device: Device, since: str | None) -> list[ChangeEvent]:
    stream = await Feed(device.space).open(since, follow=False)
    return [event async for batch in stream for event in batch]


async def met(desk: Device, laptop: Device, wire: Wire, until: Until) -> None:
    """Both are linked until they have the same and know it, and then part."""
    wire.connect(desk, laptop)
    for one, other in ((desk, laptop), (laptop, desk)):
        await until(lambda one=one, other=other: one.space.presence.peers[other.id].acks == one.clock_now())  # type: ignore[misc] # mypy cannot infer it
    await until(lambda: desk.clock_now() == laptop.clock_now())
    await apart(desk, laptop, until)


async def apart(desk: Device, laptop: Device, until: Until) -> None:
    for device in (desk, laptop):
        for link in list(device.switchboard.links.values()):
            await link.leave("test")
    await until(lambda: not desk.switchboard.links and not laptop.switchboard.links)


# --- what holds it back ---------------------------------------------------------------------------------


async def test_alone_it_goes_by_age(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await days(desk, 29)
    await desk.put("b", {"x": 1})
    await days(desk, 1)
    assert await log_of(desk) == [1, 2]
    await days(desk, 1)
    assert await log_of(desk) == [2]
    await days(desk, 30)
    assert await log_of(desk) == []
    assert await desk.value("a") == {"x": 1}
    await desk.put("c", {"x": 1})
    assert await log_of(desk) == [3]


async def test_without_history_it_goes_as_soon_as_everybody_has_it(desk: Device) -> None:
    desk.housekeeping.history_days = lambda _: 0
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    await days(desk, 1)
    assert await log_of(desk) == []
    assert await desk.value("a") == {"x": 2}


async def test_a_member_that_lacks_it_holds_it_for_sixty_days(two: Two) -> None:
    """It was admitted and never seen: its days count from then on."""
    desk, _ = two
    await desk.put("a", {"x": 1})
    await days(desk, 59)
    assert await log_of(desk) == [1]
    await days(desk, 1)
    assert await log_of(desk) == []


async def test_a_restart_does_not_make_a_silent_member_younger(two: Two) -> None:
    desk, _ = two
    await desk.put("a", {"x": 1})
    for _ in range(6):
        await days(desk, 10)
        desk = await desk.reopen()
    await days(desk, 0)
    assert await log_of(desk) == []


async def test_being_seen_counts_anew(two: Two) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await days(desk, 59)
    desk.space.presence.note_seen(laptop.id)
    await days(desk, 59)
    assert await log_of(desk) == [1]
    await days(desk, 1)
    assert await log_of(desk) == []


async def test_a_link_that_lasts_for_months_keeps_its_member_among_those_who_count(
    two: Two, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: bool(desk.switchboard.sessions(desk.space)))
    await days(desk, 61)
    assert laptop.id in desk.space.presence.active()
    await apart(desk, laptop, until)
    await days(desk, 61)
    assert laptop.id not in desk.space.presence.active()


async def test_what_every_member_acknowledged_goes(two: Two, wire: Wire, until: Until) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await met(desk, laptop, wire, until)
    await desk.put("b", {"x": 1})
    await days(desk, 31)
    assert await log_of(desk) == [2]
    await days(laptop, 31)
    assert await log_of(laptop) == []


async def test_a_removed_member_holds_nothing(two: Two) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await desk.spaces.remove(desk.space, laptop.id)
    await days(desk, 31)
    assert await log_of(desk) == []


async def test_a_jump_of_the_clock_trims_nothing(two: Two, clock: Hands) -> None:
    """2038 is not sixty days from now."""
    desk, _ = two
    await desk.put("a", {"x": 1})
    await days(desk, 0)
    clock.now_ms += 13 * 365 * DAY_MS
    await desk.housekeeping.tidy(3_600_000)
    assert await log_of(desk) == [1]


async def test_time_off_counts_when_the_clock_is_synchronised(desk: Device, clock: Hands) -> None:
    await desk.put("a", {"x": 1})
    await days(desk, 0)
    clock.tq = 1
    clock.now_ms += 40 * DAY_MS
    desk = await desk.reopen()
    await days(desk, 0)
    assert await log_of(desk) == [1]
    clock.tq = 2
    await days(desk, 0)
    assert await log_of(desk) == []


async def test_time_off_alone_makes_nobody_silent(two: Two, clock: Hands, wire: Wire, until: Until) -> None:
    """Whoever was switched off for months has heard of nobody, and wrote what nobody has: a day is left to meet."""
    desk, laptop = two
    await met(desk, laptop, wire, until)
    await desk.put("a", {"x": 1})
    await days(desk, 0)
    clock.now_ms += 90 * DAY_MS
    desk = await desk.reopen()
    await days(desk, 0)
    assert desk.space.presence.active() == {desk.id, laptop.id}
    assert await log_of(desk) == [1]
    clock.tq = 0
    await days(desk, 1)
    assert desk.space.presence.active() == {desk.id}
    assert await log_of(desk) == []


async def test_time_until_the_stop_counts(desk: Device, clock: Hands) -> None:
    """A daemon that never runs for an hour grows older too."""
    clock.tq = 0
    await desk.put("a", {"x": 1})
    for _ in range(4):
        clock.pass_s(8 * 24 * 3600)
        await desk.housekeeping.note_time()
        desk = await desk.reopen()
    await days(desk, 0)
    assert await log_of(desk) == []


async def test_a_relay_holds_it_until_it_has_it_or_failed_for_sixty_days(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("b", {"x": 1})
    origin = desk.space.commits.own_origin or b""
    held = Holding("nas", {origin: 1}, 0.0)
    desk.housekeeping.holders.holdings = lambda _: [held]
    await days(desk, 31)
    assert await log_of(desk) == [2]
    held = Holding("nas", {origin: 1}, 59 * 24 * 3600.0)
    await days(desk, 0)
    assert await log_of(desk) == [2]
    held = Holding("nas", {origin: 1}, 60 * 24 * 3600.0)
    await days(desk, 0)
    assert await log_of(desk) == []


async def test_what_a_member_says_on_a_relay_is_an_acknowledgement(two: Two) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    seen = SeenThere("nas", 1, desk.clock_now())
    desk.housekeeping.holders.seen = lambda _, device: seen if device == laptop.id else None
    await days(desk, 31)
    assert await log_of(desk) == []


async def test_a_copy_that_went_back_in_time_acknowledges_less(two: Two, wire: Wire, until: Until) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await met(desk, laptop, wire, until)
    desk.space.presence.note_acks(laptop.id, dict.fromkeys(desk.clock_now(), 100))
    await desk.put("b", {"x": 1})
    assert sum(desk.space.presence.peers[laptop.id].acks.values()) == 100
    wire.connect(desk, laptop)
    await until(lambda: desk.space.presence.peers[laptop.id].acks == desk.clock_now())


async def test_a_snapshot_that_is_being_made_holds_the_log(desk: Device) -> None:
    """From before its first part is read until it is done with."""
    desk.housekeeping.history_days = lambda _: 0
    await desk.put("a", {"x": 1})
    await days(desk, 1)
    async with aclosing(desk.space.snapshots.serving.begin_outgoing().parts()) as parts:
        await anext(parts)
        await desk.put("b", {"x": 1})
        await days(desk, 1)
        assert await log_of(desk) == [2]
        async for _ in parts:
            pass
    await days(desk, 1)
    assert await log_of(desk) == []


# --- who reads the log ----------------------------------------------------------------------------------


async def test_a_token_from_before_the_horizon_begins_anew(desk: Device) -> None:
    """One `reset`, the state, and then the feed goes on."""
    await desk.put("a", {"x": 1})
    old = (await told(desk, "now"))[0].token
    await desk.put("b", {"x": 1})
    await days(desk, 31)
    desk = await desk.reopen()
    await desk.put("c", {"x": 1})
    events = await told(desk, old)
    assert [(one.kind, one.key) for one in events] == [
        ("reset", None), ("put", "a"), ("put", "b"), ("put", "c"), ("current", None)
    ]  # fmt: skip
    assert [one.kind for one in await told(desk, events[-1].token)] == ["current"]


async def test_a_token_at_the_horizon_goes_on(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    token = (await told(desk, "now"))[0].token
    await days(desk, 31)
    desk = await desk.reopen()
    await desk.put("b", {"x": 1})
    assert [(one.kind, one.key) for one in await told(desk, token)] == [("put", "b"), ("current", None)]


async def test_a_token_inside_a_run_that_went_begins_anew(desk: Device, make: MakeDevice) -> None:
    """What follows in that run is not in the log any more, whatever comes after it is."""
    laptop = make("laptop")
    await desk.admit(laptop)
    await laptop.put("theirs", {"x": 1})
    await desk.write(*(ChangeRequest(kind="put", collection="notes", key=key, value={}) for key in "ab"))
    inside = to_word((desk.space.copy_id, 1, 1))
    assert [one.key for one in await told(desk, inside)] == ["b", None]
    await laptop.tell(desk)
    desk.space.presence.note_acks(laptop.id, {desk.space.commits.own_origin or b"": 1})
    await days(desk, 31)
    desk = await desk.reopen()
    assert await log_of(desk) == [2]
    assert (await told(desk, inside))[0].kind == "reset"


async def test_a_reader_that_lags_behind_begins_anew(desk: Device, make: MakeDevice) -> None:
    """Even where the hole is not right behind it: origins go by themselves."""
    laptop = make("laptop")
    await desk.admit(laptop)
    await desk.put("a", {"x": 1})
    await laptop.put("b", {"x": 1})
    await laptop.tell(desk)
    token = (await told(desk, "now"))[0].token
    await desk.put("c", {"x": 1})
    await laptop.put("d", {"x": 1})
    await laptop.tell(desk)
    theirs = laptop.space.commits.own_origin or b""
    desk.space.presence.note_acks(laptop.id, {theirs: 2})
    await days(desk, 31)
    assert await log_of(desk) == [1, 3]
    desk = await desk.reopen()
    assert [one.kind for one in await told(desk, token)] == ["reset", *["put"] * 4, "current"]


async def test_a_binding_that_lags_behind_reads_all_records(desk: Device, make: MakeDevice) -> None:
    laptop = make("laptop")
    await desk.admit(laptop)
    await desk.put("a", {"x": 1})
    await desk.put("b", {"x": 1})
    await laptop.put("c", {"x": 1})
    await laptop.tell(desk)
    images = TableImages(desk.space, ["notes"])
    before = await images.changed_after(0)
    assert before is not None
    assert len(before.names) == 3
    desk.space.presence.note_acks(laptop.id, {laptop.space.commits.own_origin or b"": 1})
    await days(desk, 31)
    assert await log_of(desk) == [1, 2]
    assert await images.changed_after(0) is None
    assert await images.changed_after(2) is None
    after = await images.changed_after(3)
    assert after is not None
    assert after.names == []


async def test_the_log_for_people_ends_where_it_begins(desk: Device) -> None:
    for number in range(5):
        await desk.put("a", {"x": number})
    await days(desk, 31)
    await desk.put("a", {"x": 5})
    page = await History(desk.space).page(Wanted(), 10, None)
    assert len(page.transactions) == 1
    assert page.cursor is None


# --- coming back ----------------------------------------------------------------------------------------


async def test_a_device_from_behind_the_horizon_comes_back(two: Two, wire: Wire, until: Until) -> None:
    """By a snapshot over the link, and with what it wrote meanwhile: an edit against a delete, a new record, and its
    side of a conflict.
    """
    desk, laptop = two
    for key in ("kept", "deleted", "born again", "edited"):
        await desk.put(key, {"x": 1})
    await met(desk, laptop, wire, until)
    await desk.put("kept", {"x": 2})
    await desk.delete("deleted")
    await desk.delete("born again")
    await desk.put("born again", {"y": 1})
    await desk.delete("edited")
    await laptop.put("new", {"x": 9})
    await laptop.patch("edited", set={"x": 7})
    await days(desk, 61)
    assert await log_of(desk) == []
    wire.connect(desk, laptop)
    await until(lambda: desk.clock_now() == laptop.clock_now() and not laptop.space.snapshots.fetching.locked())
    for device in (desk, laptop):
        assert await device.value("kept") == {"x": 2}
        assert await device.value("born again") == {"y": 1}
        assert await device.value("new") == {"x": 9}
        assert await device.value("edited") == {"x": 7}
        with pytest.raises(Exception, match="deleted"):
            await device.value("deleted")
    await agree(desk, laptop)


async def test_what_goes_while_it_is_sent_begins_a_new_session(two: Two, wire: Wire, until: Until) -> None:
    """The log is trimmed past a member that did not count until it called."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await met(desk, laptop, wire, until)
    await desk.put("b", {"x": 1})
    wire.connect(desk, laptop)
    await until(lambda: desk.switchboard.links)
    await until(lambda: desk.clock_now() == laptop.clock_now())
    (session,) = desk.switchboard.sessions(desk.space)
    session.machine.their_copy.clock = {}
    desk.space.trimmed(desk.clock_now())
    await until(lambda: not desk.switchboard.links)


# --- how large it becomes -------------------------------------------------------------------------------


async def test_what_goes_before_they_have_said_where_they_stand_begins_a_new_session(
    two: Two, wire: Wire, until: Until
) -> None:
    """The laptop was set back behind what it had acknowledged, and relies on where our log began when the two met."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await met(desk, laptop, wire, until)
    await days(desk, 31)
    assert desk.space.copy.horizon()
    await desk.put("b", {"x": 1})
    near, _ = wire.connect(laptop, desk, stop_at=Summary)
    await until(lambda: any(one.machine.phase is Phase.COMPARING for one in desk.switchboard.sessions(desk.space)))
    desk.space.presence.note_acks(laptop.id, desk.clock_now())
    await days(desk, 31)
    assert desk.space.copy.horizon() == desk.clock_now()
    near.go_on()

    def linked_and_alike() -> bool:
        if laptop.id not in desk.switchboard.links and desk.id not in laptop.switchboard.links:
            wire.connect(laptop, desk)
        return desk.clock_now() == laptop.clock_now()

    await until(linked_and_alike)
    await agree(desk, laptop)


async def test_many_updates_of_few_records_leave_a_small_file(tmp_path: Path) -> None:
    """In the full size: `python -m tests.engine.growing`."""
    grown = await grow(tmp_path, updates=30_000, records=5_000, history_days=3)
    assert grown.share <= MOST
    assert grown.share_alone <= MOST
