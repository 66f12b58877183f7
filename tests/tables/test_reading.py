"""A schema is read from a real file: every fact that capture and placing rest on."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.tables.shape import Reference, Table, Unique
from peerd.tables import install
from peerd.tables.reading import read_schema
from tests.support.bindings import plan_of

Make = Callable[..., apsw.Connection]


def table(make: Make, *statements: str, name: str = "t") -> Table:
    return read_schema(make(*statements)).tables[name]


@pytest.mark.parametrize(
    ("created", "key", "is_alias"),
    [
        ("t(id INTEGER PRIMARY KEY, a)", ("id",), True),
        ("t(a, id integer, PRIMARY KEY(id DESC))", ("id",), True),
        ("t(id INTEGER PRIMARY KEY) STRICT", ("id",), True),
        ("t(id INTEGER PRIMARY KEY DESC)", ("rowid",), False),  # an old mistake that SQLite keeps
        ("t(id INT PRIMARY KEY)", ("rowid",), False),
        ("t(id INT NOT NULL PRIMARY KEY)", ("id",), False),
        ("t(id INTEGER PRIMARY KEY) WITHOUT ROWID", ("id",), False),
        ("t(k TEXT PRIMARY KEY) STRICT", ("k",), False),
        ("t(b, a, PRIMARY KEY(a, b)) WITHOUT ROWID", ("a", "b"), False),
        ("t(b NOT NULL, a, PRIMARY KEY(a, b))", ("rowid",), False),
        ("t(b NOT NULL, a NOT NULL, PRIMARY KEY(a, b))", ("a", "b"), False),
        ("t(a)", ("rowid",), False),
        ("t(RowID TEXT, a)", ("_rowid_",), False),
        ("t(rowid, _rowid_, OID)", (), False),
        ("t(oid INTEGER PRIMARY KEY, rowid, _rowid_)", ("oid",), True),
    ],
)
def test_the_key_is_what_finds_a_row_for_as_long_as_it_lives(
    make: Make, *, created: str, key: tuple[str, ...], is_alias: bool
) -> None:
    found = table(make, f"CREATE TABLE {created}")
    assert (found.key, found.is_rowid_alias) == (key, is_alias)
    assert found.keyed_by_rowid == (key in {("rowid",), ("_rowid_",)})


def test_columns_have_their_facts(make: Make) -> None:
    columns = table(
        make,
        "CREATE TABLE t(\"a b\" VARCHAR(3) COLLATE nocase NOT NULL DEFAULT 'x', [select] INTEGER PRIMARY KEY, "
        "v AS (1) VIRTUAL, s INT AS (2) STORED, ünïcode)",
    ).columns
    assert [column.name for column in columns] == ["a b", "select", "v", "s", "ünïcode"]
    first, key, virtual, stored, last = columns
    assert (first.declared, first.collation, first.not_null, first.default) == ("VARCHAR(3)", "NOCASE", True, "'x'")
    assert (key.key_place, first.key_place) == (1, 0)
    assert (virtual.generated, stored.generated, last.generated) == (True, True, False)


def test_unique_indexes_besides_the_key_are_listed(make: Make) -> None:
    found = table(
        make,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE COLLATE rtrim, b, UNIQUE(b, id))",
        "CREATE UNIQUE INDEX x ON t(lower(a), b COLLATE NOCASE) WHERE b > 1",
        "CREATE INDEX y ON t(b)",
    )
    assert found.uniques == (
        Unique("sqlite_autoindex_t_1", ("a",), ("RTRIM",)),
        Unique("sqlite_autoindex_t_2", ("b", "id"), ("BINARY", "BINARY")),
        Unique("x", (None, "b"), ("BINARY", "NOCASE"), partial=True),
    )


@pytest.mark.parametrize(
    ("created", "may"),
    [
        ("t(id INTEGER PRIMARY KEY, a)", False),
        ("t(id INTEGER PRIMARY KEY, a UNIQUE)", True),
        ("t(a)", False),
        ("t(k TEXT PRIMARY KEY) WITHOUT ROWID", False),
        ("t(k TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID", True),
        ("t(k TEXT, PRIMARY KEY(k COLLATE RTRIM)) WITHOUT ROWID", True),
        ("t(k TEXT NOT NULL PRIMARY KEY)", True),  # REPLACE INTO t(rowid, k) takes the rowid of another row
        ("t(k TEXT PRIMARY KEY)", True),
    ],
)
def test_rows_vanish_silently_where_more_than_the_exact_key_is_unique(make: Make, *, created: str, may: bool) -> None:
    assert table(make, f"CREATE TABLE {created}").may_vanish_silently is may


def test_a_row_does_vanish_behind_a_declared_key(make: Make) -> None:
    connection = make("CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY)", "CREATE TABLE log(k)")
    connection.execute("CREATE TRIGGER x AFTER DELETE ON t BEGIN INSERT INTO log VALUES(OLD.k); END")
    connection.execute("INSERT INTO t(rowid, k) VALUES(5, 'a'); REPLACE INTO t(rowid, k) VALUES(5, 'b')")
    assert list(connection.execute("SELECT k FROM t")) == [("b",)]
    assert list(connection.execute("SELECT k FROM log")) == []


def test_foreign_keys_stand_in_the_order_of_the_text_with_real_names(make: Make) -> None:
    found = table(
        make,
        "CREATE TABLE Parent(ID INTEGER PRIMARY KEY, a, b, UNIQUE(a, b))",
        "CREATE TABLE t(x REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, w REFERENCES nowhere, "
        "Y, z, FOREIGN KEY(y, z) REFERENCES PARENT(A, b) ON UPDATE SET NULL)",
    )
    assert found.references == (
        Reference(("x",), "Parent", ("ID",), ("CASCADE", "NO ACTION"), deferred=True),
        Reference(("w",), "nowhere", ()),
        Reference(("Y", "z"), "Parent", ("a", "b"), ("NO ACTION", "SET NULL")),
    )


def test_what_triggers_write_has_the_real_names(make: Make) -> None:
    connection = make(
        "CREATE TABLE t(a)",
        "CREATE TABLE Log(a)",
        "CREATE VIRTUAL TABLE fts USING fts5(a)",
        "CREATE VIEW v AS SELECT 1 AS a",
        "CREATE TRIGGER one AFTER INSERT ON T BEGIN INSERT INTO FTS VALUES(NEW.a); DELETE FROM log; END",
        "CREATE TRIGGER two AFTER DELETE ON t BEGIN INSERT INTO V VALUES(1); UPDATE t SET a = 1; END",
    )
    found = read_schema(connection).tables["t"].triggers
    assert [(trigger.name, trigger.writes) for trigger in found] == [("one", {"fts", "Log"}), ("two", {None, "t"})]


def test_what_is_not_the_applications_own_is_left_out(make: Make) -> None:
    connection = make(
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "CREATE VIEW v AS SELECT 1",
    )
    schema = read_schema(connection)
    install.install(connection, schema, plan_of(schema), b"b" * 16)
    again = read_schema(connection)
    assert set(again.tables) == {"t"}
    assert again.tables == schema.tables
    assert again.tables["t"].autoincrement
    assert (again.virtual, again.views) == (frozenset({"f"}), frozenset({"v"}))


def test_shadow_tables_of_an_unknown_module_are_left_out(make: Make) -> None:
    class Module:
        def Create(self, *_: object) -> tuple[str, object]:  # noqa: N802 - apsw's name
            return "CREATE TABLE ignored(a)", self

    connection = make()
    connection.create_module("vec9", Module())  # type: ignore[arg-type]  # no more is asked of it
    connection.execute("CREATE VIRTUAL TABLE Vec USING vec9(a)")
    connection.execute("CREATE TABLE vec_chunks(a)")
    connection.close()
    assert set(read_schema(make("CREATE TABLE vector(a)")).tables) == {"vector"}


def test_what_only_the_application_has_is_named(make: Make) -> None:
    connection = make("CREATE TABLE plain(a)")
    connection.create_scalar_function("own", lambda *_: 1, deterministic=True)
    connection.create_collation("icu", lambda a, b: (a > b) - (a < b))
    for statement in (
        "CREATE TABLE checked(a CHECK(own(a)))",
        "CREATE TABLE collated(a UNIQUE COLLATE icu)",
        "CREATE TABLE generated(a, b AS (own(a)))",
        "CREATE TABLE indexed(a)",
        "CREATE INDEX x ON indexed(own(a))",
        "CREATE TABLE triggered(a)",
        "CREATE TRIGGER y AFTER UPDATE ON triggered BEGIN SELECT own(NEW.a); END",
    ):
        connection.execute(statement)
    connection.close()
    found = read_schema(make()).tables
    for name in ("checked", "generated", "indexed"):
        assert "own" in (found[name].obstacle or "")
    assert "icu" in (found["collated"].obstacle or "")
    assert found["triggered"].obstacle is None
    assert "own" in (found["triggered"].trigger_obstacle or "")
    assert (found["plain"].obstacle, found["plain"].trigger_obstacle) == (None, None)


def test_reading_changes_nothing_and_leaves_no_transaction(make: Make) -> None:
    connection = make("CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "PRAGMA journal_mode = WAL")
    schema = read_schema(connection)
    assert (schema.journal_mode, schema.version) == ("wal", connection.pragma("schema_version"))
    assert not connection.in_transaction
    assert list(connection.execute("SELECT a FROM t")) == [(1,)]
    connection.execute("BEGIN IMMEDIATE")
    assert read_schema(connection) == schema
    assert connection.in_transaction
