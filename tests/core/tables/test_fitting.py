"""Tables that an update has made others than they were bound as are as good as away."""

from __future__ import annotations

import pytest

from peerd.core.tables.fitting import fitting
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.shape import Column, Schema, Table

NOTES = TablePlan(0, "note", "app.note", KeyClass.SURROGATE)
TAGS = TablePlan(1, "tag", "app.tag", KeyClass.CONTENT, ("name",))


@pytest.mark.parametrize(
    ("column", "left"),
    [
        (Column("name", "TEXT"), {"note", "tag"}),
        (Column("title", "TEXT"), {"note"}),
        (Column("name", "TEXT", generated=True), {"note"}),
    ],
)
def test_a_table_fits_as_long_as_it_stores_what_tells_its_rows_apart(column: Column, left: set[str]) -> None:
    key = Column("id", "INTEGER", key_place=1)
    tables = {"note": Table("note", "", (key,), ("id",)), "tag": Table("tag", "", (key, column), ("id",))}
    schema = Schema(tables, frozenset(), frozenset(), "wal", 1)
    found = fitting(schema, BindingPlan("app", (NOTES, TAGS)))
    assert found.tables.keys() == left
    assert (found is schema) == (left == tables.keys())
