"""How a bound file stands, in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from peerd.core.tables.changes import TableCount
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.tables import exact
from peerd.tables.captured import STALE, UNCAPTURED
from peerd.tables.shadow import HELD, PARKED, shadow_table
from peerd.tables.triggers import dirty_table, quoted

_TOLD_ROWS = 1_000


def counts(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> dict[str, TableCount]:
    """By table; one that is gone has no rows."""
    parked = dict(connection.execute(f"SELECT c, count(*) FROM {PARKED} GROUP BY c"))
    return {
        one.table: TableCount(
            rows=_count(connection, f"main.{quoted(one.table)}") if one.table in schema.tables else 0,
            dirty=_count(connection, dirty_table(one.number)),
            parked=int(parked.get(one.collection, 0)),
            held=_count(connection, f"{shadow_table(one.number)} WHERE f & {HELD}"),
        )
        for one in plan.tables
        if _has(connection, shadow_table(one.number))
    }


def held(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> Mapping[str, int]:
    """Rows whose deletes are held, by table, where there are any."""
    found = {table: count.held for table, count in counts(connection, schema, plan).items()}
    return {table: rows for table, rows in found.items() if rows}


def not_captured(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> list[tuple[str, str, str]]:
    """Rows that no harvest could take, as the file remembers them: table, key in words, why."""
    why = "it is not in the space, or not all of it: it is too large, or another row has the same identity"
    found: list[tuple[str, str, str]] = []
    for one in plan.tables:
        name, table = shadow_table(one.number), schema.tables.get(one.table)
        if table is not None and _has(connection, name):
            places = [f"k{place}" for place in range(len(table.key))]
            rest = f"FROM {name} s WHERE f & {UNCAPTURED | STALE} AND k0 IS NOT NULL LIMIT {_TOLD_ROWS}"
            rows = exact.rows(connection, places, rest)
            found += [(one.table, ", ".join(map(str, key))[:200], why) for key in rows]
    return found


def keys(connection: apsw.Connection, plan: BindingPlan, collection: str) -> list[str]:
    """The records that the file shows of a collection. What is held stays as it is, and rows that are in no space have
    no record.
    """
    return [
        str(record)
        for one in plan.tables
        if one.collection == collection and _has(connection, shadow_table(one.number))
        for (record,) in connection.execute(
            f"SELECT r FROM {shadow_table(one.number)} WHERE NOT f & {HELD | UNCAPTURED} ORDER BY r"
        )
    ]


def _has(connection: apsw.Connection, table: str) -> bool:
    return bool(list(connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,))))


def _count(connection: apsw.Connection, rest: str) -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {rest}").fetchall()
    return int(str(rows))
