"""The log for people: newest first, in pages that neither skip nor repeat."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.daemon_time import Age
from peerd.core.device_id import format_device_id
from peerd.core.trimming import Plan
from peerd.engine.cursors import to_word
from peerd.engine.past import history
from peerd.engine.past.history import History, Wanted
from peerd.errors import UserError
from peerd.protocol.control.messages import Beginning, ChangeRequest, LogEntry, LogPage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peerd.core.stored import LogBack
    from tests.engine.conftest import Device


async def page(on: Device, **chosen: Any) -> LogPage:
    limit, cursor = chosen.pop("limit", 1000), chosen.pop("cursor", None)
    return await History(on.space).page(Wanted(**chosen), limit, cursor)


async def all_pages(on: Device, **chosen: Any) -> list[LogEntry]:
    """All pages."""
    found: list[LogEntry] = []
    cursor = None
    while True:
        one = await page(on, cursor=cursor, **chosen)
        found += one.transactions
        if one.cursor is None:
            return found
        assert one.cursor != cursor
        cursor = one.cursor


async def snapshot_of(sender: Device, receiver: Device) -> None:
    """Let one take over the state of the other."""
    await receiver.space.learn(sender.space.roster.statements)
    async with aclosing(sender.space.snapshots.serving.begin_outgoing().parts()) as parts:
        assert await receiver.space.snapshots.take_in(b"a snapshot of it", parts)


async def trim(device: Device, position: int) -> None:
    """Let go of the runs up to there, whoever may lack them."""
    await device.space.store.upkeep.trim(Plan(device.clock_now(), 1 << 60, position, {}), 1_000)


async def age(device: Device, elapsed_ms: int, history_ms: int) -> None:
    """Let time pass for the database, and have it forget what is older."""
    aged = Age(device.space.age.ms + elapsed_ms)
    device.space.age = aged
    await device.space.store.upkeep.note_age(aged)
    await device.space.store.upkeep.forget(aged.ms - history_ms, 1_000)


def keys(entries: Sequence[LogEntry]) -> list[str]:
    return [change.key for entry in entries for change in entry.changes]


async def test_the_newest_comes_first(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("b", {"n": 2})
    assert keys((await page(desk)).transactions) == ["b", "a"]


async def test_an_empty_log_has_an_empty_page(desk: Device) -> None:
    found = await page(desk)
    assert (found.transactions, found.cursor) == ([], None)


async def test_a_transaction_is_shown_with_all_there_is_to_know(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    laptop.clock.pass_s(5)
    await laptop.put("a", {"x": 1, "y": {"$bytes": "AA=="}})
    written = await laptop.write(
        ChangeRequest(kind="patch", collection="notes", key="a", set={"x": 2}, drop=["y"]),
        ChangeRequest(kind="put", collection="lists", key="b", value={}),
    )
    await laptop.delete("a")
    written_ms = laptop.clock.wall_ms()
    laptop.clock.pass_s(5)
    await laptop.tell(desk)
    last, middle, first = (await page(desk)).transactions
    assert [change.kind for change in (*last.changes, *middle.changes, *first.changes)] == [
        "delete", "patch", "put", "put",
    ]  # fmt: skip
    assert middle.dot == written.dot
    assert (middle.device, middle.device_name) == (format_device_id(laptop.id), "laptop")
    assert (middle.time_ms, middle.arrived_ms) == (written_ms, written_ms + 5000)
    assert (middle.changes[0].set, middle.changes[0].drop) == ({"x": 2}, ["y"])
    assert first.changes[0].set == {"x": 1, "y": {"$bytes": "AA=="}}


async def test_a_restore_is_shown_as_one(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    laptop.space.presence.note_seen(desk.id)
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await desk.patch("a", set={"x": 1})
    await laptop.delete("a")
    await laptop.tell(desk)
    (change,) = (await page(desk)).transactions[0].changes
    assert (change.kind, change.key, change.set) == ("restore", "a", {"y": 0})


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("window", [1, 3, 200])
async def test_pages_hold_every_transaction_once(
    desk: Device, monkeypatch: pytest.MonkeyPatch, limit: int, window: int
) -> None:
    """Also where several share a run, and where a page ends inside one."""
    monkeypatch.setattr(history, "WINDOW", window)
    for group in range(4):
        await asyncio.gather(*(desk.put(f"{group}{number}", {}) for number in range(5)))
    assert desk.space.commits.last_position < 20
    found = await all_pages(desk, limit=limit)
    assert [int(entry.dot.split(":")[1]) for entry in found] == list(range(20, 0, -1))


async def test_what_is_written_while_pages_are_read_is_on_none_of_them(desk: Device) -> None:
    for number in range(10):
        await desk.put(f"{number}", {})
    first = await page(desk, limit=4)
    await desk.put("new", {})
    rest = await all_pages(desk, limit=4)
    assert keys(rest)[0] == "new"
    second = await page(desk, limit=100, cursor=first.cursor)
    assert keys([*first.transactions, *second.transactions]) == [str(number) for number in range(9, -1, -1)]


async def test_filters_by_device_and_record(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {})
    await laptop.put("a", {})
    await laptop.put("b", {}, "lists")
    await desk.write(
        ChangeRequest(kind="put", collection="notes", key="b", value={}),
        ChangeRequest(kind="put", collection="lists", key="a", value={}),
    )
    await laptop.tell(desk)
    for limit in (1, 100):
        assert len(await all_pages(desk, limit=limit)) == 4
        assert len(await all_pages(desk, limit=limit, device=laptop.id)) == 2
        assert await all_pages(desk, limit=limit, device=bytes(32)) == []
        assert len(await all_pages(desk, limit=limit, collection="lists")) == 2
        assert len(await all_pages(desk, limit=limit, collection="notes", key="b")) == 1
        assert await all_pages(desk, limit=limit, collection="notes", key="c") == []
        # both from one change, not one from each of two
        assert await all_pages(desk, limit=limit, collection="lists", key="b", device=desk.id) == []


async def test_a_search_without_luck_goes_on_with_a_cursor(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes only so long: it may be empty and yet not the last."""
    monkeypatch.setattr(history, "WINDOW", 2)
    monkeypatch.setattr(history, "SCAN", 4)
    await desk.put("wanted", {})
    for number in range(10):
        await desk.put(f"{number}", {})
    first = await page(desk, key="wanted")
    assert first.transactions == []
    assert first.cursor is not None
    assert keys(await all_pages(desk, key="wanted")) == ["wanted"]


async def test_large_transactions_are_not_held_together(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of the log may hold gigabytes."""
    monkeypatch.setattr(history, "PAGE_BYTES", 50_000)
    for number in range(20):
        await desk.put(f"{number:02}", {"x": "y" * 20_000})
    await desk.put("small", {})
    held: list[int] = []
    read = desk.space.store.lookback.rows_back

    async def spy(*asked: Any) -> LogBack:
        slice_ = await read(*asked)
        held.append(sum(len(entry) for row in slice_.rows for entry in row.run.entries))
        return slice_

    monkeypatch.setattr(desk.space.store.lookback, "rows_back", spy)
    found = await page(desk)
    assert max(held) < 100_000
    assert found.cursor is not None, "a page of people's log is no megabytes either"
    assert 2 <= len(found.transactions) <= 5
    assert keys(await all_pages(desk)) == ["small", *(f"{number:02}" for number in range(19, -1, -1))]


@pytest.mark.parametrize("cursor", ["!!!", "é", "MS4y", to_word(1), to_word((1, 2)) + "=", to_word((1, "x"))])
async def test_a_cursor_that_is_none_of_ours_is_refused(desk: Device, cursor: str) -> None:
    with pytest.raises(UserError) as refused:
        await page(desk, cursor=cursor)
    assert (refused.value.code, refused.value.status) == ("bad-cursor", 400)


@pytest.mark.parametrize("cursor", [(-5, 0), (1 << 63, 0), ((1 << 64) - 1, (1 << 64) - 1), (0, 0)])
async def test_a_cursor_beyond_the_log_does_no_harm(desk: Device, cursor: tuple[int, int]) -> None:
    await desk.put("a", {})
    found = await page(desk, cursor=to_word(cursor))
    assert found.cursor is None
    assert keys(found.transactions) in ([], ["a"])


async def test_pages_outlive_a_restart(desk: Device) -> None:
    for number in range(5):
        await desk.put(f"{number}", {})
    first = await page(desk, limit=2)
    again = await desk.reopen()
    assert keys((await page(again, cursor=first.cursor)).transactions) == ["2", "1", "0"]


async def test_times_are_those_of_the_arrival_here(two: tuple[Device, Device]) -> None:
    """Both ends count; what the author's clock said does not matter."""
    desk, laptop = two
    start_ms = desk.clock.wall_ms()
    for number in range(5):
        await desk.put(f"{number}", {})
        if number == 2:
            await laptop.put("early", {})
        desk.clock.pass_s(1)
    await laptop.tell(desk)
    arrived_ms = desk.clock.wall_ms()
    for limit in (1, 2, 100):
        found = await all_pages(desk, limit=limit, since_ms=start_ms + 1000, until_ms=start_ms + 3000)
        assert keys(found) == ["3", "2", "1"]
        assert keys(await all_pages(desk, limit=limit, since_ms=start_ms + 4001)) == ["early"]
        assert keys(await all_pages(desk, limit=limit, until_ms=start_ms)) == ["0"]
        assert await all_pages(desk, limit=limit, since_ms=arrived_ms + 1) == []
        assert await all_pages(desk, limit=limit, until_ms=start_ms - 1) == []
        mine = await all_pages(desk, limit=limit, device=desk.id, since_ms=start_ms + 3001, collection="notes")
        assert keys(mine) == ["4"]


async def test_a_clock_that_was_set_back_hides_nothing(desk: Device) -> None:
    start_ms = desk.clock.now_ms
    for number, at_ms in enumerate([0, 10_000, -90_000, -89_000, 20_000]):
        desk.clock.now_ms = start_ms + at_ms
        await desk.put(f"{number}", {})
    assert keys(await all_pages(desk, since_ms=start_ms + 5_000)) == ["4", "1"]
    assert keys(await all_pages(desk, until_ms=start_ms)) == ["3", "2", "0"]


async def test_a_record_is_found_without_reading_the_log(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the dots of what it is and was: created, changed, deleted, made again; with others in one transaction."""
    for number in range(3):
        await desk.put("a", {"n": number, "m": 0})
        await desk.put(f"other{number}", {})
    await desk.delete("a")
    await desk.write(
        ChangeRequest(kind="put", collection="notes", key="a", value={"n": 9}),
        ChangeRequest(kind="put", collection="notes", key="b", value={}),
    )
    await desk.patch("a", set={"x": 1})

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(desk.space.store.lookback, "rows_back", never)
    for limit in (1, 2, 100):
        found = await all_pages(desk, collection="notes", key="a", limit=limit)
        kinds = [change.kind for entry in found for change in entry.changes if change.key == "a"]
        assert kinds == ["patch", "put", "delete", "patch", "patch", "put"]
        assert await all_pages(desk, collection="notes", key="nothing", limit=limit) == []
        assert await all_pages(desk, collection="nothing", key="a", limit=limit) == []
    monkeypatch.setattr(history, "SCAN", 2)
    assert len(await all_pages(desk, collection="notes", key="a")) == 6


async def test_the_times_and_authors_of_a_record(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"n": 1})
    await desk.tell(laptop)
    desk.clock.pass_s(60)
    later_ms = desk.clock.wall_ms()
    await laptop.patch("a", set={"n": 2})
    await laptop.tell(desk)
    await desk.patch("a", set={"n": 3})
    for limit in (1, 100):
        a: dict[str, Any] = {"collection": "notes", "key": "a", "limit": limit}
        assert len(await all_pages(desk, **a, since_ms=later_ms)) == 2
        assert len(await all_pages(desk, **a, until_ms=later_ms - 1)) == 1
        (one,) = await all_pages(desk, **a, since_ms=later_ms, device=laptop.id)
        assert one.changes[0].set == {"n": 2}


# ---- where it begins

DAY_MS = 86_400_000


async def test_a_log_that_is_whole_begins_with_the_space(desk: Device) -> None:
    await desk.put("a", {})
    assert (await page(desk)).begins is None


async def test_a_newcomer_by_snapshot_says_when_it_came(two: tuple[Device, Device]) -> None:
    """What others had done before is not in its log, and it does not say that there was nothing."""
    desk, laptop = two
    await desk.put("a", {})
    desk.clock.pass_s(60)
    came_ms = desk.clock.wall_ms()
    await snapshot_of(desk, laptop)
    desk.clock.pass_s(60)
    found = await page(laptop)
    assert (found.transactions, found.begins) == ([], Beginning(time_ms=came_ms, cause="snapshot"))
    await laptop.put("b", {})
    found = await page(laptop, collection="notes", key="a")
    assert (found.transactions, found.begins) == ([], Beginning(time_ms=came_ms, cause="snapshot"))


async def test_a_trimmed_log_says_where_it_begins(desk: Device) -> None:
    for number in range(4):
        await desk.put("a", {"n": number})
        desk.clock.pass_s(1)
    await trim(desk, 2)
    begins = Beginning(time_ms=desk.clock.wall_ms() - 3000, cause="trimmed")
    for chosen in ({}, {"collection": "notes", "key": "a"}):
        found = await page(desk, **chosen)
        assert [entry.changes[0].set for entry in found.transactions] == [{"n": 3}, {"n": 2}]
        assert found.begins == begins
    await trim(desk, 4)
    assert (await page(desk)).begins == Beginning(time_ms=desk.clock.wall_ms() - 1000, cause="trimmed")


async def test_of_single_records_history_says_where_it_begins(desk: Device) -> None:
    """What it had forgotten cannot be found by record, though the log may have it."""
    for number in range(4):
        await desk.put("a", {"n": number})
        await age(desk, DAY_MS, 100 * DAY_MS)
        desk.clock.pass_s(DAY_MS / 1000)
    third_ms = desk.clock.wall_ms() - 2 * DAY_MS
    await age(desk, 0, 2 * DAY_MS - 1)
    assert (await page(desk)).begins is None
    found = await page(desk, collection="notes", key="a")
    assert found.begins == Beginning(time_ms=third_ms, cause="forgotten")
    assert [entry.changes[0].set["n"] for entry in found.transactions] == [3, 2, 0]  # it was made by the first
