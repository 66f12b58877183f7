"""What the space has for a column or a table that a file lacked for a while is shown once it is there, whatever came in
between: real files, spaces and runners.
"""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.errors import TableTrouble
from peerd.tables import compare
from tests.tables.desk import Desk, on_a_desk
from tests.tables.random_apps import RandomTable


def rows(desk: Desk) -> list[list[Any]]:
    """Of both files."""
    found = [sorted(copy.connection.execute("SELECT * FROM note ORDER BY id")) for copy in (desk.near, desk.far)]
    assert found[0] == found[1]
    return [list(row) for row in found[0]]


def test_a_new_column_is_shown_though_its_file_was_locked_when_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise apsw.BusyError("database is locked")

    async def story(desk: Desk) -> None:
        desk.far.connection.execute("ALTER TABLE note ADD COLUMN place TEXT DEFAULT ''")
        await desk.far_writes("UPDATE note SET place = 'shop'")
        desk.near.connection.execute("ALTER TABLE note ADD COLUMN place TEXT DEFAULT ''")
        assert desk.near.runner is not None
        with monkeypatch.context() as patched:
            patched.setattr(compare, "mark", locked)
            patched.setattr(compare, "_differs", lambda *_: True)
            with pytest.raises(TableTrouble):
                await desk.near.runner._harvest()
        await desk.near.end()
        await desk.exchange()
        assert [row[-1] for row in rows(desk)] == ["shop"]

    on_a_desk(story)


def test_what_came_while_a_table_was_away_is_shown_when_it_is_back() -> None:
    async def story(desk: Desk) -> None:
        desk.near.connection.execute("ALTER TABLE note RENAME TO old_note")
        await desk.far_writes("UPDATE note SET title = 'Oat milk'; INSERT INTO note(title) VALUES('Bread')")
        desk.near.connection.execute("ALTER TABLE old_note RENAME TO note")
        await desk.exchange()
        assert [row[1] for row in rows(desk)] == ["Oat milk", "Bread"]

    on_a_desk(story)


def test_what_went_while_a_table_was_away_goes_when_it_is_back() -> None:
    async def story(desk: Desk) -> None:
        desk.near.connection.execute("ALTER TABLE note RENAME TO old_note")
        await desk.far_writes("DELETE FROM note")
        desk.near.connection.execute("ALTER TABLE old_note RENAME TO note")
        await desk.exchange()
        assert rows(desk) == []

    on_a_desk(story)


@pytest.mark.parametrize("kind", ["content", "natural"])
def test_a_table_whose_rows_cannot_be_told_apart_any_more_is_left_alone(kind: str) -> None:
    """The other tables go on, and so does this one once its column is back."""
    sql = {
        "content": "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n INT)",
        "natural": "CREATE TABLE tag(name TEXT NOT NULL PRIMARY KEY, n INT)",
    }
    tag = RandomTable(TablePlan(1, "tag", "app.tag", KeyClass(kind), ("name",)), [sql[kind]], {}, "name")

    async def story(desk: Desk) -> None:
        near, far = desk.near.connection, desk.far.connection
        near.execute("INSERT INTO tag(name, n) VALUES('garden', 1)")
        await desk.exchange()
        near.execute("ALTER TABLE tag RENAME COLUMN name TO title; INSERT INTO tag(title, n) VALUES('house', 2)")
        near.execute("INSERT INTO note(title) VALUES('Bread')")
        await desk.far_writes("UPDATE tag SET n = 3")
        assert desk.near.runner is not None
        assert desk.near.runner.harvesting.missing == ["tag"]
        assert [row[1] for row in rows(desk)] == ["Milk", "Bread"]
        assert list(near.execute("SELECT title, n FROM tag ORDER BY n")) == [("garden", 1), ("house", 2)]
        near.execute("ALTER TABLE tag RENAME COLUMN title TO name")
        await desk.exchange()
        wanted = [("garden", 3), ("house", 2)]
        assert [list(one.execute("SELECT name, n FROM tag ORDER BY name")) for one in (near, far)] == [wanted, wanted]

    on_a_desk(story, others={"tag": tag})
