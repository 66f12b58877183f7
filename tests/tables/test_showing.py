"""Whether a file shows already what the space has: told without writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerd.core.tables.changes import RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.tables.showing import shows
from tests.support.table_space import BoundFile, image, table

NOTES = ("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT UNIQUE, body TEXT)",)
FAMILY = (
    "CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE TABLE child(id INTEGER PRIMARY KEY, up INT REFERENCES parent, also INT)",
)
FAMILY_PLAN = BindingPlan("app", (table(0, "parent"), table(1, "child", references={"up": "parent"})))


def note(key: str, number: int, title: str, *, dots: int = 1) -> RowImage:
    return image("note", key, {"id": number, "title": title, "body": "text"}, dots=dots)


def gone(collection: str, key: str) -> RowImage:
    return image(collection, key, None)


@pytest.fixture
def notes(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", NOTES, BindingPlan("app", (table(0, "note"),)))


@pytest.fixture
def family(tmp_path: Path) -> BoundFile:
    return BoundFile(tmp_path / "app.db", FAMILY, FAMILY_PLAN)


def test_what_is_shown_is_told_from_what_is_not(notes: BoundFile) -> None:
    """Nothing is written to find out."""
    notes.show(note("a", 1, "one"), note("b", 2, "two"))
    before = notes.connection.total_changes()

    def shown(*images: RowImage) -> bool:
        return shows(notes.connection, notes.schema, notes.plan, images, device="us")

    assert shown(note("a", 1, "one"), note("b", 2, "two"), gone("note", "never"), gone("of no table", "a"))
    assert not shown(note("a", 1, "one"), note("b", 2, "other"))
    assert not shown(note("a", 1, "one", dots=3))  # it has not seen these
    assert not shown(note("c", 3, "new"))
    assert not shown(gone("note", "b"))
    assert notes.connection.total_changes() == before


def test_a_field_that_is_no_more_is_shown_as_its_default(notes: BoundFile) -> None:
    """A record that lost a field is another one than the row that still has it."""
    notes.show(note("a", 1, "one"))
    bare = image("note", "a", {"id": 1, "title": "one"})
    assert not shows(notes.connection, notes.schema, notes.plan, [bare], device="us")
    notes.show(bare)
    assert shows(notes.connection, notes.schema, notes.plan, [bare], device="us")
    assert notes.connection.execute("SELECT body FROM note").get is None


def test_what_is_held_or_parked_or_was_taken_away_is_not_shown(notes: BoundFile) -> None:
    def shown(*images: RowImage) -> bool:
        return shows(notes.connection, notes.schema, notes.plan, images, device="us")

    notes.show(note("a", 1, "one"), note("b", 2, "two"))
    notes.connection.execute("UPDATE _peerd_s0 SET f = 1 WHERE r = 'a'")
    assert not shown(note("a", 1, "one"))
    notes.connection.execute("DELETE FROM note WHERE id = 2")
    assert not shown(note("b", 2, "two"))
    notes.connection.execute("UPDATE _peerd_s0 SET f = 0; INSERT INTO note VALUES(2, 'two', 'text')").fetchall()
    assert shown(note("a", 1, "one"), note("b", 2, "two"))
    notes.connection.execute("INSERT INTO _peerd_p VALUES('app.note', 'x', 'unique', 'why', x'')")
    assert not shown(note("a", 1, "one"))


def test_a_reference_is_shown_if_it_leads_to_the_same_row(family: BoundFile) -> None:
    def child(up: str | None) -> RowImage:
        return image("child", "c", {"id": 1, "up": up, "also": None})

    family.show(image("parent", "p", {"id": 5, "name": "p"}), image("parent", "q", {"id": 6, "name": "q"}), child("p"))
    told = [
        shows(family.connection, family.schema, family.plan, [child(up)], device="us")
        for up in ("p", "q", "unknown", None)
    ]
    assert told == [True, False, False, False]
