"""A bound file and its space: both are alike whenever nothing is left to do, whatever happened on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Applied
from peerd.core.tables.settings import BindingSettings, encode_settings
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import StoreClosed, StoreError, TableTrouble
from peerd.protocol.control.messages import CollectionChange, PolicyName
from tests.engine.conftest import PATIENCE_S, Device, MakeDevice, RunningHands, Until
from tests.engine.fake_files import PLAN, FakeDatabase, FakeFiles

PATH = "/home/ada/todo.db"
BINDING = StoredBinding(b"b" * 16, "todo", PATH, PLAN)
TASKS = "todo.tasks"


class Bound:
    """A device with one bound file."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.files = FakeFiles()
        self.runner = BindingRunner(device.space, BINDING, self.files, RunningHands())

    @property
    def file(self) -> FakeDatabase:
        return self.files.at(PATH)

    async def begin(self, settings: BindingSettings | None = None) -> None:
        stored = BINDING
        if settings is not None:
            stored = StoredBinding(b"b" * 16, "todo", PATH, PLAN, encode_settings(settings))
            self.runner = BindingRunner(self.device.space, stored, self.files, RunningHands())
        await self.device.space.store.bindings.save(stored)
        self.file.binding = BINDING.id
        self.runner.start()

    async def again(self) -> None:
        """A new runner of the same, as after a start."""
        await self.runner.stop()
        (stored,) = await self.device.space.store.bindings.load()
        self.runner = BindingRunner(self.device.space, stored, self.files, RunningHands())
        self.runner.start()

    async def at_rest(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.runner.settled.wait()

    async def in_trouble(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.runner.trouble is None:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.001)

    async def records(self) -> dict[str, dict[str, object]]:
        page = await self.device.records.list(TASKS, "", 1000, None)
        return {record.key: record.value for record in page.records}


@pytest.fixture
async def bound(desk: Device) -> AsyncIterator[Bound]:
    bound = Bound(desk)
    yield bound
    await bound.runner.stop()


async def test_what_the_application_has_becomes_records(bound: Bound) -> None:
    bound.file.put("a", title="Milk")
    await bound.begin()
    await bound.at_rest()
    assert await bound.records() == {"a": {"title": "Milk"}}
    assert not bound.file.dirty


async def test_what_the_space_has_becomes_rows(bound: Bound) -> None:
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.device.put("b", {"title": "of no bound table"}, "notes")
    await bound.begin()
    await bound.at_rest()
    assert bound.file.plain == {"a": {"title": "Milk"}}
    assert bound.file.applied == Applied(bound.device.space.copy_id, 2)


async def test_changes_of_both_sides_arrive_while_it_runs(bound: Bound) -> None:
    await bound.begin()
    await bound.at_rest()
    bound.file.put("a", title="Milk")
    await bound.at_rest()
    assert await bound.records() == {"a": {"title": "Milk"}}
    await bound.device.patch("a", TASKS, set={"title": "Bread"})
    await bound.device.put("b", {"title": "Salt"}, TASKS)
    await bound.at_rest()
    assert bound.file.plain == {"a": {"title": "Bread"}, "b": {"title": "Salt"}}
    bound.file.delete("a")
    await bound.device.delete("b", TASKS)
    await bound.at_rest()
    assert await bound.records() == bound.file.plain == {}


async def test_a_row_edited_while_another_edit_waits_to_be_shown_is_a_conflict(bound: Bound) -> None:
    """The application had not seen it: neither is lost."""
    await bound.device.put("a", {"title": "Milk", "done": 0}, TASKS)
    await bound.begin()
    await bound.at_rest()

    def type_meanwhile() -> None:
        bound.file.before_project = lambda: None
        bound.file.put("a", title="Oat milk", done=0)

    bound.file.before_project = type_meanwhile
    await bound.device.patch("a", TASKS, set={"title": "Soy milk"})
    await bound.at_rest()
    view = await bound.device.records.read(TASKS, "a")
    assert view.conflicts == ["title"]
    assert bound.file.plain == {"a": view.value}


async def test_the_file_follows_the_settings_of_a_collection(bound: Bound) -> None:
    """A policy changes what a record shows, and the record itself does not change."""
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.begin()
    await bound.at_rest()

    def type_meanwhile() -> None:
        bound.file.before_project = lambda: None
        bound.file.put("a", title="Oat milk")

    bound.file.before_project = type_meanwhile
    await bound.device.patch("a", TASKS, set={"title": "Soy milk"})
    await bound.at_rest()
    settings: tuple[tuple[PolicyName, str], ...] = (("min", "Oat milk"), ("max", "Soy milk"))
    for policy, title in settings:
        await bound.device.records.set_collection(TASKS, CollectionChange(fields={"title": policy}))
        await bound.at_rest()
        assert bound.file.plain == {"a": {"title": title}}


async def test_a_row_edited_while_its_delete_waits_to_be_shown_comes_back(bound: Bound) -> None:
    await bound.device.put("a", {"title": "Milk", "done": 0}, TASKS)
    await bound.begin()
    await bound.at_rest()

    def type_meanwhile() -> None:
        bound.file.before_project = lambda: None
        bound.file.put("a", title="Oat milk", done=0)

    bound.file.before_project = type_meanwhile
    await bound.device.delete("a", TASKS)
    await bound.at_rest()
    assert await bound.records() == bound.file.plain == {"a": {"title": "Oat milk", "done": 0}}


async def test_a_long_harvest_comes_in_pieces(bound: Bound) -> None:
    bound.file.at_once = 2
    for number in range(7):
        bound.file.put(f"{number}", n=number)
    await bound.begin()
    await bound.at_rest()
    assert len(await bound.records()) == 7
    assert bound.device.clock_now()[bound.device.space.commits.own_origin or b""] == 4


async def test_a_crash_between_the_commit_and_the_settling_makes_no_second_edit(bound: Bound) -> None:
    bound.file.put("a", title="Milk")
    bound.file.trouble, bound.file.trouble_at = TableTrouble("gone"), "settle"
    await bound.begin()
    await bound.in_trouble()
    clock = bound.device.clock_now()
    assert clock
    bound.file.trouble = None
    await bound.again()
    await bound.at_rest()
    assert bound.device.clock_now() == clock
    assert not bound.file.dirty


@pytest.mark.parametrize("way", ["asked", "meanwhile"])
async def test_what_a_person_asks_for_harvests_nothing_twice(bound: Bound, way: str) -> None:
    """The file could not be settled when the person asked, or just before."""
    await bound.begin()
    await bound.at_rest()
    bound.file.held = {"tasks": 1}
    bound.file.trouble, bound.file.trouble_at = TableTrouble("locked"), "settle"
    bound.file.put("a", title="Milk")
    if way == "asked":
        with pytest.raises(TableTrouble):
            await bound.runner.approve("tasks")
        bound.file.held = {"tasks": 1}
    await bound.in_trouble()
    bound.file.trouble = None
    if way == "meanwhile":
        await bound.runner.approve("tasks")
    await bound.at_rest()
    assert list(bound.device.clock_now().values()) == [1]
    assert not bound.file.dirty


async def test_rows_that_differ_in_nothing_are_settled_without_a_transaction(bound: Bound) -> None:
    await bound.begin(BindingSettings(merging=True))
    await bound.at_rest()
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    clock = bound.device.clock_now()
    await bound.runner.stop()
    bound.file.shown.clear()
    bound.file.rows.clear()
    bound.file.applied = None
    bound.file.put("a", title="Milk")
    await bound.begin(BindingSettings(merging=True))
    await bound.at_rest()
    assert bound.device.clock_now() == clock
    assert not bound.file.dirty
    (stored,) = await bound.device.space.store.bindings.load()
    assert not bound.runner.settings.merging
    assert stored.settings == encode_settings(BindingSettings())


async def test_trouble_is_shown_and_tried_again_and_the_space_goes_on(bound: Bound) -> None:
    bound.file.trouble = TableTrouble("the file is locked", code="file-locked", next_step="Wait.")
    await bound.begin()
    await bound.in_trouble()
    assert bound.runner.trouble is bound.file.trouble
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    bound.file.trouble = None
    await bound.at_rest()
    assert bound.runner.trouble is None
    assert bound.file.plain == {"a": {"title": "Milk"}}


@pytest.mark.parametrize(
    ("problem", "warned"),
    [(TableTrouble("the file is locked", code="file-locked"), ["file-locked"]), (StoreClosed("it is closed"), [])],
)
async def test_of_a_space_that_is_closed_nobody_is_warned(
    bound: Bound, problem: StoreError, warned: list[str], log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    bound.file.trouble = problem
    await bound.begin()
    await bound.in_trouble()
    assert [one["code"] for one in log_events() if one["event"] == "binding stopped"] == warned


async def test_a_file_that_comes_back_is_looked_at_at_once(bound: Bound) -> None:
    bound.file.trouble = TableTrouble("there is no file", code="file-missing")
    await bound.begin()
    await bound.in_trouble()
    for _ in range(9):
        bound.runner._schedule.failed(asyncio.get_running_loop().time())
    bound.file.trouble = None
    bound.file.put("a", title="Milk")
    await bound.at_rest()
    assert await bound.records() == {"a": {"title": "Milk"}}


async def test_a_bug_stops_this_binding_alone(bound: Bound) -> None:
    bound.file.trouble = RuntimeError("a bug")
    await bound.begin()
    await bound.in_trouble()
    assert bound.runner.trouble is not None
    assert bound.runner.trouble.code == "internal"


async def test_a_file_that_stood_still_is_brought_forward_from_where_it_was(bound: Bound) -> None:
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.begin()
    await bound.at_rest()
    await bound.runner.stop()
    await bound.device.put("b", {"title": "Salt"}, TASKS)
    bound.file.projected.clear()
    await bound.again()
    await bound.at_rest()
    assert [names for names, _ in bound.file.projected] == [((TASKS, "b"),)]
    assert set(bound.file.plain) == {"a", "b"}


@pytest.mark.parametrize("applied", [None, Applied(b"another copy", 1), Applied(b"", 0), Applied(b"same", 99)])
async def test_a_file_whose_position_means_nothing_is_compared_whole(bound: Bound, applied: Applied | None) -> None:
    """What the space has no longer goes, what the file lacks comes."""
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.device.put("b", {"title": "Salt"}, TASKS)
    await bound.begin()
    await bound.at_rest()
    await bound.runner.stop()
    await bound.device.delete("a", TASKS)
    await bound.device.put("c", {"title": "Bread"}, TASKS)
    if applied is not None and applied.copy_id == b"same":
        applied = Applied(bound.device.space.copy_id, 99)
    bound.file.applied = applied
    await bound.again()
    await bound.at_rest()
    assert bound.file.plain == {"b": {"title": "Salt"}, "c": {"title": "Bread"}}
    assert bound.file.applied == Applied(bound.device.space.copy_id, 4)


async def test_a_full_projection_that_is_cut_begins_again(bound: Bound) -> None:
    await bound.device.put("a", {"title": "Milk"}, TASKS)

    def cut() -> None:
        if bound.file.projected:
            bound.file.before_project = lambda: None
            raise TableTrouble("cut")

    bound.file.before_project = cut
    await bound.begin()
    await bound.in_trouble()
    assert bound.file.applied == Applied(b"", 0)
    await bound.at_rest()
    assert bound.file.applied == Applied(bound.device.space.copy_id, 1)


async def test_parked_rows_come_along_with_every_projection(bound: Bound) -> None:
    """What is in their way may have gone."""
    bound.file.blocked.add("a")
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.begin()
    await bound.at_rest()
    assert [one.key for one in await bound.runner.parked()] == ["a"]
    bound.file.blocked.clear()
    await bound.device.put("b", {"title": "Salt"}, TASKS)
    await bound.at_rest()
    assert set(bound.file.plain) == {"a", "b"}
    assert await bound.runner.parked() == []


async def test_held_deletes_are_approved_or_restored(bound: Bound) -> None:
    await bound.begin()
    await bound.at_rest()
    bound.file.held["tasks"] = 3
    assert await bound.runner.held() == {"tasks": 3}
    await bound.runner.approve("tasks")
    assert await bound.runner.held() == {}
    bound.file.held["tasks"] = 3
    await bound.runner.restore("tasks")
    assert await bound.runner.held() == {}


async def test_a_device_that_was_removed_stops_harvesting_with_that_sentence(
    two: tuple[Device, Device],
) -> None:
    desk, laptop = two
    await desk.spaces.remove(desk.space, laptop.id)
    await laptop.space.learn(desk.space.roster.statements)
    bound = Bound(laptop)
    bound.file.put("a", title="Milk")
    await bound.begin()
    await bound.in_trouble()
    assert bound.runner.trouble is not None
    assert bound.runner.trouble.code == "removed"
    await bound.runner.stop()


async def test_a_reader_is_waited_for(bound: Bound, until: Until) -> None:
    await bound.begin()
    await bound.at_rest()
    bound.file.read = True
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await until(lambda: bound.file.asked_read > 2)
    assert bound.file.plain == {}
    bound.file.read = False
    await bound.at_rest()
    assert bound.file.plain == {"a": {"title": "Milk"}}


async def test_stopping_ends_what_listens(bound: Bound) -> None:
    await bound.begin()
    await bound.at_rest()
    await bound.runner.stop()
    assert not bound.file.changed
    assert not bound.device.space.on_commit or bound.runner._on_commit not in bound.device.space.on_commit
    assert Path(PATH) in bound.files.databases


async def test_what_is_parked_is_known_after_a_start(bound: Bound) -> None:
    bound.file.blocked.add("a")
    await bound.device.put("a", {"title": "Milk"}, TASKS)
    await bound.begin()
    await bound.at_rest()
    shown = len(bound.file.projected)
    await bound.again()
    await bound.at_rest()
    assert [one.key for one in bound.runner.projecting.parked_now] == ["a"]
    assert len(bound.file.projected) == shown, "nothing was written to learn it"


async def test_what_the_application_wrote_itself_is_not_written_to_its_file_again(bound: Bound) -> None:
    """Not at once: it is told with the next projection, or after a while, how far it shows the space."""
    await bound.begin()
    await bound.at_rest()
    bound.file.projected.clear()
    for number in range(3):
        bound.file.put(f"{number}", title="Milk")
        await bound.at_rest()
    assert bound.file.projected == []
    await bound.device.put("b", {"title": "Salt"}, TASKS)
    await bound.at_rest()
    ((names, applied),) = bound.file.projected
    assert names == tuple((TASKS, key) for key in ("0", "1", "2", "b"))
    assert applied == bound.file.applied == Applied(bound.device.space.copy_id, 4)


async def test_the_file_is_told_after_a_while_how_far_it_shows_the_space(
    bound: Bound, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerd.core.tables.schedule.KEEP_LATER_S", 0.05)
    await bound.begin()
    await bound.at_rest()
    bound.file.put("a", title="Milk")
    await until(lambda: bound.file.applied == Applied(bound.device.space.copy_id, 1))


async def test_what_was_shown_before_a_stop_is_told_after_it(bound: Bound) -> None:
    await bound.begin()
    await bound.at_rest()
    bound.file.put("a", title="Milk")
    await bound.at_rest()
    bound.file.projected.clear()
    await bound.again()
    await bound.at_rest()
    bound.file.put("b", title="Salt")
    await bound.at_rest()
    await bound.device.put("c", {"title": "Bread"}, TASKS)
    await bound.at_rest()
    assert [names for names, _ in bound.file.projected] == [tuple((TASKS, key) for key in "abc")]


async def test_what_is_shown_is_not_remembered_without_end(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.engine.tables.projecting.ROWS_AT_ONCE", 2)
    await bound.begin()
    await bound.at_rest()
    for number in range(3):
        bound.file.put(f"{number}", title="Milk")
        await bound.at_rest()
    assert bound.file.applied == Applied(bound.device.space.copy_id, 3)


async def test_parts_of_much_work_rest_as_long_as_they_were_in_the_way(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        await real(0)

    await bound.begin()
    await bound.at_rest()
    monkeypatch.setattr("peerd.engine.tables.runner.asyncio.sleep", sleep)
    bound.file.at_once = 1

    def lock() -> None:
        bound.file.in_the_way_s += 0.25

    bound.file.before_settle = lock
    for number in range(3):
        bound.file.put(f"{number}", title="Milk")
    await bound.at_rest()
    assert [one for one in rests if one] == [0.25, 0.25]


async def test_a_file_that_was_locked_by_us_for_long_is_left_alone_for_a_while(bound: Bound, until: Until) -> None:
    await bound.begin()
    await bound.at_rest()

    def lock() -> None:
        bound.file.in_the_way_s += 60.0

    bound.file.before_settle = lock
    bound.file.put("a", title="Milk")
    await bound.at_rest()
    schedule, now_s = bound.runner._schedule, asyncio.get_running_loop().time()
    schedule.file_changed(now_s)
    wake_s = schedule.wake_s()
    assert wake_s is not None
    assert wake_s - now_s > 0.5
    await until(lambda: not schedule.is_busy)


async def test_where_reading_disturbs_the_schedule_knows(bound: Bound) -> None:
    bound.file.reading_disturbs = True
    await bound.begin()
    await bound.at_rest()
    assert bound.runner._schedule.reading_disturbs


async def test_a_file_shows_what_a_snapshot_brought_and_took_away(bound: Bound, make: MakeDevice) -> None:
    """Its position in the log means nothing any more; an edit that was not sent yet stays."""
    desk, laptop = bound.device, make("laptop")
    await desk.admit(laptop)
    for key in ("a", "b", "c"):
        await desk.put(key, {"title": key, "done": 0}, TASKS)
    await desk.tell(laptop)
    await bound.begin()
    await bound.at_rest()
    await laptop.delete("a", TASKS)
    await laptop.patch("b", TASKS, set={"title": "laptop"})
    await laptop.put("d", {"title": "d"}, TASKS)
    bound.file.put("b", title="b", done=1)
    await bound.at_rest()
    before = desk.space.copy_id
    assert await desk.space.snapshots.take_in(bytes(16), laptop.space.snapshots.serving.begin_outgoing().parts())
    await bound.at_rest()
    assert desk.space.copy_id != before
    assert bound.file.applied == Applied(desk.space.copy_id, desk.space.commits.last_position)
    assert (
        bound.file.plain
        == await bound.records()
        == {
            "b": {"title": "laptop", "done": 1},
            "c": {"title": "c", "done": 0},
            "d": {"title": "d"},
        }
    )
    bound.file.put("c", title="see", done=0)
    await bound.at_rest()
    assert (await bound.records())["c"]["title"] == "see"
