"""The rows that a snapshot brings, beside those of the copy, in a table of the same form; and putting them in its
place, which is a change of names.
"""

from __future__ import annotations

import re
import sqlite3

from peerd.store.records import Table

SIDE: Table = "incoming_record"
FORMER = "former_record"

_TABLE_NAME = re.compile(r'^CREATE TABLE\s+"?record"?')
_INDEX_NAME = re.compile(r'^(CREATE (?:UNIQUE )?INDEX)\s+"?(\w+)"?\s+ON\s+"?record"?')


def make(connection: sqlite3.Connection) -> None:
    """An empty table of the form that `record` has. Indexes of one database need different names, so those of two
    tables that follow each other take turns: `record_by_key` and `record_by_key_2`.
    """
    if has(connection, SIDE):
        return
    (text,) = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'record'").fetchone()
    connection.execute(_TABLE_NAME.sub(f"CREATE TABLE {SIDE}", text))
    for (index,) in connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'record' AND sql IS NOT NULL"
    ).fetchall():
        connection.execute(_INDEX_NAME.sub(lambda match: f"{match[1]} {_other(match[2])} ON {SIDE}", index))


def exchange(connection: sqlite3.Connection) -> None:
    connection.execute(f"ALTER TABLE record RENAME TO {FORMER}")
    connection.execute(f"ALTER TABLE {SIDE} RENAME TO record")


def clear_some(connection: sqlite3.Connection, table: str, limit: int) -> bool:
    """Delete `limit` rows of one of the two tables, or the table when it is empty; False if it is gone."""
    if not has(connection, table):
        return False
    deleted = connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)",  # noqa: S608 - one of two names
        (limit,),
    ).rowcount
    if not deleted:
        connection.execute(f"DROP TABLE {table}")
    return True


def has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return found is not None


def _other(name: str) -> str:
    return name.removesuffix("_2") if name.endswith("_2") else f"{name}_2"
