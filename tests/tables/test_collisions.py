"""Which rows stand in the way, whatever the constraint."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apsw
import pytest

from peerd.core.tables.plans import BindingPlan
from peerd.tables import install
from peerd.tables.bound_table import BoundTable
from peerd.tables.collisions import Collisions
from peerd.tables.reading import read_schema
from tests.support.table_space import table

PLAN = table(0, "t", run_triggers=True)


@pytest.fixture
def bound(make: Callable[..., apsw.Connection]) -> Iterator[tuple[apsw.Connection, BoundTable]]:
    connection = make(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b INT, c INT, UNIQUE(b, c))",
        "CREATE UNIQUE INDEX part ON t(c) WHERE b > 10",
        "CREATE UNIQUE INDEX computed ON t(lower(a) || c)",
        "CREATE TRIGGER stay BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'stay'); END",
        "INSERT INTO t VALUES(1, 'x', 1, 1), (2, 'y', 20, 2), (3, NULL, 3, 3)",
    )
    install.install(connection, read_schema(connection), BindingPlan("app", (PLAN,)), b"b" * 16, rows="leave")
    connection.execute("BEGIN")
    yield connection, BoundTable(connection, PLAN, read_schema(connection).tables["t"], {})
    connection.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"id": 9, "a": "z", "b": 1, "c": 9}, set()),
        ({"id": 9, "a": "X", "b": 9, "c": 9}, {1}),
        ({"id": 9, "a": "z", "b": 3, "c": 3}, {3}),
        ({"id": 9, "a": "z", "b": 30, "c": 2}, {2}),
        ({"id": 9, "a": "z", "b": 9, "c": 2}, set()),
        ({"id": 3, "a": "x", "b": 30, "c": 2}, {1, 2, 3}),
    ],
)
def test_all_rows_in_the_way_are_found_and_all_stay(
    bound: tuple[apsw.Connection, BoundTable], cells: dict[str, int | str], found: set[int]
) -> None:
    connection, one = bound
    collisions = Collisions(connection)
    before = list(connection.execute("SELECT * FROM t"))
    for _ in range(2):
        assert {key for (key,) in collisions.of(one, dict(cells), (int(cells["id"]),))} == found
    assert list(connection.execute("SELECT * FROM t")) == before
    collisions.close()
    assert list(connection.execute("SELECT name FROM temp.sqlite_schema")) == []


def test_rows_that_were_taken_away_before_are_not_counted(bound: tuple[apsw.Connection, BoundTable]) -> None:
    connection, one = bound
    collisions = Collisions(connection)
    assert collisions.of(one, {"id": 9, "a": "x"}, (9,)) == [(1,)]
    one.deletes_silently = True
    one.delete((3,))
    assert collisions.of(one, {"id": 9, "a": "x"}, (9,)) == [(1,)]


def test_a_savepoint_that_is_taken_back_takes_nothing_that_is_needed(
    bound: tuple[apsw.Connection, BoundTable],
) -> None:
    connection, one = bound
    collisions = Collisions(connection)
    connection.execute("SAVEPOINT s")
    assert collisions.of(one, {"id": 9, "a": "x"}, (9,)) == [(1,)]
    connection.execute("ROLLBACK TO s")
    collisions.look_again()
    assert collisions.of(one, {"id": 9, "a": "y"}, (9,)) == [(2,)]


@pytest.mark.parametrize(
    ("columns", "cells", "found"),
    [
        ("a TEXT, UNIQUE(a COLLATE NOCASE)", {"a": "X"}, {1}),
        ("a TEXT COLLATE NOCASE, UNIQUE(a COLLATE BINARY)", {"a": "X"}, set()),
        ("a INT UNIQUE, b", {"a": "1"}, {1}),
        ("a UNIQUE, b", {"a": "1"}, set()),
        ("a DEFAULT 'x' UNIQUE, b", {"b": 1}, {1}),
        ("a, b AS (lower(a)) UNIQUE", {"a": "X"}, {1}),
        ("a UNIQUE, b", {"a": None}, set()),
    ],
)
def test_looking_up_and_asking_agree_with_sqlite(
    make: Callable[..., apsw.Connection], columns: str, cells: dict[str, int | str | None], found: set[int]
) -> None:
    connection = make(f"CREATE TABLE t(id INTEGER PRIMARY KEY, {columns})")
    value = 1 if "a INT" in columns else "x"
    connection.execute("INSERT INTO t(id, a) VALUES(1, ?), (2, NULL)", (value,))
    install.install(connection, read_schema(connection), BindingPlan("app", (PLAN,)), b"b" * 16, rows="leave")
    one = BoundTable(connection, PLAN, read_schema(connection).tables["t"], {})
    collisions = Collisions(connection)
    assert {key for (key,) in collisions.of(one, {"id": 9, **cells}, (9,))} == found
    assert {key for (key,) in collisions._ask(one, {"id": 9, **cells}, (9,))} == found
    assert {key for (key,) in collisions.of(one, {"id": 1, **cells}, (1,))} == found | {1}
