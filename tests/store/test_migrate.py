"""Numbered files, one transaction each, and no guessing about what is newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.errors import StoreDamaged, StoreError
from peerd.store.migrate import APPLICATION_ID, build, migrate, migrations, statements
from tests.store.copies import Copy

ONE = (1, "-- the first\nCREATE TABLE a (x INTEGER) STRICT;\n")
TWO = (2, "CREATE TABLE b (x INTEGER) STRICT;\nINSERT INTO a VALUES (1);\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "space.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(path, isolation_level=None)
    yield opened
    opened.close()


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]


def test_what_is_lacking_is_applied_once_and_in_order(connection: sqlite3.Connection, path: Path) -> None:
    """From nothing, from in between, and not again."""
    assert migrate(connection, path, (ONE,)) == [1]
    assert migrate(connection, path, (ONE, TWO)) == [2]
    assert migrate(connection, path, (ONE, TWO)) == []
    assert numbers(connection) == [2, APPLICATION_ID]
    assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]


def test_a_file_that_fails_leaves_the_database_as_it_was(connection: sqlite3.Connection, path: Path) -> None:
    """The earlier ones stay, of the failed one nothing, and it can be tried again."""
    broken = (2, "CREATE TABLE b (x INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, path, (ONE, broken))
    assert numbers(connection) == [1, APPLICATION_ID]
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    assert migrate(connection, path, (ONE, TWO)) == [2]


def test_a_new_database_is_as_one_that_came_through_all_versions(connection: sqlite3.Connection, path: Path) -> None:
    """In one transaction, which the caller may still take back."""
    connection.execute("BEGIN IMMEDIATE")
    build(connection)
    connection.execute("ROLLBACK")
    assert numbers(connection) == [0, 0]
    connection.execute("BEGIN IMMEDIATE")
    build(connection)
    connection.execute("COMMIT")
    other = sqlite3.connect(":memory:", isolation_level=None)
    migrate(other, path)
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    assert connection.execute(schema).fetchall() == other.execute(schema).fetchall()
    assert numbers(connection) == numbers(other)
    other.close()


def test_a_newer_format_is_refused_and_left_alone(connection: sqlite3.Connection, path: Path) -> None:
    """With a sentence that names both numbers."""
    migrate(connection, path, (ONE, TWO))
    with pytest.raises(StoreError, match="format 2; this peerd knows formats up to 1") as raised:
        migrate(connection, path, (ONE,))
    assert raised.value.code == "store-newer"
    assert "Back to an earlier version of peerd" in raised.value.next_step
    assert "newer peerd" in raised.value.next_step
    assert numbers(connection) == [2, APPLICATION_ID]


async def test_opening_a_newer_database_is_refused(copy: Copy) -> None:
    """The same, from the outside; the lock is free again."""
    await copy.store.close()
    with sqlite3.connect(copy.path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreError, match="format 999"):
        await copy.open()
    with sqlite3.connect(copy.path) as connection:
        connection.execute(f"PRAGMA user_version = {migrations()[-1][0]}")
    connection.close()
    await copy.open()


def test_the_database_of_another_program_is_refused(connection: sqlite3.Connection, path: Path) -> None:
    """Its own numbering means nothing to us."""
    connection.execute("PRAGMA user_version = 1")
    with pytest.raises(StoreDamaged, match="another program"):
        migrate(connection, path, (ONE, TWO))


def test_the_folder_holds_a_gapless_series_of_strict_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Numbers from 1 without a gap; every table strict, with the paragraph above it."""
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
    migrate(connection, path)
    for _, name, kind, _, _, strict in connection.execute("PRAGMA table_list"):
        if kind == "table" and not name.startswith("sqlite_"):
            assert strict, name
    for _, text in migrations():
        for statement in statements(text):
            assert not statement.lstrip().startswith("CREATE TABLE") or statement.startswith("\n--"), statement


def test_statements_are_split_where_sqlite_ends_them() -> None:
    """A semicolon in a comment, a string or a trigger is no end; an unfinished file is a mistake of ours."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\n  DELETE FROM b;\nEND;\n"
    text = "-- one; two\nINSERT INTO a VALUES ('x;\ny');\n" + trigger + "-- the end\n"
    assert list(statements(text)) == ["-- one; two\nINSERT INTO a VALUES ('x;\ny');\n", trigger]
    with pytest.raises(ValueError, match="inside a statement"):
        list(statements("CREATE TABLE a (x)\n"))
