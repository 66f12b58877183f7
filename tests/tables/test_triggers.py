"""The text of the triggers, and what each statement of an application leaves in the table of dirty keys."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.tables import triggers
from peerd.tables.reading import read_schema
from peerd.tables.triggers import GONE

Make = Callable[..., apsw.Connection]


def capture(connection: apsw.Connection, name: str = "t") -> None:
    table = read_schema(connection).tables[name]
    connection.execute(triggers.create_dirty(0, table))
    for sql in triggers.create_triggers(0, table).values():
        connection.execute(sql)


def dirty(connection: apsw.Connection) -> dict[object, object]:
    return {row[0]: row[-1] for row in connection.execute("SELECT * FROM _peerd_d0")}


def test_the_triggers_are_the_plain_sql_that_any_sqlite_reads(make: Make) -> None:
    table = read_schema(make('CREATE TABLE "no""tes"(id INTEGER PRIMARY KEY)')).tables['no"tes']
    insert = triggers.create_triggers(3, table)["_peerd_i3"]
    assert insert == (
        'CREATE TRIGGER _peerd_i3 AFTER INSERT ON "no""tes" BEGIN '
        'UPDATE _peerd_d3 SET v = v + 1 WHERE k0 = +NEW."id"; '
        'INSERT INTO _peerd_d3 SELECT NEW."id", 1 WHERE NOT EXISTS (SELECT 1 FROM _peerd_d3 WHERE k0 = +NEW."id"); END'
    )


@pytest.mark.parametrize(
    ("statement", "marks"),
    [
        ("INSERT INTO t VALUES(3, 'c')", {3: 1}),
        ("UPDATE t SET a = 'z' WHERE id = 1", {1: 2}),
        ("DELETE FROM t WHERE id = 1", {1: GONE}),
        ("UPDATE t SET id = 9 WHERE id = 1", {1: GONE, 9: GONE}),
        ("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(1, 'new')", {1: GONE + 1}),
        ("REPLACE INTO t VALUES(1, 'new')", {1: 1}),
        ("DELETE FROM t", {1: GONE, 2: GONE}),
    ],
)
def test_each_statement_leaves_its_marks(make: Make, statement: str, marks: dict[int, int]) -> None:
    connection = make("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES(1, 'a'), (2, 'b')")
    capture(connection)
    connection.execute(statement)
    assert dirty(connection) == marks


def test_a_key_is_marked_as_it_is_stored(make: Make) -> None:
    connection = make("CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, j) WITHOUT ROWID")
    capture(connection)
    connection.execute("INSERT INTO t VALUES(12, 1), ('abc', 1); UPDATE t SET k = 'ABC' WHERE k = 'abc'")
    assert dirty(connection) == {"12": 1, "abc": 1 + GONE, "ABC": GONE}


def test_marking_all_marks_each_row_that_has_no_mark(make: Make) -> None:
    connection = make(
        "CREATE TABLE t(a NOT NULL, b NOT NULL, PRIMARY KEY(a, b))", "INSERT INTO t VALUES(1, 'x'), ('1', 'x')"
    )
    capture(connection)
    connection.execute("INSERT INTO t VALUES(2, 'x'); UPDATE t SET b = b WHERE a = 2")
    connection.execute(triggers.mark_all(0, read_schema(connection).tables["t"]))
    assert set(connection.execute("SELECT * FROM _peerd_d0")) == {(1, "x", 1), ("1", "x", 1), (2, "x", 3)}


def test_a_mark_is_found_by_its_index(make: Make) -> None:
    """Without the unary plus the affinity of the column keeps the index out, and each write scans all marks."""
    connection = make("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    capture(connection)
    for plus, found in (("+", "SEARCH m "), ("", "SCAN m")):
        sql = f"SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM _peerd_d0 AS m WHERE k0 = {plus}t.id)"
        assert any(found in str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
