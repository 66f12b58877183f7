"""Values of SQLite, read and bound exactly; TEXT that is not UTF-8 is read and bound by its bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import apsw

from peerd.core.tables.cells import BadText, Cell

Row = tuple[Cell, ...]
_PLACE = re.compile(r'"(?:[^"]|"")*"|\?')


def rows(connection: apsw.Connection, columns: Sequence[str], rest: str, values: Sequence[Cell] = ()) -> list[Row]:
    """The rows of `SELECT columns rest`; columns are expressions in SQL, and `rest` does not count them."""
    bound, plain = bind(rest, values)
    try:
        return list(connection.execute(f"SELECT {', '.join(columns)} {bound}", plain))
    except UnicodeDecodeError:
        pass
    apart = [
        f"typeof({one}), CASE typeof({one}) WHEN 'text' THEN CAST({one} AS BLOB) ELSE {one} END" for one in columns
    ]
    found = list(connection.execute(f"SELECT {', '.join(apart)} {bound}", plain))
    return [tuple(map(_cell, row[::2], row[1::2])) for row in found]


def run(connection: apsw.Connection, sql: str, values: Sequence[Cell]) -> None:
    """Run a statement that gives no rows."""
    bound, plain = bind(sql, values)
    connection.execute(bound, plain)


def bind(sql: str, values: Sequence[Cell]) -> tuple[str, Sequence[apsw.SQLiteValue]]:
    """A statement and what to bind to its question marks; names in it are quoted."""
    if BadText not in map(type, values):
        return sql, cast("Sequence[apsw.SQLiteValue]", values)
    left = iter(values)
    text = _PLACE.sub(lambda found: found[0] if found[0] != "?" else _place(next(left)), sql)
    return text, [value.data if isinstance(value, BadText) else value for value in values]


def _place(value: Cell) -> str:
    return "CAST(? AS TEXT)" if isinstance(value, BadText) else "?"


def _cell(kind: Cell, value: Cell) -> Cell:
    if kind != "text" or not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return BadText(value)
