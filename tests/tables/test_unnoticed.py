"""An application cannot tell whether its file is bound: results, errors, counters and migrations stay what they were.

And nothing that it does escapes: each row that differs afterwards is marked, or can be missed by counting.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from itertools import product
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.core.tables.shape import Table
from peerd.tables import install
from peerd.tables.reading import read_schema
from peerd.tables.triggers import quoted
from tests.support.bindings import plan_of
from tests.tables.schemas import Made, schemas, statements

RUNS = int(os.environ.get("PEERD_RUNS", "0"))
Image = dict[tuple[object, ...], tuple[object, ...]]


def connected(made: Made, *, recursive: bool, foreign_keys: bool, bind: bool) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    made.make(connection)
    if bind:
        schema = read_schema(connection)
        install.install(connection, schema, plan_of(schema), b"b" * 16)
    connection.pragma("recursive_triggers", recursive)
    connection.pragma("foreign_keys", foreign_keys)
    connection.pragma("trusted_schema", False)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.set_last_insert_rowid(0)  # what binding left there on this connection
    return connection


def outcome(connection: apsw.Connection, sql: str) -> tuple[object, ...]:
    try:
        rows: object = list(connection.execute(sql))
    except apsw.Error as problem:
        rows = (type(problem).__name__, str(problem))
        if "FOREIGN KEY" in str(problem):
            # Where a table has any trigger, SQLite looks at foreign keys at the end of the statement. The row is
            # taken back like before, but last_insert_rowid() stays what the failed insert had made it.
            connection.set_last_insert_rowid(0)
    return rows, connection.changes(), connection.last_insert_rowid(), connection.in_transaction


def is_forgotten_by_sqlite(plain: apsw.Connection, seen: tuple[object, ...]) -> bool:
    """Did SQLite let a broken foreign key pass that it refuses once there is a trigger? It does so in tables that refer
    to themselves with ON DELETE SET NULL and have REPLACE, as long as they have no UPDATE trigger of anybody's.
    """
    return "FOREIGN KEY" in str(seen[0]) and bool(list(plain.execute("PRAGMA foreign_key_check")))


def image(connection: apsw.Connection, table: Table) -> Image:
    """Every row as SQLite stores it, by its key as SQLite compares keys."""
    names = (*table.key, *(column.name for column in table.stored))
    shown = ", ".join(f"typeof({quoted(name)}), hex({quoted(name)})" for name in names)
    rows = connection.execute(f"SELECT {shown} FROM {quoted(table.name)}")
    return {compared(row[: 2 * len(table.key)]): row for row in rows}


def compared(pairs: tuple[object, ...]) -> tuple[object, ...]:
    parts: list[object] = []
    for kind, text in zip(pairs[::2], pairs[1::2], strict=True):
        number = float(bytes.fromhex(str(text))) if kind == "real" else None
        whole = number is not None and number.is_integer() and abs(number) < 1e18
        parts += ["integer", str(int(number or 0)).encode().hex().upper()] if whole else [kind, text]
    return tuple(parts)


def marked(connection: apsw.Connection, number: int, table: Table) -> set[tuple[object, ...]]:
    shown = ", ".join(f"typeof(k{place}), hex(k{place})" for place in range(len(table.key)))
    return {compared(row) for row in connection.execute(f"SELECT {shown} FROM _peerd_d{number}")}


@settings(max_examples=RUNS or 150, deadline=None)
@given(data=st.data(), made=schemas(), recursive=st.booleans(), foreign_keys=st.booleans())
def test_statements_do_what_they_did(data: st.DataObject, made: Made, *, recursive: bool, foreign_keys: bool) -> None:
    done = data.draw(statements(made, most=25))
    plain = connected(made, recursive=recursive, foreign_keys=foreign_keys, bind=False)
    bound = connected(made, recursive=recursive, foreign_keys=foreign_keys, bind=True)
    for sql in done:
        seen, expected = outcome(bound, sql), outcome(plain, sql)
        if seen != expected and is_forgotten_by_sqlite(plain, seen):
            return
        assert seen == expected, sql
    schema = read_schema(plain)
    assert {name: image(bound, table) for name, table in schema.tables.items()} == {
        name: image(plain, table) for name, table in schema.tables.items()
    }
    plain.close()
    bound.close()


@settings(max_examples=RUNS or 150, deadline=None)
@given(data=st.data(), made=schemas(), recursive=st.booleans(), foreign_keys=st.booleans())
def test_nothing_escapes(data: st.DataObject, made: Made, *, recursive: bool, foreign_keys: bool) -> None:
    before_binding, after = data.draw(statements(made)), data.draw(statements(made))
    connection = connected(made, recursive=recursive, foreign_keys=foreign_keys, bind=True)
    for sql in before_binding:
        outcome(connection, sql)
    if connection.in_transaction:
        connection.execute("COMMIT" if not foreign_keys else "ROLLBACK")
    schema = read_schema(connection)
    bound = [(one.number, schema.tables[one.table]) for one in plan_of(schema).tables]
    was = [image(connection, table) for _, table in bound]
    for number, _ in bound:
        connection.execute(f"DELETE FROM _peerd_d{number}")
    for sql in after:
        outcome(connection, sql)
    for (number, table), old in zip(bound, was, strict=True):
        new, marks = image(connection, table), marked(connection, number, table)
        changed = {key for key in old | new if old.get(key) != new.get(key)} - marks
        assert changed <= old.keys() - new.keys(), "a row that is there and differs has no mark"
        assert not changed or table.may_vanish_silently
    connection.close()


def test_sqlite_forgets_a_foreign_key_with_nothing_of_ours() -> None:
    """Why `is_forgotten_by_sqlite` is there: if this fails, SQLite was mended, and it can go."""
    for trigger, broken in ((None, True), ("CREATE TRIGGER own AFTER UPDATE ON t BEGIN SELECT 1; END", False)):
        connection = apsw.Connection(":memory:")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, up REFERENCES t ON DELETE SET NULL, a UNIQUE)")
        if trigger is not None:
            connection.execute(trigger)
        outcome(connection, "REPLACE INTO t(up) VALUES(7)")
        assert bool(list(connection.execute("PRAGMA foreign_key_check"))) is broken
        connection.close()


# ---- migrations, by the SQLite of peerd and by the one that Python brings

SCHEMA = (
    "CREATE TABLE p(id INTEGER PRIMARY KEY, a TEXT)",
    "CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, a INT, b, p REFERENCES p(id))",
    "CREATE INDEX i ON t(a)",
    "CREATE VIEW w AS SELECT k, a FROM t",
    "CREATE TRIGGER own AFTER UPDATE OF a ON t BEGIN UPDATE p SET a = NEW.a WHERE id = NEW.p; END",
    "INSERT INTO p VALUES(1, 'x'); INSERT INTO t VALUES('k', 1, 2, 1)",
)
MIGRATIONS = (
    "ALTER TABLE t RENAME TO other",
    'ALTER TABLE t RENAME TO "or\'der"',
    'ALTER TABLE p RENAME COLUMN id TO "the id"',
    'ALTER TABLE t RENAME COLUMN k TO "select"',
    "ALTER TABLE t RENAME COLUMN a TO z",
    "ALTER TABLE t RENAME a TO k0",
    "ALTER TABLE t ADD COLUMN v DEFAULT 7",
    "ALTER TABLE t ADD rowid",
    "ALTER TABLE t ADD COLUMN g AS (a + 1) VIRTUAL",
    "ALTER TABLE t ADD COLUMN q REFERENCES p ON DELETE CASCADE",
    "ALTER TABLE t ADD COLUMN n NOT NULL DEFAULT 1 CHECK(n > 0)",
    "ALTER TABLE t DROP COLUMN b",
    "ALTER TABLE t DROP COLUMN a",  # fails: it is used
    "ALTER TABLE t DROP COLUMN k",  # fails: it is the key
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t ADD CONSTRAINT c CHECK(a > 0)",
    "DROP INDEX i; DROP VIEW w; DROP TRIGGER own; ALTER TABLE t DROP COLUMN a",
    (
        "CREATE TABLE new(k TEXT NOT NULL PRIMARY KEY, a INT); INSERT INTO new SELECT k, a FROM t; DROP VIEW w; "
        "DROP TABLE t; ALTER TABLE new RENAME TO t"
    ),
    "PRAGMA legacy_alter_table = ON; ALTER TABLE t RENAME TO old; ALTER TABLE p RENAME COLUMN id TO pid",
    "DROP TABLE p",
    "DROP TABLE t; CREATE TABLE t(x)",
    "VACUUM; REINDEX; ANALYZE",
    "CREATE TRIGGER more BEFORE INSERT ON t BEGIN SELECT 1; END; INSERT INTO t VALUES('z', 1, 2, 3)",
)


def by_apsw(path: Path, sql: str) -> tuple[str | None, list[object]]:
    connection = apsw.Connection(str(path))
    error = None
    try:
        connection.execute(sql)
    except apsw.Error as problem:
        error = str(problem)
    seen = [list(connection.execute(query)) for query in queries(path)]
    connection.close()
    return error, list(seen)


def by_python(path: Path, sql: str) -> tuple[str | None, list[object]]:
    connection = sqlite3.connect(path, isolation_level=None)
    error = None
    try:
        connection.executescript(sql)
    except sqlite3.Error as problem:
        error = str(problem)
    seen = [connection.execute(query).fetchall() for query in queries(path)]
    connection.close()
    return error, list(seen)


def queries(path: Path) -> list[str]:
    """What the application can see in its file."""
    mine = "name NOT LIKE '\\_peerd\\_%' ESCAPE '\\' AND tbl_name NOT LIKE '\\_peerd\\_%' ESCAPE '\\'"
    connection = sqlite3.connect(path)
    listed = connection.execute(f"SELECT name FROM sqlite_schema WHERE type = 'table' AND {mine}").fetchall()
    connection.close()
    tables = [f"SELECT * FROM {quoted(name)} ORDER BY 1" for (name,) in listed if not name.startswith("sqlite_stat")]
    return [f"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE {mine} ORDER BY 1, 2, 3", *tables]


@pytest.mark.parametrize(("migration", "run"), list(product(MIGRATIONS, [by_apsw, by_python])))
def test_migrations_do_what_they_did(
    tmp_path: Path, migration: str, run: Callable[[Path, str], tuple[str | None, list[object]]]
) -> None:
    results = []
    for name in ("plain.db", "bound.db"):
        connection = apsw.Connection(str(tmp_path / name))
        for statement in SCHEMA:
            connection.execute(statement)
        if name == "bound.db":
            schema = read_schema(connection)
            install.install(connection, schema, plan_of(schema), b"b" * 16)
        connection.close()
        results.append(run(tmp_path / name, migration))
    assert results[0] == results[1]
