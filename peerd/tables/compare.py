"""When the schema moved: triggers again where they are missing, and a full comparison of rows with their shadows.

A table that was rebuilt has lost its triggers, and may have another key; VACUUM gives hidden rowids anew. So after any
change of SQLite's schema_version the triggers are made whole in one BEGIN IMMEDIATE; from then on they see every write.
Then all rows are compared with their bases in a read transaction, and those that differ are marked for the next
harvest.

A missing table or column is a difference between schemas and deletes nothing. Where one comes (back), the space may
have cells for it that the file could not show: from then on its position is unknown, so that everything is projected. A
table that lost its triggers and has no rows was dropped and made again: what it showed is held, as if the brake had
held it. If rows come back at their keys, they are the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import apsw
import msgspec
from msgspec import Struct

from peerd.core.tables.cells import cell_hash
from peerd.core.tables.changes import Applied
from peerd.core.tables.fitting import fitting
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.tables import exact, shadow
from peerd.tables.captured import DROPPED, Captured, Found
from peerd.tables.defaults import default_hash
from peerd.tables.exact import Row
from peerd.tables.harvest import captured_tables, is_due, nothing, numbers_in, reading
from peerd.tables.install import immediate, reinstall_in_transaction
from peerd.tables.reading import read_schema
from peerd.tables.rowids import follow_rows
from peerd.tables.shadow import HELD, shadow_table
from peerd.tables.triggers import create_triggers, dirty_table

__all__ = ["Renewal", "is_due", "mark", "renew"]

_MARKS_AT_ONCE = 10_000
_UNKNOWN = Applied(b"", 0)

_encode = msgspec.msgpack.Encoder().encode


class Renewal(Struct, frozen=True):
    """`appeared` are columns, by table, that the file did not have before: cells of them may wait in the space.
    `missing` are bound tables that are not there. `held` counts the rows of tables that were dropped and made again.
    """

    schema: Schema
    appeared: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...]
    held: Mapping[str, int]


def renew(connection: apsw.Connection, plan: BindingPlan, *, at: Callable[[str], None] = nothing) -> Renewal:
    """Read the schema, make whole what is ours, and mark every row that differs from what the file showed. It may be
    cut at any point and done again.

    Raises:
        apsw.Error: what was done stays done; do it again.
    """
    with immediate(connection):
        schema = fitting(read_schema(connection), plan)
        before, keys = shadow.column_numbers(connection), shadow.keys(connection)
        gone = reinstall_in_transaction(connection, schema, plan)
        numbers = shadow.column_numbers(connection)
        tables = captured_tables(connection, schema, plan)
        rebuilt = [one for one in tables.values() if gone & create_triggers(one.plan.number, one.table).keys()]
        held = {one.table.name: count for one in rebuilt if (count := _hold_dropped(connection, one))}
        for one in tables.values():
            name = one.table.name
            if (
                one.table.keyed_by_rowid
                or shadow_table(one.plan.number) in gone
                or keys.get(name, one.table.key) != one.table.key
            ):
                follow_rows(connection, one, before.get(name, {}).keys() & numbers[name].keys())
        appeared = {
            name: tuple(column for column in numbers.get(name, {}) if column not in before[name])
            for name in tables
            if name in before and numbers.get(name, {}).keys() - before[name].keys()
        }
        missing = tuple(one.table for one in plan.tables if one.table not in tables)
        if _came_back(connection, plan, missing) or appeared:
            shadow.set_applied(connection, _UNKNOWN)
        shadow.set_meta(connection, "comparing", 1)
        shadow.set_meta(connection, "schema", int(connection.pragma("schema_version")))
    at("reinstalled")
    _compare(connection, tables)
    at("compared")
    with immediate(connection):
        shadow.set_meta(connection, "comparing", 0)
    return Renewal(schema, appeared, missing, held)


def _came_back(connection: apsw.Connection, plan: BindingPlan, missing: Collection[str]) -> bool:
    """Is a table there that was missing when the schema was looked at last? What is missing now is kept."""
    before, now = numbers_in(connection, "missing"), {one.number for one in plan.tables if one.table in missing}
    if before != now:
        shadow.set_meta(connection, "missing", _encode(sorted(now)))
    return bool(before & {one.number for one in plan.tables} - now)


def _hold_dropped(connection: apsw.Connection, captured: Captured) -> int:
    """Hold what an empty table showed. Returns how many rows."""
    if captured.rows_count() or not captured.shadow_count():
        return 0
    number = captured.plan.number
    connection.execute(f"DELETE FROM {dirty_table(number)}")
    connection.execute(f"UPDATE {shadow_table(number)} SET f = f | {HELD | DROPPED} WHERE k0 IS NOT NULL AND f & 3 = 0")
    count = int(connection.changes())
    flagged = numbers_in(connection, "flagged") | {number}
    shadow.set_meta(connection, "flagged", _encode(sorted(flagged)))
    return count


def _compare(connection: apsw.Connection, tables: Mapping[str, Captured]) -> None:
    """Mark what differs, a part at a time."""
    for captured in tables.values():
        with reading(connection):
            of_columns = {
                captured.numbers[column.name]: default_hash(column)
                for column in captured.table.stored
                if column.name in captured.numbers
            }
            keys = [row.key for row in captured.all_rows() if not row.marks and _differs(captured, row, of_columns)]
            keys += [row.key for row in captured.missing(-1)]
        for start in range(0, len(keys), _MARKS_AT_ONCE):
            with immediate(connection):
                mark(connection, captured, keys[start : start + _MARKS_AT_ONCE])


def _differs(captured: Captured, row: Found, defaults: Mapping[int, bytes | None]) -> bool:
    known = row.known
    if known is None or not known.has_row or known.flags:
        return True
    base = known.hashes
    mapped = captured.table.key if captured.plan.maps_integers else ()
    for name, cell in zip(captured.stored, row.cells or (), strict=True):
        number = captured.numbers.get(name)
        if number is not None and name not in mapped and cell_hash(cell) != base.get(number, defaults[number]):
            return True
    return False


def mark(connection: apsw.Connection, captured: Captured, keys: list[Row]) -> None:
    """Mark rows that have no mark, in the transaction of the caller."""
    dirty = dirty_table(captured.plan.number)
    width = len(captured.table.key)
    questions, match = ", ".join("?" * width), " AND ".join(f"k{place} = ?" for place in range(width))
    sql = f"INSERT INTO {dirty} SELECT {questions}, 1 WHERE NOT EXISTS (SELECT 1 FROM {dirty} WHERE {match})"
    for key in keys:
        exact.run(connection, sql, (*key, *key))
