"""Many rows of a bound table in few statements: a list of values costs a fifth of as many statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw

from peerd.core.tables.cells import Cell
from peerd.tables import exact
from peerd.tables.bound_table import BoundTable, ShadowRow
from peerd.tables.exact import Row

_LENGTH = 125  # of a list of values; shorter lists are filled up, so that there is one statement for all


def shadows_of(connection: apsw.Connection, table: BoundTable, records: Sequence[str]) -> dict[str, ShadowRow]:
    """What the file has of these records, where it has anything."""
    found = _rows(connection, table.shadow_columns, f"FROM {table.shadow} WHERE r IN", records)
    return {shadow.record: shadow for shadow in map(table.shadow_in, found)}


def taken(connection: apsw.Connection, table: BoundTable, integers: Sequence[int]) -> set[Cell]:
    """Those of `integers` that a row has, or had one whose delete waits for a person."""
    (key,) = table.key_columns
    rows = _rows(connection, [key], f"FROM {table.sql_name} WHERE {key} IN", integers)
    shadows = _rows(connection, ["k0"], f"FROM {table.shadow} WHERE k0 IN", integers)
    return {found for (found,) in (*rows, *shadows)}


def rows_at(connection: apsw.Connection, table: BoundTable, keys: Sequence[Row]) -> dict[Row, Row]:
    """The stored cells of the rows with these keys, by the keys as they are in the table."""
    columns = [*table.key_columns, *table.columns]
    width = len(table.key_columns)
    if width == 1:
        found = _rows(connection, columns, f"FROM {table.sql_name} WHERE {columns[0]} IN", [key[0] for key in keys])
    else:
        match = f"FROM {table.sql_name} WHERE {table.match}"
        found = (row for key in keys for row in exact.rows(connection, columns, match, key))
    return {row[:width]: row[width:] for row in found}


def _rows(connection: apsw.Connection, columns: Sequence[str], rest: str, values: Sequence[Cell]) -> Iterator[Row]:
    places = f"({', '.join('?' * _LENGTH)})"
    for start in range(0, len(values), _LENGTH):
        some = values[start : start + _LENGTH]
        yield from exact.rows(connection, columns, f"{rest} {places}", (*some, *(some[-1],) * (_LENGTH - len(some))))
