"""An application that writes back a row as it was before another machine changed it: real files, spaces and runners."""

from __future__ import annotations

import pytest

from peerd.core.tables.earlier import RECENT_MS
from tests.tables.desk import Desk, on_a_desk


def test_a_form_that_was_read_before_a_change_came_is_a_conflict_with_it() -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET title = 'Oat milk', done = 1")
        desk.save(desk.near, form | {"body": "three litres"})
        await desk.exchange()
        assert await desk.conflicts() == {"title": {"Milk", "Oat milk"}, "done": {0, 1}}
        assert desk.read(desk.far)["body"] == "three litres"

    on_a_desk(story)


def test_a_field_that_was_edited_on_both_sides_of_such_a_row_is_a_conflict_too() -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET title = 'Oat milk', body = 'one litre'")
        desk.save(desk.near, form | {"body": "three litres"})
        await desk.exchange()
        assert await desk.conflicts() == {"title": {"Milk", "Oat milk"}, "body": {"one litre", "three litres"}}

    on_a_desk(story)


def test_what_is_saved_again_before_anything_was_shown_has_seen_no_more() -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET title = 'Oat milk'")
        assert desk.near.runner is not None
        desk.save(desk.near, form | {"body": "three litres"})
        await desk.near.runner._harvest()
        desk.save(desk.near, form | {"body": "three litres", "title": "Soy milk"})
        await desk.exchange()
        assert await desk.conflicts() == {"title": {"Soy milk", "Oat milk"}}

    on_a_desk(story)


def test_of_several_changes_a_form_has_seen_those_before_it() -> None:
    async def story(desk: Desk) -> None:
        await desk.far_writes("UPDATE note SET title = 'Oat milk'")
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET body = 'one litre'")
        await desk.far_writes("UPDATE note SET body = 'four litres'")
        desk.save(desk.near, form | {"done": 1})
        await desk.exchange()
        assert await desk.conflicts() == {"body": {"two litres", "four litres"}}
        assert desk.read(desk.far)["title"] == "Oat milk"

    on_a_desk(story)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE note SET done = 0",
        "UPDATE note SET done = 0, title = 'Milk'",
        "UPDATE note SET done = 2, body = 'new'",
        "UPDATE note SET done = 0; UPDATE note SET done = 1, body = 'new'",
    ],
)
def test_an_undo_by_hand_and_an_edit_of_what_is_shown_are_no_conflict(sql: str) -> None:
    async def story(desk: Desk) -> None:
        await desk.far_writes("UPDATE note SET title = 'Oat milk', done = 1")
        desk.near.connection.execute(sql)
        wanted = desk.read(desk.near)
        await desk.exchange()
        assert await desk.conflicts() == {}
        assert desk.read(desk.far) == wanted

    on_a_desk(story)


@pytest.mark.parametrize(("later_s", "is_told"), [(RECENT_MS / 1000 - 60, True), (RECENT_MS / 1000 + 60, False)])
def test_a_form_is_thought_of_for_a_quarter_of_an_hour(later_s: float, *, is_told: bool) -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET title = 'Oat milk'")
        desk.near.device.clock.pass_s(later_s)
        desk.save(desk.near, form | {"body": "three litres"})
        await desk.exchange()
        assert bool(await desk.conflicts()) is is_told

    on_a_desk(story)


def test_once_an_edit_was_taken_what_came_before_it_is_forgotten() -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET title = 'Oat milk'")
        desk.near.connection.execute("UPDATE note SET id = 1")  # no edit
        await desk.exchange()
        assert next(desk.near.connection.execute("SELECT e IS NOT NULL FROM _peerd_s0")) == (1,)
        desk.near.connection.execute("UPDATE note SET done = 1")
        await desk.exchange()
        assert next(desk.near.connection.execute("SELECT e FROM _peerd_s0")) == (None,)
        desk.save(desk.near, form | {"body": "three litres"})
        await desk.exchange()
        assert await desk.conflicts() == {}

    on_a_desk(story)


def test_a_row_that_made_way_for_another_one_in_a_projection_is_remembered() -> None:
    """The two swap what is unique, so that one of them is taken out and put in again."""

    async def story(desk: Desk) -> None:
        await desk.far_writes("INSERT INTO note VALUES(2, 'Salt', 'a pound', 0, 'b')")
        forms = desk.read(desk.near, 1), desk.read(desk.near, 2)
        await desk.far_writes(
            "UPDATE note SET url = 'c' WHERE id = 1; UPDATE note SET url = 'a' WHERE id = 2; "
            "UPDATE note SET url = 'b' WHERE id = 1"
        )
        assert next(desk.near.connection.execute("SELECT count(e) FROM _peerd_s0")) == (2,)
        desk.near.connection.execute("UPDATE note SET url = NULL")
        for form in forms:
            desk.save(desk.near, form | {"body": "new"})
        await desk.exchange()
        assert await desk.conflicts() == {"url": {"a", "b"}}

    on_a_desk(story)


def test_what_sqlite_made_of_a_value_is_what_has_gone_back() -> None:
    async def story(desk: Desk) -> None:
        form = desk.read(desk.near)
        await desk.far_writes("UPDATE note SET done = 1")
        desk.save(desk.near, form | {"done": 0.0, "title": "Soy milk"})  # an INT column stores 0
        await desk.exchange()
        assert await desk.conflicts() == {"done": {0, 1}}

    on_a_desk(story)
