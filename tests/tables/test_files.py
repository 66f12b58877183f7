"""Applications' files before they are bound, and binding and unbinding as a whole."""

from __future__ import annotations

import stat
from pathlib import Path

import apsw
import pytest

from peerd.core.tables.changes import Applied, Brake
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.errors import TableTrouble
from peerd.tables.files import Files

PLAN = BindingPlan("todo", (TablePlan(1, "tasks", "todo.tasks", KeyClass.NATURAL, ("id",)),))
BINDING = b"b" * 16
NOW_MS = 1_750_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "todo.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "PRAGMA journal_mode = wal; CREATE TABLE tasks (id TEXT PRIMARY KEY NOT NULL, title TEXT);"
        "CREATE TABLE other (a); INSERT INTO tasks VALUES ('a', 'Milk'), ('b', 'Salt')"
    ).fetchall()
    connection.close()
    return path


@pytest.fixture
def files() -> Files:
    return Files("DEVICE")


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


async def test_a_schema_and_counts_are_read(files: Files, path: Path) -> None:
    schema = await files.read_schema(path)
    assert set(schema.tables) == {"tasks", "other"}
    assert await files.count_rows(path, ["tasks", "other"]) == {"tasks": 2, "other": 0}


async def test_a_file_that_is_not_there_is_no_schema(files: Files, tmp_path: Path) -> None:
    with pytest.raises(TableTrouble) as refused:
        await files.read_schema(tmp_path / "no.db")
    assert refused.value.code == "file-missing"


async def test_a_backup_is_whole_and_ours_alone(files: Files, path: Path, tmp_path: Path) -> None:
    """Also what stands only in the WAL."""
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO tasks VALUES ('c', 'Bread')")
    target = tmp_path / "backups" / "todo.db"
    await files.back_up(path, target)
    connection.close()
    assert ask(target, "SELECT count(*) FROM tasks") == [(3,)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_binding_marks_every_row_and_unbinding_leaves_no_trace(files: Files, path: Path) -> None:
    before = ask(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2")
    await files.bind(path, BINDING, PLAN, empty=False)
    await files.bind(path, BINDING, PLAN, empty=False)  # what an earlier attempt left is no obstacle
    file = await files.open(path, BINDING, PLAN, Brake())
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    assert {edit.key for edit in harvest.edits} == {"a", "b"}
    await file.close()
    await files.unbind(path, BINDING)
    assert ask(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2") == before
    assert ask(path, "SELECT count(*) FROM tasks") == [(2,)]


async def test_binding_can_take_the_rows_out(files: Files, path: Path) -> None:
    await files.bind(path, BINDING, PLAN, empty=True)
    assert ask(path, "SELECT count(*) FROM tasks") == [(0,)]
    file = await files.open(path, BINDING, PLAN, Brake())
    assert await file.harvest(NOW_MS) is None
    assert await file.applied() is None
    assert (await file.project([], Applied(b"c" * 16, 1), NOW_MS)).dirty is False
    await file.close()
