"""Everything about tables that waits for a person is in the status."""

from __future__ import annotations

from peerd.engine.tables.notices import in_words
from tests.engine.conftest import Device
from tests.engine.tables.test_bindings import TASKS, at_rest, bind, file_of


async def test_rows_that_are_parked_are_in_the_status_with_cause_and_next_step(desk: Device) -> None:
    file_of(desk).blocked.update({"a", "b"})
    await bind(desk)
    for key in "ab":
        await desk.put(key, {"title": "Milk"}, TASKS)
    await at_rest(desk)
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.reason) == ("alone", ""), "as with a conflict, nothing is wrong with the space"
    (notice,) = space.tables
    assert (notice.binding, notice.table, notice.code, notice.rows) == ("todo", "tasks", "parked-unique", 2)
    assert notice.reason == "2 rows of tasks are parked, the first is todo.tasks/a: another row has its value"
    assert "peerctl delete home todo.tasks a" in notice.next_step
    assert notice.next_step.endswith("All are in `peerctl tables list --space home`.")
    assert in_words(notice).startswith("tables todo: 2 rows")


async def test_they_are_gone_from_it_once_they_are_shown(desk: Device) -> None:
    file_of(desk).blocked.add("a")
    await bind(desk)
    await desk.put("a", {"title": "Milk"}, TASKS)
    await at_rest(desk)
    assert "a row of tasks is parked, todo.tasks/a" in (await desk.statuses.spaces.view(desk.space)).tables[0].reason
    file_of(desk).blocked.clear()
    await desk.put("b", {"title": "Salt"}, TASKS)
    await at_rest(desk)
    assert (await desk.statuses.spaces.view(desk.space)).tables == []


async def test_deletes_that_are_held_are_told_table_by_table_with_the_commands(desk: Device) -> None:
    file_of(desk).held = {"tasks": 150, "lists": 3}
    await bind(desk)
    await at_rest(desk)
    space = await desk.statuses.spaces.view(desk.space)
    assert [(one.table, one.code, one.rows) for one in space.tables] == [("lists", "held", 3), ("tasks", "held", 150)]
    assert space.reason == in_words(space.tables[0])
    assert space.tables[1].next_step == (
        "`peerctl tables held home todo --approve tasks` deletes them on all devices; --restore tasks brings them back"
    )
