"""A bound file as the engine has it: harvested, settled, projected to, and known again when it is opened.

The application is `apsw` here: another SQLite in this process would drop the locks of ours when it closes a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from msgspec import msgpack

from peerd.core.clocks import Dot
from peerd.core.tables.cells import pack_cell
from peerd.core.tables.changes import Applied, Brake, RowImage
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.errors import TableTrouble
from peerd.tables.bound_file import BoundFile
from peerd.tables.files import Files

PLAN = BindingPlan("todo", (TablePlan(1, "tasks", "todo.tasks", KeyClass.NATURAL, ("id",)),))
BINDING = b"b" * 16
NOW_MS = 1_750_000_000_000
TASKS = "todo.tasks"
DOT = Dot(b"o" * 16, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "todo.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "PRAGMA journal_mode = wal; CREATE TABLE tasks (id TEXT PRIMARY KEY NOT NULL, title TEXT UNIQUE)"
    ).fetchall()
    connection.close()
    return path


@pytest.fixture
async def file(path: Path) -> AsyncIterator[BoundFile]:
    await Files("DEVICE").bind(path, BINDING, PLAN, empty=False)
    file = await BoundFile.open(path, BINDING, PLAN, Brake(3, 20), "DEVICE")
    assert await file.harvest(NOW_MS) is None
    yield file
    await file.close()


def do(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


def moved(old: Path, new: Path) -> None:
    if not old.exists():
        old.touch()
    old.rename(new)


def image(key: str, title: str, seq: int = 1) -> RowImage:
    fields = {"id": pack_cell(key), "title": pack_cell(title)}
    return RowImage(TASKS, key, fields, frozenset({Dot(b"o" * 16, seq)}), (seq, b"o" * 16, seq))


async def settled(file: BoundFile) -> None:
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    await file.settle(harvest.note, DOT)


async def test_a_row_goes_out_once(file: BoundFile, path: Path) -> None:
    do(path, "INSERT INTO tasks VALUES ('a', 'Milk')")
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    (edit,) = harvest.edits
    assert (edit.kind, edit.collection, edit.key) == ("put", TASKS, "a")
    await file.settle(harvest.note, DOT)
    await file.settle(harvest.note, DOT)
    assert await file.harvest(NOW_MS) is None
    assert (await file.counts())["tasks"].rows == 1
    assert await file.keys(TASKS) == ["a"]


async def test_a_record_comes_in_with_the_position(file: BoundFile, path: Path) -> None:
    applied = Applied(b"c" * 16, 5)
    assert not (await file.project([image("a", "Milk")], applied, NOW_MS)).dirty
    assert do(path, "SELECT * FROM tasks") == [("a", "Milk")]
    assert await file.applied() == applied
    assert await file.harvest(NOW_MS) is None


async def test_the_applications_own_changes_are_harvested_first(file: BoundFile, path: Path) -> None:
    do(path, "INSERT INTO tasks VALUES ('a', 'Milk')")
    assert (await file.project([image("b", "Salt")], Applied(b"c" * 16, 1), NOW_MS)).dirty
    assert do(path, "SELECT id FROM tasks") == [("a",)]


async def test_a_changed_schema_is_looked_at_before_anything_is_written(file: BoundFile, path: Path) -> None:
    do(path, "ALTER TABLE tasks ADD COLUMN done INTEGER")
    assert (await file.project([image("b", "Salt")], Applied(b"c" * 16, 1), NOW_MS)).dirty
    await file.harvest(NOW_MS)
    assert not (await file.project([image("b", "Salt")], Applied(b"c" * 16, 1), NOW_MS)).dirty
    assert do(path, "SELECT * FROM tasks") == [("b", "Salt", None)]


async def test_what_cannot_be_shown_is_parked_and_counted(file: BoundFile) -> None:
    await file.project([image("a", "Milk"), image("b", "Milk", 2)], Applied(b"c" * 16, 1), NOW_MS)
    (parked,) = await file.parked()
    assert (parked.key, parked.code) == ("b", "unique")
    assert (await file.counts())["tasks"].parked == 1


async def test_many_deletes_are_held_and_then_approved(file: BoundFile, path: Path) -> None:
    await file.project(
        [image(f"{number}", f"t{number}", number) for number in range(1, 9)], Applied(b"c" * 16, 1), NOW_MS
    )
    do(path, "DELETE FROM tasks WHERE id < '6'")
    await settled(file)
    assert await file.held() == {"tasks": 5}
    assert set(await file.keys(TASKS)) == {"6", "7", "8"}
    await file.approve("tasks")
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    assert {(edit.kind, edit.key) for edit in harvest.edits} == {("delete", f"{number}") for number in range(1, 6)}
    await file.settle(harvest.note, DOT)
    assert await file.held() == {}


async def test_many_deletes_are_held_and_then_undone(file: BoundFile, path: Path) -> None:
    images = [image(f"{number}", f"t{number}", number) for number in range(1, 9)]
    applied = Applied(b"c" * 16, 1)
    await file.project(images, applied, NOW_MS)
    do(path, "DELETE FROM tasks WHERE id < '6'")
    await settled(file)
    names = await file.restore("tasks")
    assert names == [(TASKS, f"{number}") for number in range(1, 6)]
    assert await file.applied() != applied, "a crash now ends in a full projection"
    assert await file.harvest(NOW_MS) is None, "rows that are not back yet are not deleted again"
    await file.project(images, applied, NOW_MS)
    assert len(do(path, "SELECT * FROM tasks")) == 8
    assert await file.harvest(NOW_MS) is None
    assert await file.held() == {}


@pytest.mark.parametrize(("mode", "most"), [("wal", 1_200), ("delete", 1_000)])
async def test_without_a_wal_little_is_read_at_a_time(path: Path, mode: str, most: int) -> None:
    """Whoever writes would have to wait until all is read."""
    do(path, f"PRAGMA journal_mode = {mode}")
    await Files("DEVICE").bind(path, BINDING, PLAN, empty=False)
    file = await BoundFile.open(path, BINDING, PLAN, Brake(3, 20), "DEVICE")
    do(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) "
        "INSERT INTO tasks SELECT 't' || i, NULL FROM n",
    )
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    assert len(harvest.edits) == most
    assert harvest.more == (most < 1_200)
    await file.close()


async def test_a_file_of_another_binding_is_not_taken_for_ours(file: BoundFile, path: Path) -> None:
    await file.check()
    for binding in (b"x" * 16, BINDING):
        if binding == BINDING:
            await Files("DEVICE").unbind(path, BINDING)
        with pytest.raises(TableTrouble) as refused:
            await BoundFile.open(path, binding, PLAN, Brake(), "DEVICE")
        assert refused.value.code == "file-unknown"


async def test_a_file_that_was_replaced_is_neither_read_nor_written(file: BoundFile, path: Path) -> None:
    moved(path, path.with_name("old.db"))
    with pytest.raises(TableTrouble) as refused:
        await file.harvest(NOW_MS)
    assert refused.value.code == "file-missing"
    assert "If it is bound: put it back, or unbind it with --force" in refused.value.next_step
    moved(path.with_name("other.db"), path)
    for call in (file.check(), file.harvest(NOW_MS), file.project([], Applied(b"c" * 16, 1), NOW_MS)):
        with pytest.raises(TableTrouble) as refused:
            await call
        assert refused.value.code == "file-replaced"


async def test_a_file_that_the_application_keeps_locked_is_trouble_and_no_damage(file: BoundFile, path: Path) -> None:
    file._opened.connection.set_busy_timeout(1)
    lock = apsw.Connection(str(path))
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(TableTrouble) as refused:
        await file.project([image("a", "Milk")], Applied(b"c" * 16, 1), NOW_MS)
    assert refused.value.code == "file-locked"
    lock.execute("ROLLBACK")
    lock.close()
    assert not (await file.project([image("a", "Milk")], Applied(b"c" * 16, 1), NOW_MS)).dirty


async def test_a_caller_that_goes_away_tears_nothing(file: BoundFile, path: Path) -> None:
    task = asyncio.create_task(file.project([image("a", "Milk")], Applied(b"c" * 16, 1), NOW_MS))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await file.applied() == Applied(b"c" * 16, 1)
    assert do(path, "SELECT id FROM tasks") == [("a",)]
    assert not file.is_read()


# ---- what another version of peerd left in the file


async def test_a_file_that_an_earlier_peerd_bound_goes_on(file: BoundFile, path: Path) -> None:
    await file.project([image("a", "Milk")], Applied(b"c" * 16, 1), NOW_MS)
    current = do(path, "SELECT sql FROM sqlite_schema WHERE name = '_peerd_s1'")
    do(path, "ALTER TABLE _peerd_s1 DROP COLUMN e; UPDATE _peerd_meta SET v = 1 WHERE k = 'format'")
    before = do(path, "SELECT * FROM _peerd_s1")
    for _ in range(2):
        again = await BoundFile.open(path, BINDING, PLAN, Brake(3, 20), "DEVICE")
        assert await again.harvest(NOW_MS) is None
        await again.close()
        assert do(path, "SELECT r, k0, h, d, b, f FROM _peerd_s1") == before
        assert do(path, "SELECT sql FROM sqlite_schema WHERE name = '_peerd_s1'") == current
    again = await BoundFile.open(path, BINDING, PLAN, Brake(3, 20), "DEVICE")
    await again.project([image("a", "Oat milk")], Applied(b"c" * 16, 2), NOW_MS)
    await again.close()
    assert do(path, "SELECT count(e) FROM _peerd_s1") == [(1,)]


async def test_a_file_that_a_later_peerd_bound_is_left_alone(file: BoundFile, path: Path) -> None:
    do(path, "UPDATE _peerd_meta SET v = v + 1 WHERE k = 'format'")
    with pytest.raises(TableTrouble) as told:
        await BoundFile.open(path, BINDING, PLAN, Brake(3, 20), "DEVICE")
    assert (told.value.code, told.value.next_step) == ("file-unknown", "Update peerd on this machine.")


async def test_a_note_of_an_earlier_peerd_is_settled(file: BoundFile, path: Path) -> None:
    """Its rows lack what is remembered of them."""
    do(path, "INSERT INTO tasks VALUES('a', 'Milk')")
    harvest = await file.harvest(NOW_MS)
    assert harvest is not None
    counter, tables, dangling = msgpack.decode(harvest.note)
    for table in tables:
        table[4] = [row[:7] for row in table[4]]
    await file.settle(msgpack.encode([counter, tables, dangling]), DOT)
    assert await file.harvest(NOW_MS) is None
    assert do(path, "SELECT r, e FROM _peerd_s1") == [("a", None)]
