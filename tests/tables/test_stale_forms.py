"""An application that writes back a row as it was before another machine changed it: real files, spaces and runners.

The application here reads rows into forms, and saves a form as a whole.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from peerd.core.tables.cells import unpack_cell
from peerd.core.tables.earlier import RECENT_MS
from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.engine.conflicts import Conflicts
from tests.engine.conftest import Wire
from tests.network_simulation.disk import scratch
from tests.tables import two_copies
from tests.tables.random_apps import RandomApp, RandomTable
from tests.tables.two_copies import Copy

NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, body TEXT, done INT, url TEXT UNIQUE)"
PLAN = TablePlan(0, "note", "app.note", KeyClass.SURROGATE)
Form = dict[str, Any]


class Desk:
    """Two machines with one note."""

    def __init__(self, near: Copy, far: Copy) -> None:
        self.near, self.far = near, far

    async def exchange(self) -> None:
        assert await two_copies._exchange([self.near, self.far])

    def read(self, copy: Copy, identity: int = 1) -> Form:
        cursor = copy.connection.execute("SELECT * FROM note WHERE id = ?", (identity,))
        return dict(zip([name for name, _ in cursor.get_description()], next(cursor), strict=True))

    def save(self, copy: Copy, form: Form) -> None:
        copy.connection.execute(
            "UPDATE note SET title = :title, body = :body, done = :done, url = :url WHERE id = :id", form
        )

    async def far_writes(self, sql: str) -> None:
        """And it has reached the near file."""
        self.far.connection.execute(sql)
        await self.exchange()

    async def conflicts(self) -> dict[str, set[Any]]:
        """The values that stand against each other, by field; the same on both machines."""
        found = []
        for copy in (self.near, self.far):
            listed = await Conflicts(copy.device.space).list(collection=None, key=None, limit=100, cursor=None)
            named = [(one.key or "", one.field or "") for one in listed.conflicts]
            found.append({field: await self._values(copy, key, field) for key, field in named})
        assert found[0] == found[1]
        assert self.read(self.near) == self.read(self.far)
        return found[0]

    async def _values(self, copy: Copy, key: str, field: str) -> set[Any]:
        name = PLAN.collection, key
        stored = await copy.device.space.store.read(lambda transaction: transaction.records([name]))
        return {unpack_cell(value) for value in stored[name].record.fields[field].values()}


def on_a_desk(story: Callable[[Desk], Awaitable[None]], statement: str = NOTES) -> None:
    async def run(folder: Path) -> None:
        app = RandomApp({"note": RandomTable(PLAN, [statement], {}, "id")})
        chance = random.Random(7)
        wire = Wire()
        devices = [two_copies._device(name, folder, wire, chance) for name in ("near", "far")]
        await devices[0].spaces.found("home")
        await devices[0].admit(devices[1])
        near, far = (Copy(device, app, folder / f"{device.name}.db", chance, []) for device in devices)
        try:
            near.connection.execute("INSERT INTO note VALUES(1, 'Milk', 'two litres', 0, 'a')")
            for copy in (near, far):
                await copy.bind(merging=False)
            desk = Desk(near, far)
            await desk.exchange()
            await story(desk)
        finally:
            await near.close()
            await far.close()

    with scratch() as folder:
        asyncio.run(run(folder))


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
