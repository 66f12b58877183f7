"""Bound files: how they come to be, what they agree on with other devices, how they stand, and how they end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Brake
from peerd.core.tables.shape import Column, Schema, Table
from peerd.core.values import pack
from peerd.engine.tables import bindings
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import StoreDamaged, TableTrouble, UserError
from peerd.protocol.control.tables import BindingReport, HeldAnswer, NewBinding
from tests.engine.conftest import PATIENCE_S, Device, Until
from tests.engine.fake_files import FakeDatabase

PATH = "/home/ada/todo.db"
TASKS = "todo.tasks"


def file_of(device: Device, path: str = PATH) -> FakeDatabase:
    return device.files.at(path)


async def bind(device: Device, path: str = PATH, **more: Any) -> BindingReport:
    return await device.bindings.bind(device.space, NewBinding(database=path, **more))


def runner_of(device: Device, name: str = "todo") -> BindingRunner:
    return device.bindings._runners[device.space.id][name]


async def at_rest(device: Device, name: str = "todo") -> None:
    async with asyncio.timeout(PATIENCE_S):
        await runner_of(device, name).settled.wait()


async def keys_of(device: Device) -> set[str]:
    return {record.key for record in (await device.records.list(TASKS, "", 100, None)).records}


async def test_rows_become_records_of_an_empty_space(desk: Device) -> None:
    file_of(desk).put("a", title="Milk")
    report = await bind(desk)
    assert (report.name, report.first, report.bound) == ("todo", "harvest", True)
    assert [(table.table, table.collection, table.key, table.rows) for table in report.tables] == [
        ("tasks", TASKS, "natural", 1)
    ]
    await at_rest(desk)
    assert await keys_of(desk) == {"a"}


async def test_records_become_rows_of_an_empty_file(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    file_of(desk)
    assert (await bind(desk)).first == "project"
    await at_rest(desk)
    assert file_of(desk).plain == {"a": {"title": "Milk"}}


async def test_a_dry_run_changes_nothing(desk: Device) -> None:
    file_of(desk).put("a", title="Milk")
    report = await bind(desk, dry_run=True)
    assert (report.first, report.bound) == ("harvest", False)
    assert (await desk.bindings.list(desk.space)).bindings == []
    assert file_of(desk).binding is None
    assert desk.clock_now() == {}


async def test_data_on_both_sides_is_never_guessed_about(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    file_of(desk).put("b", title="Salt")
    assert (await bind(desk, dry_run=True)).first == "undecided"
    with pytest.raises(UserError) as refused:
        await bind(desk)
    assert (refused.value.code, refused.value.status) == ("both-have-data", 409)
    assert file_of(desk).binding is None


async def test_merge_brings_both_together_and_says_only_what_differs(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    await desk.put("b", {"title": "Salt"}, TASKS)
    file_of(desk).put("a", title="Milk")
    file_of(desk).put("b", title="Sugar")
    file_of(desk).put("c", title="Bread")
    assert (await bind(desk, merge=True)).first == "merge"
    await at_rest(desk)
    assert set(file_of(desk).plain) == await keys_of(desk) == {"a", "b", "c"}
    assert (await desk.records.read(TASKS, "a")).conflicts == []
    assert (await desk.records.read(TASKS, "b")).conflicts == ["title"]
    assert len((await desk.records.load(TASKS, "a")).dots()) == 1


async def test_adopt_copies_the_file_and_lets_its_rows_give_way(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    file_of(desk).put("b", title="Salt")
    report = await bind(desk, adopt=True)
    ((source, target),) = desk.files.backups
    assert (source, str(target)) == (Path(PATH), report.backup)
    assert target.parent == desk.folder / "backups"
    await at_rest(desk)
    assert file_of(desk).plain == {"a": {"title": "Milk"}}
    assert await keys_of(desk) == {"a"}


async def test_what_is_open_is_refused_with_the_report_until_it_is_answered(desk: Device) -> None:
    columns = (Column("title", "TEXT"),)
    desk.files.schema = Schema({"tasks": Table("tasks", "", columns, ("rowid",))}, frozenset(), frozenset(), "wal", 1)
    file_of(desk)
    with pytest.raises(UserError, match="which rows are the same") as refused:
        await bind(desk)
    assert refused.value.code == "tables-undecided"
    assert isinstance(refused.value.extra["report"], BindingReport)
    report = await bind(desk, keys={"tasks": "content"}, match={"tasks": ["title"]})
    assert (report.tables[0].key, report.tables[0].identity) == ("content", ["title"])


async def test_nothing_to_bind_is_refused_with_the_reasons(desk: Device) -> None:
    file_of(desk)
    with pytest.raises(UserError, match="tasks: it is excluded") as refused:
        await bind(desk, exclude=["tasks"])
    assert refused.value.code == "tables-refused"


async def test_a_name_and_a_file_are_bound_once(desk: Device) -> None:
    file_of(desk)
    file_of(desk, "/home/ada/other/todo.db")
    await bind(desk)
    for path, more in ((PATH, {"name": "again"}), ("/home/ada/other/todo.db", {})):
        with pytest.raises(UserError) as refused:
            await bind(desk, path, **more)
        assert refused.value.code == "binding-exists"


async def test_a_file_that_is_not_there_is_said_to_be_so(desk: Device) -> None:
    with pytest.raises(Exception, match="there is no file"):
        await bind(desk)


async def test_what_the_first_device_decided_holds_on_the_others(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    file_of(desk).put("a", title="Milk")
    await bind(desk, keys={"tasks": "content"}, match={"tasks": ["title"]})
    await at_rest(desk)
    await desk.tell(laptop)
    file_of(laptop)
    with pytest.raises(UserError, match="other devices have bound tasks with another class"):
        await bind(laptop, keys={"tasks": "surrogate"})
    report = await bind(laptop)
    assert (report.tables[0].key, report.tables[0].identity) == ("content", ["title"])
    await at_rest(laptop)
    assert file_of(laptop).plain == {"a": {"title": "Milk"}}
    assert laptop.space.commits.own_origin is None, "nothing was left to say"


async def test_the_records_about_tables_are_not_counted_or_listed(desk: Device) -> None:
    file_of(desk).put("a", title="Milk")
    await bind(desk)
    await at_rest(desk)
    assert (await desk.statuses.spaces.view(desk.space)).records == 1
    assert [one.name for one in (await desk.service.collections("home")).collections] == [TASKS]


async def test_bindings_go_on_after_a_restart(desk: Device) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)
    again = await desk.reopen()
    async with asyncio.timeout(PATIENCE_S):
        while not again.bindings._runners[again.space.id]:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)
    await again.put("a", {"title": "Milk"}, TASKS)
    await at_rest(again)
    assert file_of(again).plain == {"a": {"title": "Milk"}}


async def test_unbinding_takes_the_last_changes_and_leaves_rows_and_records(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    file_of(desk)
    await bind(desk)
    await at_rest(desk)
    file_of(desk).rows[TASKS, "b"] = {}  # nobody heard of it
    await desk.bindings.unbind(desk.space, "todo")
    assert await keys_of(desk) == {"a", "b"}
    assert file_of(desk).binding is None
    assert set(file_of(desk).plain) == {"a", "b"}
    assert await desk.space.store.bindings.load() == []
    assert (await desk.bindings.list(desk.space)).bindings == []
    with pytest.raises(UserError) as refused:
        await desk.bindings.unbind(desk.space, "todo")
    assert refused.value.code == "binding-not-found"


async def test_a_file_that_is_gone_stays_bound_unless_a_person_insists(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)

    async def gone(*_: object) -> bool:
        raise TableTrouble("there is no file", code="file-missing")

    monkeypatch.setattr(desk.files, "unbind", gone)
    with pytest.raises(TableTrouble, match="todo stays bound: there is no file") as refused:
        await desk.bindings.unbind(desk.space, "todo")
    assert refused.value.code == "file-missing"
    assert "peerctl tables unbind home todo --force" in refused.value.next_step
    assert len(await desk.space.store.bindings.load()) == 1
    answer = await desk.bindings.unbind(desk.space, "todo", force=True)
    assert not answer.cleaned
    assert answer.left.startswith("there is no file; tables and triggers of peerd may be left")
    assert "--file PATH" in answer.next_step
    assert await desk.space.store.bindings.load() == []


async def test_another_file_in_its_place_is_left_alone_and_said_to_be_another(desk: Device) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)
    file_of(desk).binding = b"of another daemon"
    answer = await desk.bindings.unbind(desk.space, "todo")
    assert (answer.cleaned, file_of(desk).binding) == (False, b"of another daemon")
    assert "does not carry this binding" in answer.left


async def test_only_a_file_that_no_binding_knows_is_cleaned(desk: Device) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)
    elsewhere = file_of(desk, "/elsewhere.db")
    elsewhere.binding = runner_of(desk).binding.id  # a copy
    with pytest.raises(UserError, match="is bound, as todo") as refused:
        await desk.bindings.clean(Path(PATH))
    assert (refused.value.code, "unbind home todo" in refused.value.next_step) == ("file-bound", True)
    assert (await desk.bindings.clean(Path("/elsewhere.db"))).cleaned
    assert not (await desk.bindings.clean(Path("/elsewhere.db"))).cleaned
    elsewhere.binding = runner_of(desk).binding.id
    runner_of(desk).trouble = TableTrouble("there is no file", code="file-missing")  # it was moved
    with pytest.raises(UserError, match="or was moved from where that one stood"):
        await desk.bindings.clean(Path("/elsewhere.db"))


async def test_a_file_that_cannot_be_unbound_stays_bound(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)

    async def locked(*_: object) -> bool:
        raise TableTrouble("it is locked", code="file-locked")

    monkeypatch.setattr(desk.files, "unbind", locked)
    with pytest.raises(TableTrouble):
        await desk.bindings.unbind(desk.space, "todo")
    await desk.put("a", {"title": "Milk"}, TASKS)
    await at_rest(desk)
    assert file_of(desk).plain == {"a": {"title": "Milk"}}


async def test_how_a_binding_stands(desk: Device) -> None:
    file_of(desk).blocked.add("a")
    await desk.put("a", {"title": "Milk"}, TASKS)
    await bind(desk)
    await at_rest(desk)
    (view,) = (await desk.service.bindings("home")).bindings
    assert (view.name, view.database, view.state, view.reason) == ("todo", PATH, "in step", "")
    assert [(table.table, table.rows, table.parked) for table in view.tables] == [("tasks", 0, 1)]
    assert [(row.table, row.key, row.code) for row in view.parked] == [("tasks", "a", "unique")]


async def test_trouble_with_a_file_degrades_the_space_and_says_what_to_do(desk: Device, until: Until) -> None:
    file_of(desk)
    await bind(desk)
    await at_rest(desk)
    file_of(desk).trouble = TableTrouble("the file is locked", code="file-locked", next_step="Wait for it.")
    file_of(desk).tell()
    await until(lambda: runner_of(desk).trouble)
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.reason) == ("degraded", "tables todo: the file is locked")
    assert space.next_step == "Wait for it."
    (view,) = (await desk.service.bindings("home")).bindings
    assert (view.state, view.reason) == ("trouble", "the file is locked")
    assert view.tables[0].rows is None


async def test_held_deletes_ask_for_a_person(desk: Device) -> None:
    file_of(desk).held = {"tasks": 150}
    await bind(desk)
    await at_rest(desk)
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.reason) == (
        "degraded",
        "tables todo: 150 deleted rows of tasks are held, because they are so many",
    )
    assert [(one.table, one.rows) for one in (await desk.service.held("home", "todo")).held] == [("tasks", 150)]
    assert (await desk.service.answer_held("home", "todo", HeldAnswer(action="approve"))).held == []
    assert (await desk.statuses.spaces.view(desk.space)).state == "alone"
    file_of(desk).held = {"tasks": 150}
    answer = HeldAnswer(action="restore", table="tasks")
    assert (await desk.service.answer_held("home", "todo", answer)).held == []


async def test_what_the_configuration_names_is_bound_and_its_brake_follows(desk: Device, until: Until) -> None:
    wish = NewBinding(database=PATH, name="todo")
    desk.bindings.declared = lambda _: [(wish, Brake(5, 50))]
    desk.bindings.settings_changed([desk.space])
    await until(lambda: desk.bindings.troubles_of(desk.space))
    space = await desk.statuses.spaces.view(desk.space)
    assert space.reason.startswith("tables todo: not bound as the configuration wants it: there is no file")
    file_of(desk)
    desk.bindings.settings_changed([desk.space])
    await until(lambda: not desk.bindings.troubles_of(desk.space))
    assert runner_of(desk).settings.brake == Brake(5, 50)
    desk.bindings.declared = lambda _: [(wish, Brake(6, 60))]
    desk.bindings.settings_changed([desk.space])
    await until(lambda: runner_of(desk).settings.brake == Brake(6, 60))
    await at_rest(desk)
    desk.bindings.declared = lambda _: [(NewBinding(database="/elsewhere.db", name="todo"), Brake())]
    desk.bindings.settings_changed([desk.space])
    await until(lambda: desk.bindings.troubles_of(desk.space))
    assert "the configuration names /elsewhere.db" in (await desk.statuses.spaces.view(desk.space)).reason


async def test_what_is_declared_for_a_space_that_is_gone_is_not_tried_again(
    desk: Device, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(bindings, "DECLARED_AGAIN_S", 0.001)
    asked: list[str] = []

    def declared(space: str) -> list[tuple[NewBinding, Brake]]:
        asked.append(space)
        return [(NewBinding(database="/not/there/yet.db"), Brake())]

    desk.bindings.declared = declared
    desk.bindings.add_space(desk.space)
    await until(lambda: len(asked) > 2)
    await desk.spaces.forget("home", delete=False)
    await until(lambda: not desk.bindings._works)
    asked.clear()
    await asyncio.sleep(0.02)
    assert asked == []


async def test_bindings_that_cannot_be_read_are_said_to_be_so(
    desk: Device, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    async def damaged() -> list[StoredBinding]:
        raise StoreDamaged("a binding cannot be read", next_step="Restore it.")

    monkeypatch.setattr(desk.space.store.bindings, "load", damaged)
    desk.bindings.add_space(desk.space)
    await until(lambda: desk.bindings.troubles_of(desk.space))
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.next_step) == ("degraded", "Restore it.")
    monkeypatch.undo()
    desk.bindings.remove_space(desk.space)
    desk.bindings.add_space(desk.space)  # as another copy that takes its place
    assert (await desk.bindings.list(desk.space)).bindings == []
    assert desk.bindings.troubles_of(desk.space) == []


async def test_a_name_that_the_file_lacks_is_refused_and_nothing_changes(desk: Device) -> None:
    file_of(desk).put("a", title="Milk")
    for dry_run in (False, True):
        with pytest.raises(UserError) as refused:
            await bind(desk, exclude=["taks"], references={"tasks.list": "lists"}, dry_run=dry_run)
        assert (refused.value.code, refused.value.status) == ("tables-unknown", 409)
        assert "--exclude taks: there is no table taks; perhaps tasks; --reference tasks.list" in str(refused.value)
    assert file_of(desk).binding is None
    assert await desk.space.store.bindings.load() == []


async def test_a_wrong_name_in_the_configuration_is_in_the_status(desk: Device, until: Until) -> None:
    file_of(desk)
    wish = NewBinding(database=PATH, name="todo", exclude=["taks"])
    desk.bindings.declared = lambda _: [(wish, Brake())]
    desk.bindings.settings_changed([desk.space])
    await until(lambda: desk.bindings.troubles_of(desk.space))
    space = await desk.statuses.spaces.view(desk.space)
    assert "exclude taks: there is no table taks; perhaps tasks" in space.reason
    assert "[[spaces.NAME.tables]]" in space.next_step
    assert file_of(desk).binding is None


async def test_what_another_device_named_may_be_lacking_here(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    file_of(desk)
    await bind(desk)
    lists = {"key": pack("surrogate"), "identity": pack([]), "references": pack({})}
    await desk.space.commits.write([Intent(Kind.PUT, "_tables", "todo.lists", lists)])
    await desk.tell(laptop)
    file_of(laptop)
    assert (await bind(laptop)).bound
