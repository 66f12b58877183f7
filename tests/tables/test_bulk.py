"""Many new rows at once: few statements, and the same rows as if each had its turn."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from peerd.core.tables.cells import BadText, Cell
from peerd.core.tables.changes import RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.tables import bulk, exact
from tests.support.table_space import BoundFile, image, table

NOTES = ("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE, body TEXT DEFAULT 'none', up INT)",)
NOTES_PLAN = BindingPlan("app", (table(0, "note", references={"up": "note"}),))


def note(key: str, number: int, *, born: int = 1, **cells: Cell) -> RowImage:
    return image("note", key, {"id": number, "title": key, "up": None, **cells}, born=born)


@pytest.fixture
def notes(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", NOTES, NOTES_PLAN)


def statements(file: BoundFile, *images: RowImage) -> int:
    """How many statements it takes to show these, besides one for each row and one for each shadow."""
    count = 0

    def counted(_cursor: object, sql: str, _values: object) -> bool:
        nonlocal count
        count += not sql.startswith("INSERT INTO main") and not sql.startswith("INSERT INTO _peerd_s")
        return True

    file.connection.exec_trace = counted
    try:
        file.show(*images, check=False)
    finally:
        file.connection.exec_trace = None
    file.check()
    return count


def test_many_new_rows_take_few_statements(notes: BoundFile) -> None:
    few = statements(notes, *(note(f"a{number}", number) for number in range(10)))
    many = statements(notes, *(note(f"b{number}", 100 + number, body="text") for number in range(400)))
    assert many < few + 40
    assert notes.row("SELECT count(*), min(title), max(body) FROM note") == (410, "a0", "text")


def test_a_batch_that_collides_is_placed_one_by_one(notes: BoundFile) -> None:
    notes.show(note("old", 1, born=1, body="here first"))
    twins = [note("left", 7, born=5, title="same"), note("right", 8, born=4, title="same")]
    notes.show(*(note(f"n{number}", 10 + number, born=3) for number in range(20)), *twins, note("x", 9, title="old"))
    assert notes.parked() == {("note", "left"): "unique", ("note", "x"): "unique"}
    assert notes.row("SELECT count(*) FROM note") == (22,)


def test_only_the_batch_that_collides_loses_its_way(notes: BoundFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_BATCH", 50)
    notes.show(note("old", 1))
    alone = statements(notes, *(note(f"a{number}", 100 + number) for number in range(200)))
    beside = statements(
        notes, *(note(f"b{number}", 400 + number) for number in range(199)), note("z", 999, title="old")
    )
    assert alone < beside < alone + 50 * 10
    assert set(notes.parked()) == {("note", "z")}


def test_one_that_was_parked_and_is_older_takes_the_place_of_a_new_one(notes: BoundFile) -> None:
    notes.show(note("first", 1, born=1, title="x"), note("second", 2, born=2, title="x"))
    assert set(notes.parked()) == {("note", "second")}
    notes.show(image("note", "first", None), note("third", 3, born=3, title="x"), note("fourth", 4, born=4))
    assert notes.shown()["note"] == {"second", "fourth"}
    assert set(notes.parked()) == {("note", "third")}


def test_parents_in_the_same_table_go_first_and_missing_ones_park_their_children(notes: BoundFile) -> None:
    tree = [note(f"n{number}", number, up=f"n{number // 3}" if number else None) for number in range(100)]
    assert statements(notes, *reversed(tree), note("orphan", 200, up="nobody"), note("below", 201, up="orphan")) < 300
    assert set(notes.parked()) == {("note", "orphan"), ("note", "below")}
    assert notes.row("SELECT up FROM note WHERE title = 'n50'") == (notes.local(0, "n16"),)


def test_rows_whose_key_is_taken_get_another_one(notes: BoundFile) -> None:
    notes.show(*(note(f"a{number}", number) for number in range(1, 6)))
    notes.show(*(note(f"b{number}", number) for number in range(1, 9)))
    assert {notes.local(0, f"b{number}") for number in range(1, 9)} == set(range(6, 14))


def test_columns_that_a_record_lacks_have_their_default(notes: BoundFile) -> None:
    notes.show(note("a", 1, body="text"), note("b", 2), note("c", 3, body="text"), note("d", 4))
    assert notes.rows("SELECT body FROM note ORDER BY id") == [("text",), ("none",), ("text",), ("none",)]


def test_keys_of_several_columns_and_text_that_is_no_text(tmp_path: Path) -> None:
    sql = "CREATE TABLE pair(a TEXT, b INTEGER NOT NULL, c TEXT, PRIMARY KEY(a, b)) WITHOUT ROWID"
    file = BoundFile(
        tmp_path / "app.db", (sql,), BindingPlan("app", (table(0, "pair", "natural", identity=("a", "b")),))
    )
    images = [image("pair", f"x|{number}", {"a": "x", "b": number, "c": "c"}) for number in range(20)]
    bad = image("pair", "x|99", {"a": "x", "b": 99, "c": BadText(b"\xff")})
    file.show(*images, bad, check=False)
    assert file.row("SELECT count(*), sum(b) FROM pair") == (21, 190 + 99)
    assert exact.rows(file.connection, ["c"], "FROM pair WHERE b = 99") == [(BadText(b"\xff"),)]
    assert file.show(*images, bad, check=False).written == 0


def test_a_key_that_the_column_turns_into_another_value_is_found_again(tmp_path: Path) -> None:
    sql = "CREATE TABLE code(k NUMERIC NOT NULL PRIMARY KEY, v)"
    file = BoundFile(tmp_path / "app.db", (sql,), BindingPlan("app", (table(0, "code", "natural", identity=("k",)),)))
    images = [image("code", f"{number}", {"k": f"{number}", "v": number}) for number in range(5)]
    file.show(*images)
    assert file.rows("SELECT k0 FROM _peerd_s0 ORDER BY k0") == [(number,) for number in range(5)]
    assert file.show(*images).written == 0


def test_where_the_triggers_of_the_application_run_each_row_has_its_turn(tmp_path: Path) -> None:
    sql = (
        *NOTES,
        "CREATE TRIGGER picky BEFORE INSERT ON note WHEN NEW.title = 'n3' BEGIN SELECT RAISE(ROLLBACK, 'no n3'); END",
    )
    plan = BindingPlan("app", (table(0, "note", run_triggers=True),))
    file = BoundFile(tmp_path / "app.db", sql, plan)
    file.show(*(note(f"n{number}", number) for number in range(6)))
    assert file.parked() == {("note", "n3"): "check"}
    assert file.row("SELECT count(*) FROM note") == (5,)


def test_an_error_that_is_no_collision_leaves_nothing_behind(notes: BoundFile) -> None:
    notes.connection.execute("PRAGMA max_page_count = 40")
    with pytest.raises(apsw.FullError):
        notes.show(*(note(f"n{number}", number, body="x" * 5_000) for number in range(100)), check=False)
    assert notes.row("SELECT count(*) FROM note") == (0,)
