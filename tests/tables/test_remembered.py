"""A file that was unbound is bound again, and its numbered rows are the records that they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from peerd.core.clocks import Dot
from peerd.core.tables.changes import Brake, Harvest
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices, propose
from peerd.tables import compare, install
from peerd.tables.files import Files
from peerd.tables.harvest import HarvestLimits, harvest
from peerd.tables.reading import read_schema
from peerd.tables.remembered import Alive, recognise, recognised, remember
from peerd.tables.settle import settle
from tests.tables.harvests import NOW_MS

Make = Callable[..., apsw.Connection]
BIND = b"b" * 16


def taken(connection: apsw.Connection, plan: BindingPlan) -> Harvest | None:
    compare.renew(connection, plan)
    schema = read_schema(connection)
    found = harvest(connection, schema, plan, "device", HarvestLimits(), now_ms=NOW_MS)
    if found is not None:
        settle(connection, schema, plan, found.note, Dot(b"o" * 16, 1))
    return found


@pytest.fixture
def unbound(make: Make, tmp_path: Path) -> tuple[apsw.Connection, BindingPlan, Path, Alive]:
    """Three notes in two folders that were records, and are nothing but rows now."""
    connection = make(
        "CREATE TABLE folders(id INTEGER PRIMARY KEY AUTOINCREMENT, name)",
        "CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, folder REFERENCES folders, title, gone)",
        "CREATE TABLE tags(name TEXT PRIMARY KEY)",
        "INSERT INTO folders(name) VALUES('garden'), ('house')",
        "INSERT INTO notes(folder, title) VALUES(1, 'a'), (2, 'b'), (2, CAST(x'ff' AS TEXT))",
        "INSERT INTO tags VALUES('red')",
    )
    plan = propose(read_schema(connection), "app", Choices()).plan("app")
    assert plan is not None
    install.install(connection, read_schema(connection), plan, BIND)
    taken(connection, plan)
    numbers = {one.table: one.number for one in plan.tables}
    alive = {
        name: {record for (record,) in connection.execute(f"SELECT r FROM _peerd_s{numbers[name]}")}
        for name in ("folders", "notes")
    }
    kept = tmp_path / "unbound" / "app.db"
    remember(connection, kept)
    install.uninstall(connection)
    return connection, plan, kept, alive


def bound_again(connection: apsw.Connection, kept: Path, alive: Alive) -> tuple[Harvest | None, BindingPlan]:
    schema = read_schema(connection)
    plan = propose(schema, "app", Choices()).plan("app")
    assert plan is not None
    install.install(connection, schema, plan, b"c" * 16)
    recognise(connection, schema, plan, kept, alive)
    return taken(connection, plan), plan


def edits(found: Harvest | None) -> list[tuple[str, str]]:
    return [(edit.kind, edit.collection) for edit in (found.edits if found else ()) if edit.collection != "app.tags"]


def test_rows_that_stand_as_they_stood_are_no_news(unbound: tuple[apsw.Connection, BindingPlan, Path, Alive]) -> None:
    connection, plan, kept, alive = unbound
    assert kept.stat().st_mode & 0o777 == 0o600
    assert recognised(connection, read_schema(connection), plan, kept, alive) == {"folders": 2, "notes": 3}
    found, _ = bound_again(connection, kept, alive)
    assert edits(found) == []
    connection.execute("UPDATE notes SET title = 'A' WHERE id = 1")
    found = taken(connection, plan)
    assert found is not None
    assert [(edit.kind, edit.key in alive["notes"]) for edit in found.edits] == [("patch", True)]
    assert found.edits[0].seen, "what it showed when it was unbound is what the edit has seen"


def test_rows_that_changed_or_came_are_new(unbound: tuple[apsw.Connection, BindingPlan, Path, Alive]) -> None:
    connection, _, kept, alive = unbound
    connection.execute("UPDATE notes SET title = 'other' WHERE id = 1")
    connection.execute("DELETE FROM notes WHERE id = 2")
    connection.execute("INSERT INTO notes(title) VALUES('new')")
    found, _ = bound_again(connection, kept, alive)
    assert edits(found) == [("put", "app.notes"), ("put", "app.notes")]


def test_a_row_whose_record_is_gone_is_not_deleted_by_that(
    unbound: tuple[apsw.Connection, BindingPlan, Path, Alive],
) -> None:
    connection, _, kept, alive = unbound
    found, _ = bound_again(connection, kept, {**alive, "notes": sorted(alive["notes"])[1:]})
    assert edits(found) == [("put", "app.notes")]


def test_columns_that_came_or_went_meanwhile_are_no_obstacle(
    unbound: tuple[apsw.Connection, BindingPlan, Path, Alive],
) -> None:
    connection, _, kept, alive = unbound
    connection.execute("ALTER TABLE notes DROP COLUMN gone")
    connection.execute("ALTER TABLE notes ADD COLUMN came DEFAULT 7")
    found, _ = bound_again(connection, kept, alive)
    assert edits(found) == []


def test_without_anything_kept_nothing_is_recognised(
    unbound: tuple[apsw.Connection, BindingPlan, Path, Alive], tmp_path: Path
) -> None:
    connection, plan, _, alive = unbound
    assert recognised(connection, read_schema(connection), plan, tmp_path / "no.db", alive) == {}


async def test_it_is_kept_at_unbinding_and_forgotten_when_it_is_old(tmp_path: Path, make: Make) -> None:
    connection = make("CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title)")
    connection.execute("INSERT INTO notes(title) VALUES('a')")
    plan = propose(read_schema(connection), "app", Choices()).plan("app")
    assert plan is not None
    files, path, kept = Files("DEVICE"), tmp_path / "app.db", tmp_path / "unbound" / "aa.app.db"
    await files.bind(path, BIND, plan, empty=False)
    file = await files.open(path, BIND, plan, Brake())
    found = await file.harvest(NOW_MS)
    assert found is not None
    await file.settle(found.note, Dot(b"o" * 16, 1))
    await file.close()
    assert await files.unbind(path, BIND, kept)
    remembered = kept, {"notes": {found.edits[0].key}}
    assert await files.recognised(path, plan, remembered) == {"notes": 1}
    await files.bind(path, BIND, plan, empty=False, remembered=remembered)
    assert list(connection.execute("SELECT r FROM _peerd_s1")) == [(found.edits[0].key,)]
    await files.forget(kept.parent, "aa.", 0)
    await files.forget(kept.parent, "bb.", None)
    assert kept.exists()
    await files.forget(kept.parent, "aa.", None)
    assert not kept.exists()
    kept.parent.rmdir()
    kept.parent.write_text("no folder can be made here")
    assert await files.unbind(path, BIND, kept), "that it cannot be kept keeps nobody from unbinding"
