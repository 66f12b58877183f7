"""What a record was: its versions, and what it showed at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.device_id import format_device_id
from peerd.engine.past import history, past
from peerd.engine.past.history import History, Wanted
from peerd.engine.past.past import Past
from peerd.errors import UserError
from peerd.protocol.control.history import RecordThen, RecordVersion
from peerd.protocol.control.messages import Beginning, ChangeRequest
from tests.engine.past.test_history import DAY_MS, age, snapshot_of, trim
from tests.engine.snapshots.test_snapshots import cleared

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until

A = ("notes", "a")


async def then(on: Device, at_ms: int, name: tuple[str, str] = A) -> RecordThen:
    return await Past(on.space).then(name, at_ms)


async def versions(on: Device, limit: int = 100, name: tuple[str, str] = A) -> list[RecordVersion]:
    """All pages."""
    found: list[RecordVersion] = []
    cursor = None
    while True:
        page = await Past(on.space).versions(name, limit, cursor)
        found += page.versions
        if page.cursor is None:
            return found
        cursor = page.cursor


async def story(desk: Device) -> list[tuple[int, Any]]:
    """Moments of a record's life, and what it showed then."""
    seen: list[tuple[int, Any]] = [(desk.clock.wall_ms() - 1, None)]

    async def step(done: Any) -> None:
        await done
        value = None
        if (page := await desk.records.list("notes", "a", 1, None)).records:
            value = page.records[0].value
        seen.append((desk.clock.wall_ms(), value))
        desk.clock.pass_s(10)
        seen.append((desk.clock.wall_ms() - 1, value))

    await step(desk.put("a", {"x": 1, "y": 1}))
    await step(desk.patch("a", set={"x": 2}))
    await step(desk.patch("a", drop=["y"]))
    await step(desk.delete("a"))
    await step(desk.put("b", {"other": True}))
    await step(desk.put("a", {"z": [1]}))
    return seen


async def test_a_record_is_shown_as_it_was(desk: Device) -> None:
    """At every moment of its life, also while it was gone."""
    moments = await story(desk)
    assert [value for _, value in moments[1::2]] == [
        {"x": 1, "y": 1},
        {"x": 2, "y": 1},
        {"x": 2},
        None,
        None,
        {"z": [1]},
    ]
    for at_ms, value in moments:
        found = await then(desk, at_ms)
        assert (found.value, found.values, found.estimated) == (value, {}, False)
    assert (await then(desk, 1 << 60)).value == {"z": [1]}
    assert (await then(desk, moments[-1][0], ("nowhere", "a"))).value is None


async def test_it_is_shown_after_the_log_was_trimmed_too(desk: Device) -> None:
    """Of what nobody knows when it came, the author's clock is believed, and that is said."""
    moments = await story(desk)
    await trim(desk, 6)
    for at_ms, value in moments:
        found = await then(desk, at_ms)
        assert (found.value, found.estimated) == (value, at_ms < moments[-2][0]), at_ms


async def test_what_came_late_was_not_shown_before(two: tuple[Device, Device]) -> None:
    """What counts is what this copy had, whenever it was written."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await desk.tell(laptop)
    desk.clock.pass_s(10)
    await laptop.patch("a", set={"x": 2})
    written_ms = desk.clock.wall_ms()
    desk.clock.pass_s(10)
    await laptop.tell(desk)
    assert (await then(desk, written_ms)).value == {"x": 1}
    assert (await then(laptop, written_ms)).value == {"x": 2}
    assert (await then(desk, desk.clock.wall_ms())).value == {"x": 2}


async def test_all_values_of_a_conflict_are_shown(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    desk.clock.pass_s(1)
    await desk.patch("a", set={"x": 1})
    desk.clock.pass_s(1)
    await laptop.patch("a", set={"x": 2})
    await laptop.tell(desk)
    conflict_ms = desk.clock.wall_ms()
    desk.clock.pass_s(1)
    await desk.patch("a", set={"x": 3})
    found = await then(desk, conflict_ms)
    assert found.value == {"x": 2, "y": 0}
    assert [(one.value, one.device_name, one.shown) for one in found.values["x"]] == [
        (2, "laptop", True), (1, "desk", False),
    ]  # fmt: skip
    newest = (await versions(desk))[1]
    assert (newest.value, newest.conflicts, newest.set) == ({"x": 2, "y": 0}, ["x"], {"x": 2})


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_versions_say_who_did_what_and_when(two: tuple[Device, Device], limit: int) -> None:
    """Newest first, with the deletes, in pages that neither skip nor repeat."""
    desk, laptop = two
    start_ms = desk.clock.wall_ms()
    await story(desk)
    await desk.tell(laptop)
    desk.clock.pass_s(5)
    await laptop.write(
        ChangeRequest(kind="patch", collection="notes", key="a", set={"w": 1}, drop=["z"]),
        ChangeRequest(kind="put", collection="notes", key="c", value={}),
    )
    desk.clock.pass_s(5)
    await laptop.tell(desk)
    found = await versions(desk, limit)
    assert [(one.kind, one.set, one.drop, one.value) for one in found] == [
        ("changed", {"w": 1}, ["z"], {"w": 1}),
        ("created", {"z": [1]}, [], {"z": [1]}),
        ("deleted", {}, ["x"], None),
        ("changed", {}, ["y"], {"x": 2}),
        ("changed", {"x": 2}, [], {"x": 2, "y": 1}),
        ("created", {"x": 1, "y": 1}, [], {"x": 1, "y": 1}),
    ]
    last = found[0]
    assert (last.device, last.device_name) == (format_device_id(laptop.id), "laptop")
    assert (last.time_ms, last.arrived_ms) == (start_ms + 65_000, start_ms + 70_000)
    assert found[2].time_ms == found[2].arrived_ms == start_ms + 30_000
    assert await versions(desk, limit, ("notes", "nothing")) == []


async def test_a_delete_whose_run_is_trimmed_is_still_known(desk: Device) -> None:
    """But for what its author's clock said."""
    await desk.put("a", {"x": 1})
    desk.clock.pass_s(5)
    await desk.delete("a")
    deleted_ms = desk.clock.wall_ms()
    await trim(desk, 2)
    deleted, made = await versions(desk)
    assert (deleted.kind, deleted.time_ms, deleted.arrived_ms) == ("deleted", None, deleted_ms)
    assert (made.kind, made.time_ms, made.arrived_ms) == ("created", deleted_ms - 5000, None)
    page = await Past(desk.space).versions(A, 10, None)
    assert page.begins is not None


async def test_an_edit_that_met_a_delete_was_restored(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    laptop.space.presence.note_seen(desk.id)
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await desk.patch("a", set={"x": 1})
    await laptop.delete("a")
    await laptop.tell(desk)
    found = await versions(desk)
    assert [one.kind for one in found] == ["restored", "deleted", "changed", "created"]
    assert found[0].value == {"x": 1, "y": 0}


# ---- where it begins


async def test_what_is_forgotten_is_not_guessed(desk: Device) -> None:
    for number in range(4):
        await desk.put("a", {"n": number})
        await age(desk, DAY_MS, 100 * DAY_MS)
        desk.clock.pass_s(DAY_MS / 1000)
    third_ms = desk.clock.wall_ms() - 2 * DAY_MS
    await age(desk, 0, 2 * DAY_MS - 1)
    assert (await then(desk, third_ms)).value == {"n": 2}
    with pytest.raises(UserError, match="begins at 2025-06-17T15:06:40Z") as refused:
        await then(desk, third_ms - 1)
    assert (refused.value.code, refused.value.status) == ("before-history", 409)
    page = await Past(desk.space).versions(A, 10, None)
    assert page.begins is not None
    assert (page.begins.time_ms, page.begins.cause) == (third_ms, "forgotten")


async def test_what_a_snapshot_brought_was_not_here_before(two: tuple[Device, Device]) -> None:
    """What was here before it came is known all the same."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await laptop.put("a", {"own": 1})
    before_ms = desk.clock.wall_ms()
    desk.clock.pass_s(60)
    await snapshot_of(desk, laptop)
    came_ms = desk.clock.wall_ms()
    desk.clock.pass_s(60)
    await laptop.delete("a")
    assert (await then(laptop, before_ms)).value == {"own": 1}
    assert (await then(laptop, came_ms - 1)).value == {"own": 1}
    assert (await then(laptop, came_ms)).value == {"own": 1, "x": 1}
    assert (await then(laptop, desk.clock.wall_ms())).value is None


# ---- a record that changes all the time


async def test_a_record_with_many_versions_is_listed_so_far_and_found_at_any_time(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page says that there is more than is listed; a time is found in slices."""
    monkeypatch.setattr(past, "SLICE", 2)
    monkeypatch.setattr(past, "VERSIONS", 5)
    monkeypatch.setattr(history, "VERSIONS", 5)
    times = []
    for number in range(9):
        await desk.put("a", {"n": number, "fixed": 1})
        times.append(desk.clock.wall_ms())
        desk.clock.pass_s(1)
    for number, at_ms in enumerate(times):
        assert (await then(desk, at_ms)).value == {"n": number, "fixed": 1}
    assert (await then(desk, times[0] - 1)).value is None
    assert [one.value for one in await versions(desk, 2)] == [{"n": n, "fixed": 1} for n in (8, 7, 6, 5, 4)]
    begins = Beginning(time_ms=times[4], cause="cut")
    assert (await Past(desk.space).versions(A, 10, None)).begins == begins
    page = await History(desk.space).page(Wanted(None, *A), 10, None)
    assert (len(page.transactions), page.cursor, page.begins) == (5, None, begins)


async def test_what_a_snapshot_replaced_and_took_away_is_known(two: tuple[Device, Device], until: Until) -> None:
    """As of the moment in which it came, though nobody can say which transactions did it."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await desk.put("b", {"y": 1})
    await desk.tell(laptop)
    before_ms = desk.clock.wall_ms()
    desk.clock.pass_s(60)
    await desk.patch("a", set={"x": 2})
    await desk.delete("b")
    desk.clock.pass_s(60)
    await snapshot_of(desk, laptop)
    came_ms = desk.clock.wall_ms()
    await cleared(laptop, until)
    desk.clock.pass_s(60)
    for name, was, became in (("a", {"x": 1}, {"x": 2}), ("b", {"y": 1}, None)):
        found = await then(laptop, before_ms, ("notes", name))
        assert (found.value, found.estimated) == (was, True)
        assert (await then(laptop, came_ms - 1, ("notes", name))).value == was
        assert (await then(laptop, came_ms, ("notes", name))).value == became
    gone, made = await versions(laptop, name=("notes", "b"))
    assert (gone.kind, gone.dot, gone.arrived_ms, gone.device_name) == ("deleted", None, came_ms, "")
    assert (made.kind, made.value) == ("created", {"y": 1})
