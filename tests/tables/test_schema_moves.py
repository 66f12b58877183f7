"""What the space has for a column or a table that a file lacked for a while is shown once it is there, whatever came in
between: real files, spaces and runners.
"""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from peerd.errors import TableTrouble
from peerd.tables import compare
from tests.tables.desk import Desk, on_a_desk


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
