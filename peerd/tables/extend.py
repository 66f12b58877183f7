"""A bound file whose binding grows: more tables, and references that bound tables did not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import apsw
import msgspec

from peerd.core.tables.changes import Applied, SaidAgain
from peerd.core.tables.fitting import fitting
from peerd.core.tables.plans import BindingPlan
from peerd.errors import TableTrouble
from peerd.tables import compare, install, shadow, triggers
from peerd.tables.captured import Captured
from peerd.tables.harvest import captured_tables
from peerd.tables.reading import read_schema
from peerd.tables.settle import CHANGED

_encode = msgspec.msgpack.Encoder().encode


def extend(
    connection: apsw.Connection,
    plan: BindingPlan,
    bind_id: bytes,
    new: Collection[int],
    again: SaidAgain,
    *,
    empty: bool = False,
) -> None:
    """Put `plan` in the place of the plan of the binding `bind_id`. Of what was bound nothing is lost: shadows, ids and
    marks stay. Rows of the tables with the numbers `new` are marked, or taken out if `empty`. The cells of the records
    in `again` will be harvested though they did not change. The file's position is unknown afterwards, so that
    everything is projected.

    Raises:
        TableTrouble: `file-unknown`, it is not the file of this binding.
        apsw.Error: the binding is as it was.
    """
    if shadow.carried(connection) != bind_id:
        raise TableTrouble(
            f"{connection.filename} carries no mark of this binding any more",
            code="file-unknown",
            next_step="Unbind it and bind it again; you are asked what becomes of its rows.",
        )
    before = shadow.plan(connection)
    if before is not None and compare.is_due(connection):
        compare.renew(connection, before)  # what the application dropped is seen by the old plan
    with install.immediate(connection):
        schema = fitting(read_schema(connection), plan)
        added = BindingPlan(plan.name, tuple(one for one in plan.tables if one.number in new))
        install.remove_tables(connection, new)  # an attempt that was cut short left it
        if empty:
            install.empty(connection, added)
        install.reinstall_in_transaction(connection, schema, plan)
        shadow.set_applied(connection, Applied(b"", 0))
        for one in () if empty else added.tables:
            connection.execute(triggers.mark_all(one.number, schema.tables[one.table]))
        tables = captured_tables(connection, schema, plan)
        for table, columns in again.items():
            for column, records in columns.items():
                if table in tables:
                    _say_again(connection, tables[table], column, records)


def _say_again(connection: apsw.Connection, captured: Captured, column: str, records: Iterable[str]) -> None:
    number = captured.numbers.get(column)
    table = shadow.shadow_table(captured.plan.number)
    for record in records if number is not None else ():
        known = captured.shadow_of(record)
        if known is None or known.key is None or known.flags:
            continue
        base = _encode({**known.hashes, number: CHANGED})
        connection.execute(f"UPDATE {table} SET h = ? WHERE r = ?", (base, record))
        compare.mark(connection, captured, [known.key])
