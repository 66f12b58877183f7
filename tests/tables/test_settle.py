"""Settling: exactly what was read is taken back, once, whatever happens in between."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from peerd.core.clocks import Dot
from peerd.tables import shadow
from peerd.tables.install import install
from peerd.tables.reading import read_schema
from peerd.tables.settle import settle
from tests.tables.crashing import CRASHED, POINTS, SCHEMA, TABLES, Space, opened, turn
from tests.tables.harvests import ORIGIN, Bound, natural, surrogate

Make = Callable[..., apsw.Connection]


def test_a_row_written_again_before_settling_stays_dirty_with_what_came_since(make: Make) -> None:
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a, b)", "INSERT INTO note VALUES(1, 1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    bound.drain()
    connection.execute("UPDATE note SET a = 2")
    connection.execute("UPDATE note SET a = 3")
    found = bound.harvest()
    assert found is not None
    connection.execute("UPDATE note SET b = 2")
    bound.settle(found)
    assert connection.execute("SELECT k0, v FROM _peerd_d0").fetchall() == [(1, 2)]  # an update marks both of its keys
    (edit,) = bound.step()
    assert list(edit.set) == ["b"]
    bound.check()


def test_a_key_that_is_used_again_between_reading_and_settling_is_a_new_record(make: Make) -> None:
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    bound.drain()
    connection.execute("UPDATE note SET a = 2")
    found = bound.harvest()
    assert found is not None
    connection.execute("DELETE FROM note")
    connection.execute("INSERT INTO note VALUES(1, 2)")
    bound.settle(found)
    assert [edit.kind for edit in bound.step()] == ["delete", "put"]
    bound.check()


def test_a_row_that_appears_while_its_delete_is_settled_is_put(make: Make) -> None:
    connection = make("CREATE TABLE s(k TEXT PRIMARY KEY NOT NULL, v)", "INSERT INTO s VALUES('a', 1)")
    bound = Bound(connection, natural(0, "s", "k"))
    bound.drain()
    connection.execute("DELETE FROM s")
    found = bound.harvest()
    assert found is not None
    connection.execute("INSERT INTO s VALUES('a', 1)")
    bound.settle(found)
    assert [edit.kind for edit in bound.step()] == ["put"]
    bound.check()


def test_settling_again_does_nothing(make: Make) -> None:
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    found = bound.harvest()
    assert found is not None
    bound.settle(found)
    connection.execute("UPDATE note SET a = 2")
    before = connection.execute("SELECT * FROM _peerd_d0, _peerd_s0, _peerd_meta").fetchall()
    assert not settle(connection, bound.schema, bound.plan, found.note, Dot(ORIGIN, 1))
    assert connection.execute("SELECT * FROM _peerd_d0, _peerd_s0, _peerd_meta").fetchall() == before


def test_a_note_is_void_after_that_of_another_harvest(make: Make) -> None:
    """Its transaction was never committed."""
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    first, second = bound.harvest(), bound.harvest()
    assert first is not None
    assert second is not None
    bound.settle(second)
    assert not settle(connection, bound.schema, bound.plan, first.note, Dot(ORIGIN, 1))
    bound.check()


@pytest.mark.parametrize("write", ["INSERT INTO note VALUES(2, 2)", "UPDATE note SET a = 3", "DELETE FROM note"])
def test_a_note_is_void_in_a_file_that_went_back_to_before_what_it_tells_of(make: Make, write: str) -> None:
    """A copy of the file from between two writes was put back: nothing of ours was counted in between."""
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    bound.drain()
    connection.execute("UPDATE note SET a = 2")
    before = apsw.Connection(":memory:")
    with before.backup("main", connection, "main") as copying:
        copying.step()
    connection.execute(write)
    found = bound.harvest()
    assert found is not None
    with connection.backup("main", before, "main") as copying:
        copying.step()
    content = connection.execute("SELECT * FROM _peerd_d0, _peerd_s0, _peerd_meta").fetchall()
    assert not settle(connection, bound.schema, bound.plan, found.note, Dot(ORIGIN, 9))
    assert connection.execute("SELECT * FROM _peerd_d0, _peerd_s0, _peerd_meta").fetchall() == content
    (edit,) = bound.step()
    assert list(edit.set) == ["a"]
    bound.check()
    before.close()


def test_settling_goes_on_if_the_marks_were_dropped_meanwhile(make: Make) -> None:
    """What was harvested is not harvested again, and what is written from then on is found."""
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 1)")
    bound = Bound(connection, surrogate(0, "note"))
    found = bound.harvest()
    assert found is not None
    connection.execute("DROP TABLE _peerd_d0")
    bound.settle(found)
    connection.execute("INSERT INTO note VALUES(2, 2)")
    assert [edit.kind for edit in bound.drain()] == ["put"]
    bound.check()


def test_dots_of_a_row_that_is_edited_for_ever_stay_few(make: Make) -> None:
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a, b)", "INSERT INTO note VALUES(1, 0, 0)")
    bound = Bound(connection, surrogate(0, "note"))
    bound.drain()
    for number in range(1, 20):
        connection.execute(f"UPDATE note SET {'ab'[number % 2]} = {number}")
        bound.step()
    connection.execute("UPDATE note SET a = -1")
    (edit,) = bound.step()
    assert edit.seen == {Dot(ORIGIN, 1), Dot(ORIGIN, 19), Dot(ORIGIN, 20)}


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_makes_no_second_row_and_loses_no_edit(tmp_path: Path, journal: str, point: str) -> None:
    database, space_path = tmp_path / "app.db", tmp_path / "space"
    connection = opened(database)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute(SCHEMA)
    install(connection, read_schema(connection), Bound.plan_of(TABLES), b"b" * 16)
    connection.execute(
        "INSERT INTO note VALUES(1, 'one', 'a'), (2, 'two', 'b'); INSERT INTO part VALUES(1, 1, 'x'), (2, 2, 'y');"
        "INSERT INTO setting VALUES('k', 1), ('l', 2)"
    )
    assert turn(connection, space_path)
    connection.execute("DELETE FROM note WHERE id = 1; INSERT INTO note VALUES(1, 'again', 'a')")
    connection.execute("INSERT OR REPLACE INTO note VALUES(3, 'three', 'b'); UPDATE setting SET v = 3 WHERE k = 'k'")
    connection.execute("DELETE FROM setting WHERE k = 'l'; INSERT INTO part VALUES(3, 3, 'z')")
    connection.close()

    command = [sys.executable, "-m", "tests.tables.crashing", str(database), str(space_path), point]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode == CRASHED

    connection = opened(database)
    connection.execute("UPDATE note SET title = 'after' WHERE id = 3; UPDATE setting SET v = 4 WHERE k = 'k'")
    counter = shadow.counter(connection)
    while turn(connection, space_path):
        pass
    assert shadow.counter(connection) > counter
    bound = Bound(connection, *TABLES, is_bound=True)
    bound.records = Space.load(space_path).names
    assert len(bound.records) == 2 + 3 + 1
    bound.check()
    connection.close()


@pytest.mark.parametrize(
    ("since", "settled"),
    [
        ("UPDATE note SET a = 'newer'", False),
        ("UPDATE note SET a = 'lost with the file'", True),
        ("INSERT INTO note VALUES (2, 'another')", False),
    ],
)
def test_a_file_that_went_back_to_before_a_harvest_is_not_told_of_it(make: Make, since: str, *, settled: bool) -> None:
    """Unless it was written to in the very same way since."""
    connection = make("CREATE TABLE note(id INTEGER PRIMARY KEY, a)", "INSERT INTO note VALUES(1, 'first')")
    bound = Bound(connection, surrogate(0, "note"))
    first = bound.harvest()
    assert first is not None
    assert settle(connection, bound.schema, bound.plan, first.note, Dot(ORIGIN, 1))
    kept = apsw.Connection(":memory:")
    with kept.backup("main", connection, "main") as backup:
        backup.step()
    connection.execute("UPDATE note SET a = 'lost with the file'")
    lost = bound.harvest()
    assert lost is not None
    with connection.backup("main", kept, "main") as backup:
        backup.step()
    connection.execute(since)
    assert settle(connection, bound.schema, bound.plan, lost.note, Dot(ORIGIN, 2), late=True) == settled
    assert (bound.harvest() is None) == settled
