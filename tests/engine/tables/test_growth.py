"""A file that is bound already is bound again: it takes in what the application has added."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.changes import Applied, Brake
from peerd.core.tables.shape import Column, Reference, Schema, Table
from peerd.core.values import pack
from peerd.engine.tables import shared_plans
from peerd.engine.tables.notices import in_words
from peerd.errors import TableTrouble, UserError
from peerd.protocol.control.tables import NewBinding
from tests.engine.conftest import Device, Until
from tests.engine.tables.test_bindings import PATH, at_rest, bind, file_of, runner_of

LISTS = Table(
    "lists",
    "",
    (Column("id", "INTEGER", key_place=1), Column("name", "TEXT")),
    ("id",),
    is_rowid_alias=True,
    autoincrement=True,
)
ROWS = Table("rows", "", (Column("id", "INTEGER", key_place=1),), ("id",), is_rowid_alias=True)


def add(device: Device, *tables: Table) -> None:
    """The application is updated."""
    before = device.files.schema
    named = {**before.tables, **{table.name: table for table in tables}}
    device.files.schema = Schema(named, before.virtual, before.views, "wal", before.version + 1)
    file_of(device).put("noticed", title="Milk")


def reason_of(device: Device) -> str:
    found = device.bindings.troubles_of(device.space)
    return in_words(found[0]) if found else ""


@pytest.fixture
async def bound(desk: Device) -> Device:
    file_of(desk).put("a", title="Milk")
    await bind(desk)
    await at_rest(desk)
    return desk


async def test_a_new_table_is_named_and_bind_takes_it_in(bound: Device, until: Until) -> None:
    binding = runner_of(bound).binding
    add(bound, LISTS)
    await until(lambda: reason_of(bound) == "tables todo: not bound yet: lists")
    space = await bound.statuses.spaces.view(bound.space)
    assert space.state == "degraded"
    assert space.next_step == f"`peerctl tables bind home {PATH}` takes them in, or --exclude lists to leave it out"
    file_of(bound).rows["todo.lists", "1"] = {"name": pack("Garden")}
    report = await bind(bound, dry_run=True)
    assert ([one.table for one in report.tables], report.kept, report.first) == (["lists"], ["tasks"], "harvest")
    assert bound.files.extended == []
    assert (await bind(bound)).bound
    ((plan, new, again, empty),) = bound.files.extended
    assert (new, again, empty) == ({2}, {}, False)
    assert plan.tables[0] == binding.plan.tables[0]
    (stored,) = await bound.space.store.bindings.load()
    assert (stored.id, stored.plan) == (binding.id, plan)
    await at_rest(bound)
    assert reason_of(bound) == ""
    assert set(await shared_plans.load(bound.space, "todo")) == {"tasks", "lists"}
    again_report = await bind(bound)
    assert (again_report.tables, again_report.changes, again_report.bound) == ([], [], True)
    assert len(bound.files.extended) == 1


async def test_a_new_table_that_is_left_out_is_not_named_again(bound: Device, until: Until) -> None:
    add(bound, LISTS)
    await until(lambda: reason_of(bound))
    assert (await bind(bound, exclude=["lists"])).tables == []
    await at_rest(bound)
    assert reason_of(bound) == ""
    assert [one.table for one in (await bind(bound, include=["lists"])).tables] == ["lists"]


async def test_what_is_bound_stays_as_it_is(bound: Device) -> None:
    with pytest.raises(UserError, match="--key tasks=surrogate: tasks is bound as natural") as refused:
        await bind(bound, keys={"tasks": "surrogate"})
    assert refused.value.code == "tables-refused"
    with pytest.raises(UserError, match="bound already, as todo"):
        await bind(bound, name="other")


async def test_data_on_both_sides_of_a_new_table_is_asked_about(bound: Device) -> None:
    add(bound, LISTS)
    await bound.put("x", {"name": "Garden"}, "todo.lists")
    file_of(bound).rows["todo.lists", "1"] = {"name": pack("House")}
    with pytest.raises(UserError) as refused:
        await bind(bound)
    assert refused.value.code == "both-have-data"
    report = await bind(bound, adopt=True)
    assert report.backup
    assert bound.files.extended[0][3]


async def test_integers_of_this_device_are_said_again_once_they_mean_rows(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    file_of(desk).put("mine", title=7)
    file_of(desk).put("text", title="Milk")
    await bind(desk)
    await at_rest(desk)
    await desk.tell(laptop)
    await laptop.put("theirs", {"title": 7}, "todo.tasks")
    await laptop.tell(desk)
    await at_rest(desk)
    tasks = desk.files.schema.tables["tasks"]
    referring = Table("tasks", "", tasks.columns, tasks.key, references=(Reference(("title",), "lists", ("id",)),))
    add(desk, LISTS, referring)
    report = await bind(desk, keys={"lists": "surrogate"}, references={"tasks.title": "lists"})
    assert report.changes == ["tasks.title means rows of lists from now on"]
    assert desk.files.extended[0][2] == {"tasks": {"title": ["mine"]}}
    assert (await shared_plans.load(desk.space, "todo"))["tasks"].references == {"title": "lists"}


async def test_a_file_that_cannot_be_extended_goes_on_as_it_was(bound: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(*_: object, **__: object) -> None:
        raise TableTrouble("it is locked", code="file-locked")

    add(bound, LISTS)
    monkeypatch.setattr(bound.files, "extend", locked)
    with pytest.raises(TableTrouble):
        await bind(bound)
    (stored,) = await bound.space.store.bindings.load()
    assert [one.table for one in stored.plan.tables] == ["tasks"]
    file_of(bound).put("b", title="Salt")
    await at_rest(bound)
    assert (await bound.records.read("todo.tasks", "b")).value == {"title": "Salt"}


async def declare(device: Device, until: Until, **more: Any) -> None:
    file_of(device)
    device.bindings.declared = lambda _: [(NewBinding(database=PATH, name="todo", suggested=True, **more), Brake())]
    device.bindings.settings_changed([device.space])
    await until(lambda: device.bindings._of(device.space))
    await at_rest(device)


async def test_what_the_configuration_binds_whole_takes_in_what_leaves_nothing_open(desk: Device, until: Until) -> None:
    await declare(desk, until)
    add(desk, LISTS, ROWS)
    await until(lambda: desk.files.extended and reason_of(desk) == "tables todo: not bound yet: rows")
    assert [one.table for one in runner_of(desk).binding.plan.tables] == ["tasks", "lists"]


@pytest.mark.parametrize("more", [{"include": ["tasks"]}, {"exclude": ["lists"]}])
async def test_the_configuration_names_what_it_means(desk: Device, until: Until, more: dict[str, Any]) -> None:
    if "exclude" in more:
        desk.files.schema = Schema({**desk.files.schema.tables, "lists": LISTS}, frozenset(), frozenset(), "wal", 1)
    await declare(desk, until, **more)
    add(desk, LISTS)
    await at_rest(desk)
    assert (reason_of(desk), desk.files.extended) == ("", [])


async def test_what_other_devices_named_is_news_here(bound: Device, until: Until) -> None:
    """A reference that no schema declares."""
    fields = {"key": pack("natural"), "identity": pack(["id"]), "references": pack({"title": "lists"})}
    await bound.space.commits.write([Intent(Kind.PUT, "_tables", "todo.tasks", fields)])
    add(bound, LISTS)
    await until(lambda: "not translated yet: tasks.title means rows of lists" in reason_of(bound))


async def test_everything_is_projected_again(bound: Device) -> None:
    add(bound, LISTS)
    await bind(bound)
    await at_rest(bound)
    assert file_of(bound).applied != Applied(b"", 0)
