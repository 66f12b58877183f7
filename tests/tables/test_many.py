"""Many rows in few statements, whatever their number and their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerd.core.tables.plans import BindingPlan
from peerd.tables.bound_table import BoundTable
from peerd.tables.many import rows_at, shadows_of, taken
from tests.support.table_space import BoundFile, image, table


def bound(file: BoundFile) -> BoundTable:
    (one,) = file.plan.tables
    return BoundTable(file.connection, one, file.schema.tables[one.table], {"id": 0, "title": 1})


@pytest.fixture
def notes(tmp_path: Path) -> BoundFile:
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT)",),
        BindingPlan("app", (table(0, "note"),)),
    )
    file.show(*(image("note", f"n{number}", {"id": number, "title": f"t{number}"}) for number in range(300)))
    return file


@pytest.mark.parametrize("count", [0, 1, 124, 125, 126, 250, 300])
def test_any_number_is_found(notes: BoundFile, count: int) -> None:
    connection, one = notes.connection, bound(notes)
    wanted = range(count)
    shadows = shadows_of(connection, one, [*(f"n{number}" for number in wanted), *(["nobody"] if count else [])])
    assert {record: shadow.key for record, shadow in shadows.items()} == {f"n{number}": (number,) for number in wanted}
    found = rows_at(connection, one, [(number,) for number in (*wanted, 999)])
    assert found == {(number,): (number, f"t{number}") for number in wanted}
    assert taken(connection, one, [*wanted, 999]) == set(wanted)


def test_an_integer_is_taken_as_long_as_there_is_a_shadow(notes: BoundFile) -> None:
    """Its delete may wait for a person."""
    notes.connection.execute("DELETE FROM note WHERE id = 7")
    assert taken(notes.connection, bound(notes), [6, 7, 999]) == {6, 7}


def test_rows_with_a_key_of_several_columns_are_found(tmp_path: Path) -> None:
    sql = "CREATE TABLE pair(a TEXT NOT NULL, b INT NOT NULL, c, PRIMARY KEY(a, b))"
    plan = BindingPlan("app", (table(0, "pair", "natural", identity=("a", "b")),))
    file = BoundFile(tmp_path / "app.db", (sql,), plan)
    file.connection.execute("INSERT INTO pair VALUES('x', 1, 2), ('x', 2, 3), ('y', 1, 4)")
    found = rows_at(file.connection, bound(file), [("x", 1), ("y", 1), ("y", 2)])
    assert found == {("x", 1): ("x", 1, 2), ("y", 1): ("y", 1, 4)}
