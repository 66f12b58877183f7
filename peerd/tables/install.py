"""Tying a file to a space and untying it again, each in one transaction.

What is ours in a file is what begins with `_peerd_`: uninstalling takes all of it away, whoever left it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

import apsw

from peerd.core.tables.changes import Applied
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema, Table
from peerd.errors import TableTrouble
from peerd.tables import shadow, triggers
from peerd.tables.triggers import quoted


def install(
    connection: apsw.Connection,
    schema: Schema,
    plan: BindingPlan,
    bind_id: bytes,
    *,
    applied: Applied | None = None,
    rows: Literal["mark", "leave", "empty"] = "mark",
    instead: bool = False,
) -> None:
    """Bind the file. `schema` is what it has now, `plan` names tables of it. `applied` is how far it shows the space
    already. `rows` that the tables have are marked as dirty, so that the next harvests take them all; or left alone;
    or taken out. With `instead`, what an earlier binding left in the file is taken away first.

    Raises:
        TableTrouble: `file-bound`, it is bound already.
        apsw.Error: nothing was written.
    """
    with immediate(connection):
        if instead:
            _remove(connection)
        if _ours(connection):
            raise TableTrouble(
                f"{connection.filename} is bound already",
                code="file-bound",
                next_step="Unbind it first; `peerctl tables list` shows where it belongs.",
            )
        if rows == "empty":
            empty(connection, plan)
        connection.execute(shadow.CREATE_META)
        shadow.set_meta(connection, "format", shadow.FORMAT)
        shadow.set_meta(connection, "bind", bind_id)
        shadow.set_meta(connection, "counter", 0)
        if applied is not None:
            shadow.set_applied(connection, applied)
        reinstall_in_transaction(connection, schema, plan)
        if rows == "mark":
            for one in plan.tables:
                connection.execute(triggers.mark_all(one.number, schema.tables[one.table]))


def uninstall(connection: apsw.Connection, bind_id: bytes | None = None) -> bool:
    """Take away all that is ours: the schema is as it was, no other row is touched. False if there was nothing, or if
    the file carries another binding than `bind_id`: it is left alone then. With None, whatever it carries goes.

    Raises:
        apsw.Error: nothing was written.
    """
    with immediate(connection):
        if bind_id is not None and shadow.carried(connection) not in {None, bind_id}:
            return False
        is_ours = bool(_ours(connection))
        _remove(connection)
        return is_ours


def missing(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> frozenset[str]:
    """The names of what should be in the file and is not, or not as it should be: gone with a table that was rebuilt,
    or made for a key that is another one now. Tables of the plan that the schema lacks count for nothing.
    """
    ours = _ours(connection)
    return frozenset(name for name, sql in _wanted(schema, plan).items() if ours.get(name, ("", ""))[1] != sql)


def reinstall(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> frozenset[str]:
    """Make again what is missing, and keep `plan`. New columns get their numbers. Returns what was missing: rows of
    those tables may differ from their shadows without any mark.

    Raises:
        apsw.Error: nothing was written.
    """
    with immediate(connection):
        return reinstall_in_transaction(connection, schema, plan)


def reinstall_in_transaction(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> frozenset[str]:
    """`reinstall` as a part of the caller's transaction."""
    wanted, gone, ours = _wanted(schema, plan), missing(connection, schema, plan), _ours(connection)
    outlived = [one.number for one in plan.tables if shadow.shadow_table(one.number) in gone & ours.keys()]
    for number in outlived:
        shadow.keep_rows(connection, number)
    for kind in ("trigger", "index", "table"):
        for name in sorted(gone):
            if ours.get(name, ("", ""))[0] == kind:
                connection.execute(f"DROP {kind} main.{quoted(name)}")
    present = _ours(connection)
    for name, sql in wanted.items():
        if name not in present:
            connection.execute(sql)
    for number in outlived:
        shadow.take_kept_rows(connection, number, _table_of(schema, plan, number))
    shadow.set_plan(connection, plan)
    shadow.number_columns(connection, schema, plan)
    shadow.set_keys(connection, schema, plan)
    return gone


def _table_of(schema: Schema, plan: BindingPlan, number: int) -> Table:
    return next(schema.tables[one.table] for one in plan.tables if one.number == number)


def remove_tables(connection: apsw.Connection, numbers: Collection[int]) -> None:
    """Take away what stands under these numbers, whoever left it there."""
    names = {f"{triggers.PREFIX}{letter}{number}" for number in numbers for letter in "iuxds"}
    _remove(connection, names)


def _remove(connection: apsw.Connection, names: Collection[str] | None = None) -> None:
    ours = {name: of for name, of in _ours(connection).items() if names is None or name in names}
    for wanted in ("trigger", "table"):  # an index goes with its table
        for name, (kind, _) in ours.items():
            if kind == wanted:
                connection.execute(f"DROP {kind} main.{quoted(name)}")


def empty(connection: apsw.Connection, plan: BindingPlan) -> None:
    """Take all rows out of the tables of a plan: children first, and without what the application would do about each
    row, unless it keeps an index. It is a part of the caller's transaction.
    """
    setting = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER
    before = connection.config(setting, -1)
    try:
        for one in reversed(plan.tables):
            connection.config(setting, int(one.run_triggers))
            connection.execute(f"DELETE FROM main.{quoted(one.table)}")
    finally:
        connection.config(setting, before)


@contextmanager
def immediate(connection: apsw.Connection) -> Iterator[None]:
    """One transaction that has the write lock from its beginning; rolled back if the body raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _ours(connection: apsw.Connection) -> dict[str, tuple[str, str | None]]:
    """Name -> (kind, SQL text) of all that is ours."""
    found = connection.execute("SELECT name, type, sql FROM sqlite_schema WHERE substr(name, 1, 7) = '_peerd_'")
    return {name: (kind, sql) for name, kind, sql in found}


def _wanted(schema: Schema, plan: BindingPlan) -> dict[str, str]:
    """Name -> SQL text of all that should be there, in the order in which it can be made."""
    wanted = {shadow.META: shadow.CREATE_META, shadow.PARKED: shadow.CREATE_PARKED}
    for one in plan.tables:
        table = schema.tables.get(one.table)
        if table is not None:
            wanted[triggers.dirty_table(one.number)] = triggers.create_dirty(one.number, table)
            wanted |= shadow.create_shadow(one.number, table)
            wanted |= triggers.create_triggers(one.number, table)
    return wanted
