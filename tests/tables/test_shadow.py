"""The values that peerd keeps about a binding in the application's file."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.tables.changes import Applied
from peerd.tables import install, shadow
from peerd.tables.reading import read_schema
from tests.support.bindings import plan_of

Make = Callable[..., apsw.Connection]


def bound(make: Make, *statements: str) -> apsw.Connection:
    connection = make(*statements)
    schema = read_schema(connection)
    install.install(connection, schema, plan_of(schema), b"b" * 16)
    return connection


def test_what_is_kept_is_given_back(make: Make) -> None:
    connection = bound(make, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
    assert shadow.bind_id(connection) == b"b" * 16
    assert shadow.plan(connection) == plan_of(read_schema(connection))
    assert shadow.applied(connection) is None
    shadow.set_applied(connection, Applied(b"copy", 7))
    assert shadow.applied(connection) == Applied(b"copy", 7)
    counted = [shadow.count_up(connection) for _ in range(3)]
    assert counted == sorted(set(counted))
    assert shadow.counter(connection) == counted[-1]


def test_a_file_that_went_back_counts_otherwise_than_before(make: Make) -> None:
    """Or a note of what it was would be taken for one of what it is."""
    connection = bound(make, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
    counted = set()
    for _ in range(3):
        connection.execute("BEGIN")
        counted.add(shadow.count_up(connection))
        connection.execute("ROLLBACK")
    assert len(counted) == 3


def test_a_number_is_never_given_to_another_column(make: Make) -> None:
    connection = bound(make, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, g AS (a))")
    assert shadow.column_numbers(connection) == {"t": {"id": 0, "a": 1, "b": 2}}
    for statement in ("ALTER TABLE t DROP COLUMN b", "ALTER TABLE t ADD COLUMN b", "ALTER TABLE t ADD COLUMN c"):
        connection.execute(statement)
        schema = read_schema(connection)
        shadow.number_columns(connection, schema, plan_of(schema))
    assert shadow.column_numbers(connection) == {"t": {"id": 0, "a": 1, "b": 3, "c": 4}}


def test_a_record_and_a_local_key_stand_in_the_shadow_once(make: Make) -> None:
    connection = bound(make, "CREATE TABLE t(a NOT NULL, b NOT NULL, PRIMARY KEY(a, b))")
    connection.execute("INSERT INTO _peerd_s0(r, k0, k1) VALUES('r', 1, 2)")
    for values in ("'r', 1, 3", "'q', 1, 2"):
        with pytest.raises(apsw.ConstraintError):
            connection.execute(f"INSERT INTO _peerd_s0(r, k0, k1) VALUES({values})")
