"""A file is bound in one transaction, and untied without a trace."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.tables.changes import Applied
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.errors import TableTrouble
from peerd.tables import install, shadow
from peerd.tables.reading import read_schema
from tests.support.bindings import plan_of

Make = Callable[..., apsw.Connection]
NOTES = (
    "CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
    "CREATE TABLE tags(k TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE INDEX x ON notes(a)",
    "INSERT INTO notes(a) VALUES('one'), ('two')",
    "INSERT INTO tags VALUES('red')",
)


def bind(connection: apsw.Connection) -> tuple[Schema, BindingPlan]:
    schema = read_schema(connection)
    plan = plan_of(schema)
    install.install(connection, schema, plan, b"b" * 16)
    return schema, plan


def everything(connection: apsw.Connection) -> list[object]:
    return [
        list(connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"))
        for table in (
            "(SELECT type, name, tbl_name, sql FROM sqlite_schema)",
            "sqlite_sequence",
            "notes",
            "tags, notes",
        )
    ]


def rows(connection: apsw.Connection, table: str) -> list[tuple[object, ...]]:
    return sorted(connection.execute(f"SELECT * FROM {table}"))


def test_unbinding_leaves_no_trace(make: Make) -> None:
    connection = make(*NOTES)
    before = everything(connection)
    bind(connection)
    assert everything(connection) != before
    connection.execute("ANALYZE")
    install.uninstall(connection)
    for statistics in ("sqlite_stat1", "sqlite_stat4"):
        assert {row[0] for row in connection.execute(f"SELECT tbl FROM {statistics}")} <= {"notes", "tags"}
        connection.execute(f"DROP TABLE {statistics}")
    assert everything(connection) == before
    assert not install.uninstall(connection), "there is nothing to do"


def test_a_file_of_another_binding_is_left_alone(make: Make) -> None:
    connection = make(*NOTES)
    bind(connection)
    bound = everything(connection)
    assert not install.uninstall(connection, b"another binding!")
    assert everything(connection) == bound
    assert install.uninstall(connection, b"b" * 16)
    assert everything(connection) != bound


def test_pragmas_of_the_application_stay_as_they_are(make: Make) -> None:
    connection = make(*NOTES, "PRAGMA user_version = 7", "PRAGMA application_id = 8", "PRAGMA journal_mode = WAL")
    bind(connection)
    install.uninstall(connection)
    assert [connection.pragma(name) for name in ("user_version", "application_id", "journal_mode")] == [7, 8, "wal"]


def test_rows_that_are_there_are_dirty_or_not_as_asked(make: Make) -> None:
    connection = make(*NOTES)
    schema = read_schema(connection)
    install.install(connection, schema, plan_of(schema), b"b" * 16)
    assert rows(connection, "_peerd_d0") == [(1, 1), (2, 1)]
    assert rows(connection, "_peerd_d1") == [("red", 1)]
    install.install(connection, schema, plan_of(schema), b"c" * 16, rows="leave", instead=True)
    assert rows(connection, "_peerd_d0") == []
    assert shadow.bind_id(connection) == b"c" * 16
    position = Applied(b"copy", 3)
    install.install(connection, schema, plan_of(schema), b"d" * 16, rows="empty", instead=True, applied=position)
    assert (rows(connection, "notes"), rows(connection, "tags"), rows(connection, "_peerd_d0")) == ([], [], [])
    assert shadow.applied(connection) == position


def test_a_bound_file_is_not_bound_again(make: Make) -> None:
    connection = make(*NOTES)
    schema, plan = bind(connection)
    with pytest.raises(TableTrouble) as caught:
        install.install(connection, schema, plan, b"c" * 16)
    assert caught.value.code == "file-bound"
    assert caught.value.next_step
    assert shadow.bind_id(connection) == b"b" * 16


def test_a_binding_that_fails_writes_nothing(make: Make) -> None:
    connection = make(*NOTES)
    schema = read_schema(connection)
    before = everything(connection)
    connection.execute("DROP TABLE tags")
    with pytest.raises(apsw.SQLError):
        install.install(connection, schema, plan_of(schema), b"b" * 16)
    connection.execute(NOTES[1])
    connection.execute(NOTES[4])
    assert everything(connection) == before


def test_what_a_rebuild_took_away_is_named_and_made_again(make: Make) -> None:
    connection = make(*NOTES)
    schema, plan = bind(connection)
    assert install.missing(connection, schema, plan) == frozenset()
    connection.execute(
        "CREATE TABLE new(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b); INSERT INTO new SELECT *, 0 FROM notes; "
        "DROP TABLE notes; ALTER TABLE new RENAME TO notes"
    )
    schema = read_schema(connection)
    lost = {"_peerd_i0", "_peerd_u0", "_peerd_x0"}
    assert install.missing(connection, schema, plan) == lost
    assert install.reinstall(connection, schema, plan) == lost
    assert install.missing(connection, schema, plan) == frozenset()
    assert shadow.column_numbers(connection)["notes"] == {"id": 0, "a": 1, "b": 2}
    connection.execute("UPDATE notes SET b = 1 WHERE id = 1")
    assert (1, 3) in rows(connection, "_peerd_d0")


def test_what_was_made_for_another_key_is_made_anew(make: Make) -> None:
    connection = make(*NOTES)
    bind(connection)
    connection.execute("DROP TABLE tags; CREATE TABLE tags(k TEXT, n INT, PRIMARY KEY(k, n)) WITHOUT ROWID")
    schema = read_schema(connection)
    gone = install.reinstall(connection, schema, plan_of(schema))
    assert gone == {"_peerd_d1", "_peerd_s1", "_peerd_k1", "_peerd_i1", "_peerd_u1", "_peerd_x1"}
    connection.execute("INSERT INTO tags VALUES('red', 2)")
    assert rows(connection, "_peerd_d1") == [("red", 2, 1)]


def test_a_table_that_is_gone_counts_for_nothing(make: Make) -> None:
    connection = make(*NOTES)
    _, plan = bind(connection)
    connection.execute("DROP TABLE tags")
    assert install.reinstall(connection, read_schema(connection), plan) == frozenset()


def test_renamed_columns_and_tables_carry_their_triggers_along(make: Make) -> None:
    connection = make("CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, a)")
    bind(connection)
    connection.execute("ALTER TABLE t RENAME COLUMN k TO \"key\"; ALTER TABLE t RENAME TO 'the table'")
    schema = read_schema(connection)
    assert install.missing(connection, schema, plan_of(schema)) == frozenset()
