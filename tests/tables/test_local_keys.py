"""Which integer a record has in a file, and what a reference says there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from peerd.core.limits import INT64_MAX
from peerd.core.tables.cells import pack_cell
from peerd.core.tables.changes import RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.core.values import pack
from tests.support.table_space import BoundFile, image, table

APP = (
    "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)",
    "CREATE TABLE line(id INTEGER PRIMARY KEY, note INT REFERENCES note(id), loose INT)",
)
PLAN = BindingPlan("app", (table(0, "note"), table(1, "line", references={"note": "note", "loose": "note"})))


def note(key: str, number: int | None, text: str = "", *, born: int = 1) -> RowImage:
    return image("note", key, {"id": number, "text": text}, born=born)


def line(key: str, number: int, parent: str | None) -> RowImage:
    return image("line", key, {"id": number, "note": parent, "loose": parent})


@pytest.fixture
def app(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", APP, PLAN)


def test_two_files_that_used_one_integer_keep_both_rows_and_their_children(tmp_path: Path) -> None:
    ours, theirs = (BoundFile(tmp_path / f"{name}.db", APP, PLAN) for name in "ab")
    ours.show(note("a", 42, "ours"), line("la", 1, "a"))
    theirs.show(note("b", 42, "theirs"), line("lb", 1, "b"))
    ours.show(note("b", 42, "theirs"), line("lb", 1, "b"))
    theirs.show(note("a", 42, "ours"), line("la", 1, "a"))
    assert (ours.local(0, "a"), theirs.local(0, "b")) == (42, 42)
    for file in (ours, theirs):
        joined = "SELECT text, loose = note FROM line JOIN note ON note.id = line.note ORDER BY text"
        assert file.rows(joined) == [("ours", 1), ("theirs", 1)]
        texts = "SELECT s.r, n.text FROM line l JOIN _peerd_s1 s ON s.k0 = l.id JOIN note n ON n.id = l.note ORDER BY 1"
        assert file.rows(texts) == [("la", "ours"), ("lb", "theirs")]


def test_an_integer_differs_only_where_two_records_wanted_the_same(app: BoundFile) -> None:
    app.show(note("mine", 42))
    app.show(
        note("first", 42, born=2), note("second", 43, born=3), note("third", 44, born=4), note("none", None, born=5)
    )
    assert {key: app.local(0, key) for key in ("mine", "first", "second", "third")} == {
        "mine": 42, "first": 45, "second": 43, "third": 44,
    }  # fmt: skip


def test_integers_never_change_while_their_rows_are_there(app: BoundFile) -> None:
    chance = random.Random(5)
    known: dict[str, int] = {}
    for turn in range(60):
        images = [
            note(f"n{chance.randrange(20)}", chance.randrange(1, 12), f"{turn}", born=chance.randrange(9))
            if chance.random() < 0.7
            else image("note", f"n{chance.randrange(20)}", None)
            for _ in range(4)
        ]
        app.show(*images)
        now = dict(app.rows("SELECT r, k0 FROM _peerd_s0"))
        gone = {one.key for one in images if one.fields is None}
        assert all(now[key] == known[key] for key in known.keys() & now.keys() - gone)
        known = now


def test_the_largest_integer_is_no_end(app: BoundFile) -> None:
    app.show(note("last", INT64_MAX))
    app.show(note("same", INT64_MAX), note("more", INT64_MAX), note("below", -(2**63)))
    assert app.local(0, "last") == INT64_MAX
    assert app.local(0, "below") == -(2**63)
    assert len(app.rows("SELECT id FROM note")) == 4


def test_integers_of_rows_whose_deletes_are_held_are_not_used_again(app: BoundFile) -> None:
    app.show(note("held", 7))
    app.connection.execute("DELETE FROM note")
    app.connection.execute("DELETE FROM _peerd_d0")
    app.connection.execute("UPDATE _peerd_s0 SET f = 1")
    app.show(note("new", 7), check=False)
    assert app.local(0, "new") == 8


def test_autoincrement_never_goes_back(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db", ("CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)",),
        BindingPlan("app", (table(0, "note"),)),
    )  # fmt: skip
    file.show(note("a", 1), note("b", 50))
    file.show(image("note", "b", None))
    file.show(note("c", 1))
    assert file.local(0, "c") == 51
    assert file.row("SELECT seq FROM sqlite_sequence") == (51,)


def dangling(device: str, number: int | str) -> RowImage:
    fields = {"id": pack_cell(1), "loose": pack({"device": device, "integer": number})}
    return RowImage("line", "l", fields, rank=(1, b"", 1))


def test_a_reference_to_nothing_is_shown_by_its_author_alone(app: BoundFile) -> None:
    (one,) = app.show(dangling("them", 5)).parked
    assert one.code == "dangling"
    app.show(dangling("us", 5))
    assert app.rows("SELECT loose FROM line") == [(5,)]
    app.show(note("found", 5), line("l", 1, "found"))
    assert app.rows("SELECT note, loose FROM line") == [(5, 5)]


def test_text_where_an_integer_is_meant_dangles_as_text(app: BoundFile) -> None:
    app.show(dangling("us", "none"))
    assert app.rows("SELECT loose FROM line") == [("none",)]


def test_a_bare_integer_means_nothing_here(app: BoundFile) -> None:
    app.show(note("a", 5), image("line", "l", {"id": 1, "note": 5}))
    assert app.parked() == {("line", "l"): "dangling"}


def test_content_tables_map_their_integers_too(tmp_path: Path) -> None:
    plan = BindingPlan(
        "app",
        (
            table(0, "tag", "content", identity=("name",)),
            table(1, "use", "natural", identity=("tag", "place"), references={"tag": "tag"}),
        ),
    )
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
            "CREATE TABLE use(tag INT NOT NULL REFERENCES tag(id), place INT NOT NULL, PRIMARY KEY(tag, place))",
        ),
        plan,
    )
    file.show(image("tag", "red", {"id": 1, "name": "red"}))
    file.show(image("tag", "blue", {"id": 1, "name": "blue"}), image("use", "u", {"tag": "blue", "place": 3}))
    assert file.rows("SELECT name, place FROM use JOIN tag ON tag.id = use.tag") == [("blue", 3)]
    assert file.rows("SELECT id, name FROM tag ORDER BY id") == [(1, "red"), (2, "blue")]
