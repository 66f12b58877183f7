"""Values of SQLite, read and bound exactly; TEXT that is not UTF-8 is read and bound by its bytes.

In a database whose text is UTF-16 that is text with half a surrogate pair. It is known by the three bytes that UTF-8
would have for each half, so that it is the same in all files; bytes that are no such text become U+FFFD there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import apsw

from peerd.core.tables.cells import BadText, Cell

Row = tuple[Cell, ...]
_HALVES = "surrogatepass"
_PLACE = re.compile(r'"(?:[^"]|"")*"|\?')


def rows(connection: apsw.Connection, columns: Sequence[str], rest: str, values: Sequence[Cell] = ()) -> list[Row]:
    """The rows of `SELECT columns rest`; columns are expressions in SQL, and `rest` does not count them."""
    bound, plain = bind(connection, rest, values)
    try:
        return list(connection.execute(f"SELECT {', '.join(columns)} {bound}", plain))
    except UnicodeDecodeError:
        pass
    apart = [
        f"typeof({one}), CASE typeof({one}) WHEN 'text' THEN CAST({one} AS BLOB) ELSE {one} END" for one in columns
    ]
    found = list(connection.execute(f"SELECT {', '.join(apart)} {bound}", plain))
    codec = _codec(connection)
    return [tuple(_cell(*one, codec) for one in zip(row[::2], row[1::2], strict=True)) for row in found]


def run(connection: apsw.Connection, sql: str, values: Sequence[Cell]) -> None:
    """Run a statement that gives no rows."""
    bound, plain = bind(connection, sql, values)
    connection.execute(bound, plain)


def bind(connection: apsw.Connection, sql: str, values: Sequence[Cell]) -> tuple[str, Sequence[apsw.SQLiteValue]]:
    """A statement and what to bind to its question marks; names in it are quoted."""
    if BadText not in map(type, values):
        return sql, cast("Sequence[apsw.SQLiteValue]", values)
    left = iter(values)
    text = _PLACE.sub(lambda found: found[0] if found[0] != "?" else _place(next(left)), sql)
    codec = _codec(connection)
    return text, [_stored(value.data, codec) if isinstance(value, BadText) else value for value in values]


def _place(value: Cell) -> str:
    return "CAST(? AS TEXT)" if isinstance(value, BadText) else "?"


def _codec(connection: apsw.Connection) -> str:
    """How the database stores text."""
    return {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}.get(str(connection.pragma("encoding")), "utf-8")


def _cell(kind: Cell, value: Cell, codec: str) -> Cell:
    if kind != "text" or not isinstance(value, bytes):
        return value
    try:
        return value.decode(codec)
    except UnicodeDecodeError:
        return BadText(value if codec == "utf-8" else value.decode(codec, _HALVES).encode("utf-8", _HALVES))


def _stored(data: bytes, codec: str) -> bytes:
    if codec == "utf-8":
        return data
    try:
        return data.decode("utf-8", _HALVES).encode(codec, _HALVES)
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode(codec)
