"""What is written into an application's file, and what is not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import msgpack

from peerd.core.tables.cells import BadText, Cell, cell_hash, pack_cell
from peerd.core.tables.changes import Applied, RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.tables import exact, shadow
from peerd.tables.project import project
from peerd.tables.reading import read_schema
from tests.support.table_space import NOW_MS, BoundFile, image, table

NOTES = ("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE, body TEXT)",)
NOTES_PLAN = BindingPlan("app", (table(0, "note"),))
FAMILY = (
    "CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    """CREATE TABLE child(id INTEGER PRIMARY KEY, up INT REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
        also INT REFERENCES parent(id) ON DELETE SET NULL)""",
)
FAMILY_PLAN = BindingPlan("app", (table(0, "parent"), table(1, "child", references={"up": "parent", "also": "parent"})))


def note(key: str, number: int | None, title: str | None, *, born: int = 1, dots: int = 1) -> RowImage:
    return image("note", key, {"id": number, "title": title, "body": "text"}, born=born, dots=dots)


def gone(collection: str, key: str) -> RowImage:
    return image(collection, key, None)


@pytest.fixture
def notes(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", NOTES, NOTES_PLAN)


@pytest.fixture
def family(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", FAMILY, FAMILY_PLAN)


# ---- rows and their shadows


def test_a_row_is_written_and_its_shadow_says_what_was_read_back(notes: BoundFile) -> None:
    new = note("a", 7, "one", born=5, dots=2)
    assert notes.show(new).written == 1
    assert notes.rows("SELECT * FROM note") == [(7, "one", "text")]
    ((record, key, base, dots, rank, flags, earlier),) = notes.rows("SELECT * FROM _peerd_s0")
    assert (record, key, flags, earlier) == ("a", 7, 0, None)
    numbers = shadow.column_numbers(notes.connection)["note"]
    assert msgpack.decode(base, type=dict[int, bytes]) == {
        numbers["id"]: cell_hash(7),
        numbers["title"]: cell_hash("one"),
        numbers["body"]: cell_hash("text"),
    }
    assert msgpack.decode(dots) == sorted(map(list, new.dots))
    assert tuple(msgpack.decode(rank)) == new.rank


def test_a_changed_record_changes_only_its_own_cells_and_a_deleted_one_goes(notes: BoundFile) -> None:
    notes.show(note("a", 1, "one"), note("b", 2, "two"))
    notes.show(image("note", "a", {"id": 1, "title": "uno"}, dots=2), gone("note", "b"), gone("note", "never"))
    assert notes.rows("SELECT * FROM note") == [(1, "uno", None)]
    assert notes.rows("SELECT r FROM _peerd_s0") == [("a",)]


def test_what_equals_its_base_is_not_written(notes: BoundFile) -> None:
    notes.show(*(note(f"n{number}", number, f"title {number}") for number in range(50)))
    before = notes.connection.total_changes()
    assert notes.show(*(note(f"n{number}", number, f"title {number}") for number in range(50))).written == 0
    assert notes.connection.total_changes() - before == 2  # how far it shows the log, and the count
    applied = Applied(b"c" * 16, notes.position)
    before, counter = notes.connection.total_changes(), shadow.counter(notes.connection)
    project(notes.connection, notes.schema, notes.plan, [note("n1", 1, "title 1")], applied, device="us", now_ms=NOW_MS)
    assert notes.connection.total_changes() == before
    assert shadow.counter(notes.connection) == counter


def test_a_record_with_other_dots_and_the_same_cells_changes_its_shadow_alone(notes: BoundFile) -> None:
    notes.show(note("a", 1, "one"))
    assert notes.show(note("a", 1, "one", born=9, dots=3)).written == 0
    (dots,) = notes.row("SELECT d FROM _peerd_s0")
    assert dots.count(b"o" * 16) == 3


def test_the_position_and_the_counter_are_kept_with_the_rows(notes: BoundFile) -> None:
    counter = shadow.counter(notes.connection)
    notes.show(note("a", 1, "one"))
    assert shadow.applied(notes.connection) == Applied(b"c" * 16, 1)
    assert shadow.counter(notes.connection) > counter


def test_nothing_is_written_while_the_application_has_something_to_be_harvested(notes: BoundFile) -> None:
    notes.connection.execute("INSERT INTO note VALUES(1, 'mine', '')")
    before = notes.connection.total_changes()
    done = notes.show(note("a", 2, "one"), check=False)
    assert done.dirty
    assert done.written == 0
    assert notes.connection.total_changes() == before
    assert shadow.applied(notes.connection) is None
    assert not notes.connection.in_transaction


def test_rows_whose_deletes_are_held_stay_as_they_are(family: BoundFile) -> None:
    family.show(image("parent", "p", {"id": 1, "name": "a"}), image("parent", "q", {"id": 2, "name": "b"}))
    family.connection.execute("DELETE FROM parent WHERE id = 1")
    family.connection.execute("DELETE FROM _peerd_d0")
    family.connection.execute("UPDATE _peerd_s0 SET f = 1 WHERE r = 'p'")
    family.show(
        image("parent", "p", {"id": 1, "name": "other"}, dots=2),
        image("parent", "r", {"id": 1, "name": "c"}),
        image("child", "c", {"id": 1, "up": "p"}),
        check=False,
    )
    assert family.rows("SELECT id, name FROM parent") == [(2, "b"), (3, "c")]
    assert family.rows("SELECT f, k0 FROM _peerd_s0 WHERE r = 'p'") == [(1, 1)]
    assert family.parked() == {("child", "c"): "parent"}
    family.show(gone("parent", "p"), check=False)
    assert family.rows("SELECT f FROM _peerd_s0 WHERE r = 'p'") == [(1,)]


def test_a_row_that_is_absent_though_its_shadow_is_there_comes_back(notes: BoundFile) -> None:
    notes.show(note("a", 1, "one"))
    notes.connection.execute("DELETE FROM note")
    notes.connection.execute("DELETE FROM _peerd_d0")
    assert notes.show(note("a", 1, "one")).written == 1
    assert notes.rows("SELECT * FROM note") == [(1, "one", "text")]


def test_columns_and_tables_that_are_not_here_are_left_to_the_space(notes: BoundFile) -> None:
    notes.show(
        image("note", "a", {"id": 1, "title": "one", "colour": "red"}),
        image("elsewhere", "x", {"y": 1}),
    )
    assert notes.rows("SELECT * FROM note") == [(1, "one", None)]
    plan = BindingPlan("app", (*NOTES_PLAN.tables, table(1, "missing", references={"up": "note"})))
    done = project(
        notes.connection,
        notes.schema,
        plan,
        [image("missing", "m", {"up": "a"})],
        Applied(b"c", 9),
        device="us",
        now_ms=NOW_MS,
    )
    assert done.parked == ()


def test_a_column_that_the_record_lacks_shows_its_default(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE, done INT NOT NULL DEFAULT 5)",),
        NOTES_PLAN,
    )
    file.show(image("note", "a", {"id": 1, "title": "x"}), image("note", "b", {"id": 2, "title": "y"}))
    assert file.rows("SELECT * FROM note") == [(1, "x", 5), (2, "y", 5)]
    file.show(image("note", "a", {"id": 1, "title": "x", "done": 7}, dots=2))
    file.show(image("note", "a", {"id": 1, "title": "y"}, dots=3), image("note", "b", {"id": 2, "title": "x"}, dots=3))
    assert file.rows("SELECT * FROM note") == [(1, "y", 5), (2, "x", 5)]


def test_a_default_that_is_not_always_the_same_stays_what_it_is(tmp_path: Path) -> None:
    """And so does one that names a row by an integer, which is another one in each file."""
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE folder(id INTEGER PRIMARY KEY)",
            "CREATE TABLE note(id INTEGER PRIMARY KEY, title, drawn DEFAULT (random()), up INT DEFAULT 1, down INT)",
        ),
        BindingPlan("app", (table(1, "folder"), table(0, "note", references={"up": "folder", "down": "folder"}))),
    )
    file.show(*(image("folder", f"f{number}", {"id": number}) for number in (1, 2)))
    file.show(image("note", "a", {"id": 1, "title": "x"}))
    ((drawn,),) = file.rows("SELECT drawn FROM note")
    file.show(image("note", "a", {"id": 1, "title": "y"}, dots=2))
    assert file.rows("SELECT title, drawn, up, down FROM note") == [("y", drawn, 1, None)]
    file.show(image("note", "a", {"id": 1, "up": "f2", "down": "f1"}, dots=3))
    assert file.rows("SELECT title, drawn, up, down FROM note") == [(None, drawn, 2, 1)]
    file.show(image("note", "a", {"id": 1}, dots=4))
    assert file.rows("SELECT title, drawn, up, down FROM note") == [(None, drawn, 2, None)]


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    ("columns", "key_class", "lacking"),
    [
        ("id INTEGER PRIMARY KEY, v, must NOT NULL", "surrogate", {"id": 1, "v": 1}),
        ("id INTEGER PRIMARY KEY, v, must NOT NULL ON CONFLICT REPLACE", "surrogate", {"id": 1, "v": 1}),
        ("must TEXT NOT NULL PRIMARY KEY, v", "natural", {"v": 1}),
    ],
)
def test_a_record_that_lacks_what_a_row_must_have_is_parked(
    tmp_path: Path, columns: str, key_class: str, lacking: dict[str, Any], *, is_there: bool
) -> None:
    """Whether there was a row for it or not, so that all files park the same."""
    plan = BindingPlan("app", (table(0, "t", key_class),))
    file = BoundFile(tmp_path / "app.db", (f"CREATE TABLE t({columns})",), plan)
    if is_there:
        file.show(image("t", "a", {**lacking, "must": "a"}))
        assert file.rows("SELECT count(*) FROM t") == [(1,)]
    file.show(image("t", "a", lacking, dots=2))
    assert file.parked() == {("t", "a"): "not-null"}
    assert file.rows("SELECT count(*) FROM t") == [(0,)]
    file.show(image("t", "a", {**lacking, "must": "a"}, dots=3))
    assert file.parked() == {}


def test_a_record_that_loses_a_field_makes_room_for_others(notes: BoundFile) -> None:
    """Whoever came later had been parked because of it."""
    notes.show(note("old", 1, "x", born=1), note("young", 2, "x", born=2))
    notes.show(image("note", "old", {"id": 1, "body": "b"}, born=1, dots=2))
    assert notes.parked() == {}
    assert notes.rows("SELECT title, body FROM note ORDER BY id") == [(None, "b"), ("x", "text")]


def test_a_row_with_more_than_the_space_keeps_it(notes: BoundFile) -> None:
    """What is too large for a record is in the file alone."""
    notes.show(note("a", 1, "x"))
    notes.connection.execute("UPDATE note SET body = 'large'; UPDATE _peerd_s0 SET f = 16; DELETE FROM _peerd_d0")
    notes.show(image("note", "a", {"id": 1, "title": "y"}, dots=2))
    assert notes.rows("SELECT title, body FROM note") == [("y", "large")]


def test_a_column_whose_name_is_too_long_is_left_alone(tmp_path: Path) -> None:
    """It is in no record."""
    long = "c" * 256
    file = BoundFile(tmp_path / "app.db", (f"CREATE TABLE note(id INTEGER PRIMARY KEY, title, {long})",), NOTES_PLAN)
    file.show(image("note", "a", {"id": 1, "title": "x"}))
    file.connection.execute(f"UPDATE note SET {long} = 'mine'; DELETE FROM _peerd_d0")
    file.show(image("note", "a", {"id": 1, "title": "y"}, dots=2))
    assert file.rows("SELECT * FROM note") == [(1, "y", "mine")]


# ---- collisions


def test_swapped_unique_values_go_through(notes: BoundFile) -> None:
    notes.show(note("a", 1, "x"), note("b", 2, "y"), note("c", 3, "z"))
    done = notes.show(note("a", 1, "y", dots=2), note("b", 2, "z", dots=2), note("c", 3, "x", dots=2))
    assert done.parked == ()
    assert notes.rows("SELECT id, title FROM note ORDER BY id") == [(1, "y"), (2, "z"), (3, "x")]


def test_the_younger_row_makes_way_and_comes_back_when_the_older_is_gone(notes: BoundFile) -> None:
    notes.show(note("young", 1, "x", born=9))
    done = notes.show(note("old", 2, "x", born=3))
    assert [(one.key, one.code) for one in done.parked] == [("young", "unique")]
    assert "UNIQUE constraint failed: note.title" in done.parked[0].reason
    assert notes.rows("SELECT id FROM note ORDER BY id") == [(2,)]
    assert notes.show(note("other", 3, "z")).parked == ()  # told once
    notes.show(note("old", 2, "y", born=3, dots=2))
    assert notes.rows("SELECT id, title FROM note ORDER BY id") == [(1, "x"), (2, "y"), (3, "z")]
    assert notes.parked() == {}


def test_a_parked_record_that_is_deleted_is_forgotten(notes: BoundFile) -> None:
    notes.show(note("old", 1, "x", born=1), note("young", 2, "x", born=2))
    notes.show(gone("note", "young"))
    assert notes.parked() == {}


def test_conflict_clauses_of_the_schema_take_nobody_away(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            """CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE ON CONFLICT REPLACE,
                body TEXT NOT NULL ON CONFLICT IGNORE DEFAULT 'd')""",
        ),
        NOTES_PLAN,
    )
    file.show(note("old", 1, "x", born=1))
    file.show(note("young", 2, "x", born=2), image("note", "empty", {"id": 3, "title": "e", "body": None}))
    assert file.rows("SELECT id FROM note ORDER BY id") == [(1,)]
    assert file.parked() == {("note", "young"): "unique", ("note", "empty"): "not-null"}


def test_rows_that_the_space_does_not_have_are_never_taken_away(notes: BoundFile) -> None:
    """Rows too large to be captured stand in the shadow with a flag."""
    notes.connection.execute("INSERT INTO note VALUES(1, 'x', 'too large')")
    notes.connection.execute("DELETE FROM _peerd_d0")
    notes.connection.execute("INSERT INTO _peerd_s0(r, k0, f) VALUES('?1', 1, 4)")
    notes.show(note("large", 5, "z", born=9))
    notes.connection.execute("UPDATE _peerd_s0 SET f = 16 WHERE r = 'large'")  # the space has an older text of it
    notes.show(note("old", 1, "x", born=0), note("other", 1, "y"), note("elder", 6, "z", born=0))
    assert notes.rows("SELECT id, title FROM note ORDER BY id") == [(1, "x"), (5, "z"), (8, "y")]
    assert notes.parked() == {("note", "old"): "unique", ("note", "elder"): "unique"}


@pytest.mark.parametrize(
    ("column", "fields", "code"),
    [
        ("n INT NOT NULL", {"n": None}, "not-null"),
        ("n INT CHECK(n > 5)", {"n": 5}, "check"),
        ("n INT", {"n": "text"}, "datatype"),
    ],
)
def test_what_the_table_refuses_is_parked_with_the_reason(
    tmp_path: Path, column: str, fields: dict[str, Cell], code: str
) -> None:
    file = BoundFile(tmp_path / "app.db", (f"CREATE TABLE note(id INTEGER PRIMARY KEY, {column}) STRICT",), NOTES_PLAN)
    file.show(image("note", "a", {"id": 1, "n": 9}), image("note", "b", {"id": 2, "n": 8}))
    (one,) = file.show(image("note", "a", {"id": 1, **fields}, dots=2)).parked
    assert (one.collection, one.key, one.code) == ("note", "a", code)
    assert "note.n" in one.reason or "n > 5" in one.reason
    assert one.reason.endswith(").")
    assert file.rows("SELECT id FROM note ORDER BY id") == [(2,)]
    file.show(image("note", "a", {"id": 1, "n": 10}, dots=3))
    assert file.rows("SELECT id, n FROM note") == [(1, 10), (2, 8)]
    assert file.parked() == {}


def test_a_value_that_no_cell_can_hold_is_parked(notes: BoundFile) -> None:
    odd = RowImage("note", "a", {"id": pack_cell(1), "title": b"\x81\xa1x\x01"})
    (one,) = notes.show(odd).parked
    assert one.code == "datatype"


# ---- parents and children


def child(key: str, up: str | None, also: str | None = None, *, number: int = 1, dots: int = 1) -> RowImage:
    return image("child", key, {"id": number, "up": up, "also": also}, dots=dots)


def parent(key: str, number: int, name: str, *, born: int = 1, dots: int = 1) -> RowImage:
    return image("parent", key, {"id": number, "name": name}, born=born, dots=dots)


def test_children_wait_for_their_parents(family: BoundFile) -> None:
    (one,) = family.show(child("c", "p")).parked
    assert (one.key, one.code) == ("c", "parent")
    assert one.reason == "The row of parent that up refers to is not there."
    family.show(parent("p", 5, "a"))
    assert family.rows("SELECT id, up FROM child") == [(1, 5)]


def test_children_in_the_file_go_with_their_parent_and_return_with_it(family: BoundFile) -> None:
    family.show(parent("p", 5, "a"), parent("q", 6, "b"), child("c", "p"), child("d", "q", number=2))
    family.show(gone("parent", "p"))
    assert family.rows("SELECT id, up FROM child") == [(2, 6)]
    assert family.parked() == {("child", "c"): "parent"}
    family.show(parent("p", 5, "a"))
    assert family.rows("SELECT id, up FROM child ORDER BY id") == [(1, 5), (2, 6)]


def test_children_of_an_evicted_parent_go_and_return_with_it(family: BoundFile) -> None:
    family.show(parent("young", 5, "a", born=9), child("c", "young"))
    family.show(parent("old", 6, "a", born=1))
    assert family.parked() == {("parent", "young"): "unique", ("child", "c"): "parent"}
    assert family.rows("SELECT * FROM child") == []
    family.show(gone("parent", "old"))
    assert family.rows("SELECT id, up FROM child") == [(1, 5)]


def test_a_child_that_moved_to_another_parent_stays(family: BoundFile) -> None:
    family.show(parent("p", 5, "a"), parent("q", 6, "b"), child("c", "p"))
    done = family.show(gone("parent", "p"), child("c", "q", dots=2))
    assert done.parked == ()
    assert family.rows("SELECT id, up FROM child") == [(1, 6)]


def test_actions_of_foreign_keys_do_not_run(family: BoundFile) -> None:
    """A child with ON DELETE SET NULL is not set to NULL, and none is deleted for good."""
    family.connection.execute("PRAGMA foreign_keys = ON")
    family.show(parent("p", 5, "a"), parent("q", 6, "b"), child("c", "q", "p"))
    family.show(gone("parent", "p"))
    assert family.parked() == {("child", "c"): "parent"}
    family.show(parent("p", 8, "a"))
    assert family.rows("SELECT id, up, also FROM child") == [(1, 6, 8)]


def test_children_follow_a_parent_known_by_a_value_that_changes(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE country(id INTEGER PRIMARY KEY, code TEXT COLLATE NOCASE UNIQUE)",
            "CREATE TABLE town(name TEXT PRIMARY KEY NOT NULL, code TEXT REFERENCES country(code))",
        ),
        BindingPlan("app", (table(0, "country"), table(1, "town", "natural", identity=("name",)))),
    )
    file.show(
        image("country", "x", {"id": 1, "code": "de"}),
        image("country", "y", {"id": 2, "code": "fr"}),
        image("town", "Ulm", {"name": "Ulm", "code": "DE"}),
        image("town", "Lyon", {"name": "Lyon", "code": "fr"}),
    )
    file.show(image("country", "x", {"id": 1, "code": "fr"}, dots=2), image("country", "y", {"id": 2, "code": "de"}))
    assert file.parked() == {}
    file.show(image("country", "x", {"id": 1, "code": "it"}, dots=3))
    assert file.parked() == {("town", "Lyon"): "parent"}
    file.show(image("town", "Lyon", {"name": "Lyon", "code": None}, dots=3))
    assert file.parked() == {}


def test_a_parent_in_a_table_that_is_not_bound_must_be_there(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE kind(id INTEGER PRIMARY KEY)",
            "INSERT INTO kind VALUES(1)",
            "CREATE TABLE note(id INTEGER PRIMARY KEY, kind INT DEFAULT 3 REFERENCES kind)",
        ),
        NOTES_PLAN,
    )
    file.show(
        image("note", "a", {"id": 1, "kind": 1}),
        image("note", "b", {"id": 2, "kind": 2}),
        image("note", "c", {"id": 3}),
    )
    assert file.parked() == {("note", "b"): "parent", ("note", "c"): "parent"}


TREE = (
    "CREATE TABLE item(id INTEGER PRIMARY KEY, up INT REFERENCES item(id), name TEXT UNIQUE, CHECK(name <> 'bad'))",
)
TREE_PLAN = BindingPlan("app", (table(0, "item", references={"up": "item"}),))


def item(key: str, up: str | None, name: str, *, born: int = 1, dots: int = 1) -> RowImage:
    return image("item", key, {"id": None, "up": up, "name": name}, born=born, dots=dots)


def test_rows_that_need_rows_of_their_own_table_come_in_any_order(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", TREE, TREE_PLAN)
    file.show(
        *(item(f"i{number}", f"i{number - 1}" if number else None, f"{number}") for number in range(2000, -1, -1))
    )
    assert file.parked() == {}
    file.show(gone("item", "i1500"))
    assert len(file.parked()) == 500
    file.show(item("i1500", "i1499", "1500"))
    assert file.parked() == {}


def test_a_circle_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", TREE, TREE_PLAN)
    file.show(item("self", "self", "s"), item("a", "c", "1"), item("b", "a", "2"), item("c", "b", "3"))
    assert file.parked() == {}
    assert file.rows("SELECT count(*) FROM item a JOIN item b ON a.up = b.id") == [(4,)]
    file.show(item("b", "a", "bad", dots=2))
    assert file.parked() == {("item", "a"): "parent", ("item", "b"): "check", ("item", "c"): "parent"}
    file.show(item("taken", None, "3", born=0), item("b", "a", "2", dots=3))
    assert file.parked() == {("item", "a"): "parent", ("item", "b"): "parent", ("item", "c"): "unique"}
    file.show(item("taken", None, "4", born=0, dots=2))
    assert file.parked() == {}


def test_a_circle_that_fails_takes_nobody_away(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", TREE, TREE_PLAN)
    file.show(item("young", None, "1", born=9))
    file.show(item("a", "b", "1"), item("b", "a", "bad"))
    assert file.shown() == {"item": {"young"}}


def test_two_tables_that_need_each_other(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE team(id INTEGER PRIMARY KEY, lead INT NOT NULL REFERENCES person(id))",
            "CREATE TABLE person(id INTEGER PRIMARY KEY, team INT NOT NULL REFERENCES team(id))",
        ),
        BindingPlan(
            "app", (table(0, "team", references={"lead": "person"}), table(1, "person", references={"team": "team"}))
        ),
    )
    file.show(image("team", "t", {"id": 1, "lead": "p"}), image("person", "q", {"id": 2, "team": "t"}))
    assert file.parked() == {("team", "t"): "parent", ("person", "q"): "parent"}
    file.show(image("person", "p", {"id": 1, "team": "t"}))
    assert file.parked() == {}
    file.show(gone("person", "p"))
    assert len(file.parked()) == 2


def test_a_child_that_holds_what_the_space_has_not_stays_without_its_parent(family: BoundFile) -> None:
    """The one case in which a foreign key is left open: the row's content is nowhere else."""
    family.show(parent("p", 5, "a"), child("c", "p"))
    family.connection.execute("UPDATE _peerd_s1 SET f = 16")
    family.show(gone("parent", "p"), check=False)
    assert family.rows("SELECT id, up FROM child") == [(1, 5)]
    assert family.parked() == {}


# ---- triggers of the application, computed columns, kinds of tables


def test_an_index_that_triggers_keep_stays_right(tmp_path: Path) -> None:
    insert = "INSERT INTO fts(rowid, title) VALUES(NEW.id, NEW.title);"
    body = "INSERT INTO fts(fts, rowid, title) VALUES('delete', OLD.id, OLD.title);"
    file = BoundFile(
        tmp_path / "app.db",
        (
            *NOTES,
            "CREATE VIRTUAL TABLE fts USING fts5(title, content='note', content_rowid='id')",
            f"CREATE TRIGGER a AFTER INSERT ON note BEGIN {insert} END",
            f"CREATE TRIGGER b AFTER DELETE ON note BEGIN {body} END",
            f"CREATE TRIGGER c AFTER UPDATE ON note BEGIN {body} {insert} END",
        ),
        BindingPlan("app", (table(0, "note", run_triggers=True),)),
    )
    for images in (
        [note("a", 1, "apple"), note("b", 2, "pear"), note("c", 3, "plum", born=7)],
        [note("a", 1, "pear", dots=2), note("b", 2, "apple", dots=2), note("d", 4, "plum", born=2)],
        [gone("note", "d"), note("b", 2, "quince", dots=3)],
    ):
        file.show(*images)
        file.connection.execute("INSERT INTO fts(fts) VALUES('integrity-check')")
    assert file.rows("SELECT rowid FROM fts WHERE fts MATCH 'plum OR quince'") == [(2,), (3,)]


def test_other_triggers_do_not_run(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE, body TEXT, updated_at)",
            "CREATE TRIGGER stamp AFTER UPDATE ON note BEGIN UPDATE note SET updated_at = 'now' WHERE id = NEW.id; END",
            "CREATE TRIGGER forbid BEFORE DELETE ON note BEGIN SELECT RAISE(ABORT, 'no'); END",
        ),
        NOTES_PLAN,
    )
    file.show(note("a", 1, "x"), note("b", 2, "y"))
    file.show(note("a", 1, "z", dots=2), gone("note", "b"))
    assert file.rows("SELECT id, title, updated_at FROM note") == [(1, "z", None)]
    with pytest.raises(apsw.ConstraintError, match="no"):
        file.connection.execute("DELETE FROM note")  # they run for everybody else on this connection


@pytest.mark.parametrize("kind", ["ABORT", "FAIL", "ROLLBACK", "IGNORE"])
def test_a_trigger_that_refuses_rows_parks_them_and_stops_nothing(tmp_path: Path, kind: str) -> None:
    words, when, stay = ("", "BEFORE", "ABORT") if kind == "IGNORE" else (", 'never'", "AFTER", "ROLLBACK")
    file = BoundFile(
        tmp_path / "app.db",
        (
            *NOTES,
            "CREATE TABLE log(x)",
            f"CREATE TRIGGER a {when} INSERT ON note WHEN NEW.title = 'bad' BEGIN SELECT RAISE({kind}{words}); END",
            f"CREATE TRIGGER d BEFORE DELETE ON note BEGIN SELECT RAISE({stay}, 'stay'); END",
        ),
        BindingPlan("app", (table(0, "note", run_triggers=True),)),
    )
    file.show(note("a", 1, "x"), note("b", 2, "bad"), note("c", 3, "y"))
    assert file.rows("SELECT id FROM note ORDER BY id") == [(1,), (3,)]
    assert file.parked() == {("note", "b"): "check"}
    file.show(gone("note", "a"))
    assert file.rows("SELECT id FROM note ORDER BY id") == [(3,)]


def test_computed_columns_are_left_to_sqlite(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            """CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, n INT AS (length(title)) STORED,
                m AS (n * 2) UNIQUE)""",
        ),
        NOTES_PLAN,
    )
    file.show(image("note", "a", {"id": 1, "title": "four", "n": 99, "m": 99}))
    file.show(image("note", "b", {"id": 2, "title": "same"}, born=5), image("note", "c", {"id": 3, "title": "other"}))
    assert file.rows("SELECT title, n, m FROM note") == [("four", 4, 8), ("other", 5, 10)]
    assert file.parked() == {("note", "b"): "unique"}


def test_natural_keys_of_several_columns_with_a_reference_in_them(tmp_path: Path) -> None:
    plan = BindingPlan(
        "app",
        (table(0, "note"), table(1, "tagged", "natural", identity=("note", "tag"), references={"note": "note"})),
    )
    file = BoundFile(
        tmp_path / "app.db",
        (
            *NOTES,
            """CREATE TABLE tagged(tag TEXT COLLATE NOCASE, note INT REFERENCES note, by TEXT, PRIMARY KEY(note, tag))
                WITHOUT ROWID""",
        ),
        plan,
    )
    file.show(note("mine", 1, "m"))
    file.show(
        note("theirs", 1, "t"),
        image("tagged", "theirs,red", {"note": "theirs", "tag": "red", "by": "x"}),
        image("tagged", "mine,red", {"note": "mine", "tag": "red", "by": "y"}),
        image("tagged", "mine,RED", {"note": "mine", "tag": "RED"}, born=4),
    )
    assert file.rows("SELECT note, tag, by FROM tagged") == [(1, "red", "y"), (2, "red", "x")]
    assert file.parked() == {("tagged", "mine,RED"): "unique"}
    file.show(image("tagged", "mine,red", {"note": "mine", "tag": "red", "by": "z"}, dots=2))
    file.show(gone("tagged", "theirs,red"))
    assert file.rows("SELECT note, tag, by FROM tagged") == [(1, "red", "z")]


def test_tables_without_a_key(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE line(text TEXT, rowid TEXT)",),
        BindingPlan("app", (table(0, "line", "content", identity=("text",)),)),
    )
    file.show(*(image("line", f"l{number}", {"text": f"{number}", "rowid": "r"}) for number in range(3)))
    file.show(gone("line", "l0"), image("line", "l1", {"text": "1", "rowid": "s"}, dots=2))
    assert file.rows('SELECT _rowid_, text, "rowid" FROM line') == [(2, "1", "s"), (3, "2", "r")]


# ---- values


VALUES: list[Cell] = [
    None, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 1e300, math.inf, -math.inf,
    "", "text", "1", "nul\0in", "é\U0001f600", b"", b"1", b"\0\xff", BadText(b"\xff\xfe"), BadText(b"a\0\x80"),
]  # fmt: skip


def test_every_storage_class_arrives_exactly(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", ("CREATE TABLE note(id INTEGER PRIMARY KEY, x, y UNIQUE)",), NOTES_PLAN)
    file.show(*(image("note", f"n{place}", {"id": place, "x": value}) for place, value in enumerate(VALUES)))
    for place, value in enumerate(VALUES):
        ((kept,),) = exact.rows(file.connection, ["x"], "FROM note WHERE id = ?", (place,))
        assert cell_hash(kept) == cell_hash(value), value
    again = file.show(*(image("note", f"n{place}", {"id": place, "x": value}) for place, value in enumerate(VALUES)))
    assert again.written == 0
    shifted = VALUES[1:] + VALUES[:1]
    file.show(*(image("note", f"n{place}", {"id": place, "x": value}, dots=2) for place, value in enumerate(shifted)))
    for place, value in enumerate(shifted):
        ((kept,),) = exact.rows(file.connection, ["x"], "FROM note WHERE id = ?", (place,))
        assert cell_hash(kept) == cell_hash(value), value


def test_keys_of_every_storage_class(tmp_path: Path) -> None:
    keys = [value for value in VALUES if value is not None and value not in {0.0, 1.0}] + [0, 1]
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE note(k PRIMARY KEY NOT NULL, n) WITHOUT ROWID",),
        BindingPlan("app", (table(0, "note", "natural", identity=("k",)),)),
    )
    for dots in (1, 2):
        file.show(
            *(image("note", f"n{place}", {"k": key, "n": dots}, dots=dots) for place, key in enumerate(keys)),
            check=False,
        )
        assert file.parked() == {}
        found = exact.rows(file.connection, ["k", "n"], "FROM note")
        assert {cell_hash(key) for key, _ in found} == {cell_hash(key) for key in keys}
        assert {number for _, number in found} == {dots}
    file.show(*(gone("note", f"n{place}") for place in range(len(keys))))
    assert file.rows("SELECT count(*) FROM note") == [(0,)]


def test_what_sqlite_makes_of_a_value_is_its_base(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", ("CREATE TABLE note(id INTEGER PRIMARY KEY, i INT, r REAL)",), NOTES_PLAN)
    file.show(image("note", "a", {"id": 1, "i": "12", "r": 1}))
    assert file.rows("SELECT i, r, typeof(i), typeof(r) FROM note") == [(12, 1.0, "integer", "real")]
    (base,) = file.row("SELECT h FROM _peerd_s0")
    assert cell_hash(12) in base
    assert cell_hash(1.0) in base
    assert cell_hash("12") not in base


# ---- other processes, and crashes

READER = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
seen, last = set(), -1
while last < 40:
    sql = "SELECT count(*), ifnull(min(title), ''), ifnull(max(title), '') FROM note"
    (count, low, high) = c.execute(sql).fetchone()
    assert count in (0, 30), count
    assert low.split()[0:1] == high.split()[0:1], (low, high)
    last = int(low.split()[0]) if low else -1
    seen.add(last)
print(len(seen), flush=True)
"""


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_reader_in_another_process_never_sees_half(tmp_path: Path, mode: str) -> None:
    file = BoundFile(tmp_path / "app.db", (f"PRAGMA journal_mode = {mode}", *NOTES), NOTES_PLAN)
    file.connection.set_busy_timeout(30_000)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(file.path)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for turn in range(41):
        file.show(*(note(f"n{n}", n, f"{turn} {n:03}", dots=turn + 1) for n in range(30)), check=False)
    out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(out) >= 1


POINTS = ("begun", "removed", "placed", "written", "counted", "committed")


def crash(path: str, point: str) -> None:
    """In a process of its own: a projection that ends at a point."""
    connection = apsw.Connection(path)
    connection.execute("PRAGMA synchronous = FULL")
    schema = read_schema(connection)
    images = [
        image("parent", "p", None),
        image("parent", "q", {"id": 2, "name": "a"}, dots=2),
        image("parent", "r", {"id": 9, "name": "b"}, born=7),
        image("child", "c", {"id": 1, "up": "q"}, dots=2),
        image("child", "d", {"id": 2, "up": "p"}),
    ]
    project(
        connection,
        schema,
        FAMILY_PLAN,
        images,
        Applied(b"c" * 16, 7),
        device="us",
        now_ms=NOW_MS,
        at=lambda name: os._exit(9) if name == point else None,
    )


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_crash_at_any_point_is_healed_by_projecting_again(tmp_path: Path, mode: str, point: str) -> None:
    file = BoundFile(tmp_path / "app.db", (f"PRAGMA journal_mode = {mode}", *FAMILY), FAMILY_PLAN)
    file.show(parent("p", 1, "a"), parent("q", 2, "b"), child("c", "p", number=1), child("d", "p", number=2))
    before = file.rows("SELECT * FROM parent"), file.rows("SELECT * FROM child"), file.rows("SELECT * FROM _peerd_meta")
    path = str(file.path)
    script = tmp_path / "crash.py"
    script.write_text(
        f"import importlib.util, sys\nsys.path[:0] = {sys.path!r}\n"
        f"spec = importlib.util.spec_from_file_location('story', {__file__!r})\n"
        "story = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(story)\n"
        f"story.crash({path!r}, {point!r})\n"
    )
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True)
    assert done.returncode == 9, done.stderr
    file.check()  # nothing to be harvested
    now = file.rows("SELECT * FROM parent"), file.rows("SELECT * FROM child"), file.rows("SELECT * FROM _peerd_meta")
    assert (now == before) == (point != "committed")
    file.position = 6
    file.show(
        gone("parent", "p"),
        parent("q", 2, "a", dots=2),
        parent("r", 9, "b", born=7),
        child("c", "q", dots=2),
        child("d", "p", number=2),
    )
    assert file.rows("SELECT * FROM parent") == [(2, "a"), (9, "b")]
    assert file.rows("SELECT id, up FROM child") == [(1, 2)]
    assert file.parked() == {("child", "d"): "parent"}
    assert shadow.applied(file.connection) == Applied(b"c" * 16, 7)


def test_an_error_leaves_everything_as_it_was(notes: BoundFile) -> None:
    notes.show(note("a", 1, "x"), note("b", 2, "y"))

    def fail(point: str) -> None:
        if point == "written":
            raise RuntimeError(point)

    notes.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
    with pytest.raises(RuntimeError):
        notes.show(note("a", 1, "y", dots=2), gone("note", "b"), note("c", 3, "x", born=9), at=fail)
    assert not notes.connection.in_transaction
    assert notes.rows("SELECT name FROM temp.sqlite_schema") == []
    notes.check()
    assert notes.rows("SELECT id, title FROM note ORDER BY id") == [(1, "x"), (2, "y")]
    assert notes.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, -1) == 1


# ---- keys that are equal and not the same


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE", "abc", "ABC"),
        ("k TEXT NOT NULL PRIMARY KEY COLLATE RTRIM", "abc", "abc "),
        ("k NOT NULL PRIMARY KEY", 1, 1.0),
    ],
)
@pytest.mark.parametrize("tail", ["", "WITHOUT ROWID"])
@pytest.mark.parametrize("old_title", ["one", "two"])
def test_a_key_is_written_as_the_record_has_it_now(
    tmp_path: Path, column: str, before: Cell, after: Cell, tail: str, old_title: str
) -> None:
    """Also where the row has to make way for another one first."""
    file = BoundFile(
        tmp_path / "app.db",
        (f"CREATE TABLE note({column}, title TEXT UNIQUE) {tail}",),
        BindingPlan("app", (table(0, "note", "natural", identity=("k",)),)),
    )
    file.show(image("note", "r", {"k": before, "title": old_title}), image("note", "z", {"k": "z", "title": "zed"}))
    file.show(
        image("note", "z", {"k": "z", "title": "two"}, dots=2),
        image("note", "r", {"k": after, "title": "one"}, born=2, dots=2),
    )
    found = file.rows("SELECT k, title FROM note ORDER BY title")
    assert [(type(key), key, title) for key, title in found] == [(type(after), after, "one"), (str, "z", "two")]
    assert file.rows("SELECT k0 FROM _peerd_s0 WHERE r = 'r'") == [(after,)]


def test_children_stay_with_a_key_that_is_written_otherwise(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE tag(k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE)",
            "CREATE TABLE note(id INTEGER PRIMARY KEY, tag TEXT REFERENCES tag(k))",
        ),
        BindingPlan("app", (table(0, "tag", "natural", identity=("k",)), table(1, "note"))),
    )
    file.show(image("tag", "a", {"k": "a"}), image("note", "n", {"id": 1, "tag": "a"}))
    file.show(image("tag", "a", {"k": "A"}, dots=2))
    assert file.rows("SELECT k FROM tag") == [("A",)]
    assert file.rows("SELECT tag FROM note") == [("a",)]
    assert file.parked() == {}


# ---- what the application's triggers write


def test_a_trigger_settles_its_own_conflicts_as_it_does_for_the_application(tmp_path: Path) -> None:
    """SQLite lets the clause of a statement hold for the triggers that it fires (lang_createtrigger.html)."""
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT)",
            "CREATE TABLE word(title TEXT PRIMARY KEY, notes INT DEFAULT 0)",
            """CREATE TRIGGER came AFTER INSERT ON note BEGIN INSERT OR IGNORE INTO word(title) VALUES(NEW.title);
                UPDATE word SET notes = notes + 1 WHERE title = NEW.title; END""",
            """CREATE TRIGGER moved AFTER UPDATE ON note BEGIN
                UPDATE word SET notes = notes - 1 WHERE title = OLD.title;
                INSERT OR IGNORE INTO word(title) VALUES(NEW.title);
                UPDATE word SET notes = notes + 1 WHERE title = NEW.title; END""",
        ),
        BindingPlan("app", (table(0, "note", run_triggers=True),)),
    )
    file.show(*(image("note", f"n{number}", {"id": number, "title": "garden"}) for number in range(3)))
    file.show(image("note", "n1", {"id": 1, "title": "house"}, dots=2))
    file.show(image("note", "n2", {"id": 2, "title": "house"}, dots=2))
    assert file.parked() == {}
    assert file.rows("SELECT * FROM word ORDER BY title") == [("garden", 1), ("house", 2)]
