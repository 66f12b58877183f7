"""What a person decided about deletes that are held."""

from __future__ import annotations

import apsw

from peerd.core.tables.changes import Applied
from peerd.core.tables.plans import BindingPlan, TablePlan
from peerd.tables import shadow
from peerd.tables.captured import APPROVED, DROPPED
from peerd.tables.install import immediate
from peerd.tables.shadow import HELD, shadow_table

_UNKNOWN = Applied(b"", 0)


def approve(connection: apsw.Connection, plan: BindingPlan, table: str) -> None:
    """The rows were meant to be deleted: the next harvest says so, whatever the brake thinks."""
    for one in _of(plan, table):
        with immediate(connection):
            connection.execute(
                f"UPDATE {shadow_table(one.number)} SET f = f & ~{HELD | DROPPED} | {APPROVED} WHERE f & {HELD}"
            )
            shadow.count_up(connection)


def restore(connection: apsw.Connection, plan: BindingPlan, table: str) -> list[tuple[str, str]]:
    """The rows were not: gives the records that are to be projected again. Until that is done the file's position is
    unknown, so that a crash in between ends in a full projection.
    """
    names: list[tuple[str, str]] = []
    for one in _of(plan, table):
        with immediate(connection):
            name = shadow_table(one.number)
            found = connection.execute(f"SELECT r FROM {name} WHERE f & {HELD} ORDER BY r").fetchall()
            if not found:
                continue
            names += [(one.collection, str(record)) for (record,) in found]
            # They have no row, and a harvest that comes first must not take that for another delete.
            connection.execute(f"DELETE FROM {name} WHERE f & {HELD}")
            shadow.set_applied(connection, _UNKNOWN)
            shadow.count_up(connection)
    return names


def _of(plan: BindingPlan, table: str) -> list[TablePlan]:
    return [one for one in plan.tables if one.table == table]
