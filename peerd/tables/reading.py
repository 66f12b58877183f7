"""An application's schema as SQLite reports it: facts, in the shapes of `core.tables.shape`.

Left out are SQLite's own tables, ours, and the shadow tables in which virtual tables keep their content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apsw
from msgspec.structs import replace

from peerd.core.tables.shape import ROWID_NAMES, Column, Reference, Schema, Table, Trigger, Unique, folded
from peerd.tables import sql_text
from peerd.tables.triggers import PREFIX, quoted

_EXPRESSION = -2  # what pragma_index_xinfo has for one; -1 is the rowid
_GENERATED = {2, 3}  # pragma_table_xinfo.hidden: virtual, stored


def read_schema(connection: apsw.Connection) -> Schema:
    """The schema of the main database, read in one transaction (in the one that is open, if there is one).

    Raises:
        apsw.Error: the file cannot be read.
        UnicodeDecodeError: a name in it is not UTF-8.
    """
    with _reading(connection):
        version = int(connection.pragma("schema_version"))
        listed = _rows(connection, "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'")
        virtual = frozenset(name for name, kind, *_ in listed if kind == "virtual")
        views = frozenset(name for name, kind, *_ in listed if kind == "view")
        hidden = ("sqlite_", PREFIX, *_shadows_of_unknown_modules(connection))
        tables = {
            name: _table(connection, name, without_rowid=bool(without_rowid), strict=bool(strict))
            for name, kind, without_rowid, strict in sorted(listed)
            if kind == "table" and not folded(name).startswith(hidden)
        }
        return Schema(
            tables=_with_real_names(tables, virtual, views),
            virtual=virtual,
            views=views,
            journal_mode=str(connection.pragma("journal_mode")),
            version=version,
        )


def _rows(connection: apsw.Connection, sql: str, *values: str) -> list[Any]:
    return list(connection.execute(sql, values))


@contextmanager
def _reading(connection: apsw.Connection) -> Iterator[None]:
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _shadows_of_unknown_modules(connection: apsw.Connection) -> list[str]:
    """How the names of tables begin that belong to virtual tables of modules which this SQLite does not have, and
    whose shadow tables it therefore does not know.
    """
    known = {folded(name) for (name,) in _rows(connection, "SELECT name FROM pragma_module_list")}
    created = _rows(connection, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage = 0")
    return [folded(name) + "_" for name, sql in created if folded(sql_text.module_of(sql)) not in known]


# ---- one table


def _table(connection: apsw.Connection, name: str, *, without_rowid: bool, strict: bool) -> Table:
    ((sql,),) = _rows(connection, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", name)
    columns = _columns(connection, name)
    declared = [column for column in sorted(columns, key=lambda one: one.key_place) if column.key_place]
    indexes = _indexes(connection, name, columns)
    of_key = next((index for origin, index in indexes if origin == "pk"), None)
    is_alias = bool(declared) and of_key is None and not without_rowid
    never_null = without_rowid or all(column.not_null for column in declared)
    key = _rowid(columns)
    collations: tuple[str, ...] = ("BINARY",)
    if is_alias:
        key = (declared[0].name,)
    elif declared and of_key is not None and never_null:
        key, collations, kept = tuple(column.name for column in declared), of_key.collations, of_key
        indexes = [(origin, index) for origin, index in indexes if index is not kept]
    checks = sql_text.checks(sql)
    names = tuple(column.name for column in columns)
    obstacle, trigger_obstacle = _obstacles(connection, name)
    return Table(
        name=name,
        sql=sql,
        columns=columns,
        key=key,
        is_rowid_alias=is_alias,
        autoincrement=sql_text.has_autoincrement(sql),
        without_rowid=without_rowid,
        strict=strict,
        uniques=tuple(index for _, index in indexes),
        references=_references(connection, name, sql),
        triggers=_triggers(connection, name),
        checks=checks,
        tied=tuple(sql_text.columns_named(check, names) for check in checks),
        key_collations=collations,
        obstacle=obstacle,
        trigger_obstacle=trigger_obstacle,
    )


def _columns(connection: apsw.Connection, table: str) -> tuple[Column, ...]:
    sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid"
    return tuple(
        Column(
            name=name,
            declared=declared,
            not_null=bool(not_null),
            default=default,
            key_place=place,
            generated=hidden in _GENERATED,
            collation=str(connection.column_metadata("main", table, name)[1]).upper(),
        )
        for name, declared, not_null, default, place, hidden in _rows(connection, sql, table)
    )


def _rowid(columns: tuple[Column, ...]) -> tuple[str, ...]:
    taken = {folded(column.name) for column in columns}
    return tuple(name for name in ROWID_NAMES if name not in taken)[:1]


def _indexes(connection: apsw.Connection, table: str, columns: tuple[Column, ...]) -> list[tuple[str, Unique]]:
    """(origin, index) of each unique one, in a stable order."""
    alias = next((column.name for column in columns if column.key_place), None)
    sql = "SELECT name, origin, partial FROM pragma_index_list(?, 'main') WHERE \"unique\" ORDER BY name"
    return [
        (origin, _index(connection, name, alias, partial=bool(partial)))
        for name, origin, partial in _rows(connection, sql, table)
    ]


def _index(connection: apsw.Connection, name: str, alias: str | None, *, partial: bool) -> Unique:
    sql = "SELECT cid, name, coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno"
    parts = _rows(connection, sql, name)
    return Unique(
        name=name,
        columns=tuple(
            None if cid == _EXPRESSION else column if column is not None else alias for cid, column, _ in parts
        ),
        collations=tuple(collation.upper() for _, _, collation in parts),
        partial=partial,
    )


def _references(connection: apsw.Connection, table: str, table_sql: str) -> tuple[Reference, ...]:
    """In the order of the text: SQLite counts from the last one."""
    what = 'id, "table", "from", "to", on_delete, on_update'
    sql = f"SELECT {what} FROM pragma_foreign_key_list(?, 'main') ORDER BY id DESC, seq"
    groups: dict[int, list[Any]] = {}
    for row in _rows(connection, sql, table):
        groups.setdefault(row[0], []).append(row)
    deferred = sql_text.deferred_references(table_sql)
    told = deferred if len(deferred) == len(groups) else (False,) * len(groups)
    return tuple(
        Reference(
            columns=tuple(row[2] for row in rows),
            parent=rows[0][1],
            parent_columns=tuple(row[3] for row in rows if row[3] is not None),
            actions=(rows[0][4].upper(), rows[0][5].upper()),
            deferred=is_deferred,
        )
        for rows, is_deferred in zip(groups.values(), told, strict=True)
    )


def _triggers(connection: apsw.Connection, table: str) -> tuple[Trigger, ...]:
    sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY name"
    return tuple(
        Trigger(name=name, table=table, sql=text, writes=sql_text.trigger_writes(text))
        for name, text in _rows(connection, sql, table)
        if not folded(name).startswith(PREFIX)
    )


def _obstacles(connection: apsw.Connection, table: str) -> tuple[str | None, str | None]:
    """What SQLite says when it prepares writes to the table: with triggers off, and with triggers on."""
    setting = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER
    before = connection.config(setting, -1)
    try:
        connection.config(setting, 0)
        without = _refusal(connection, table)
        connection.config(setting, 1)
        return without, without or _refusal(connection, table)
    finally:
        connection.config(setting, before)


def _refusal(connection: apsw.Connection, table: str) -> str | None:
    cursor = connection.cursor()
    cursor.exec_trace = lambda *_: False  # prepared, and not run
    columns = _writable(connection, table)
    statements = (
        f"REPLACE INTO main.{quoted(table)} DEFAULT VALUES",
        f"DELETE FROM main.{quoted(table)}",
        f"UPDATE main.{quoted(table)} SET " + ", ".join(f"{quoted(name)} = NULL" for name in columns),
    )
    for statement in statements if columns else statements[:2]:
        try:
            cursor.execute(statement, can_cache=False)  # one from before was prepared under the other setting
        except apsw.ExecTraceAbort:
            continue
        except apsw.SQLError as problem:
            return str(problem)
    return None


def _writable(connection: apsw.Connection, table: str) -> list[str]:
    sql = "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden = 0"
    return [name for (name,) in _rows(connection, sql, table)]


# ---- names as they are, where the text may have them in another case


def _with_real_names(tables: Mapping[str, Table], virtual: frozenset[str], views: frozenset[str]) -> dict[str, Table]:
    real = {folded(name): name for name in (*tables, *virtual, *views)}

    def written(name: str) -> str | None:
        found = real.get(folded(name), name)
        return None if found in views else found

    def linked(reference: Reference) -> Reference:
        parent = tables.get(real.get(folded(reference.parent), ""))
        if parent is None:
            return reference
        columns = {folded(column.name): column.name for column in parent.columns}
        named = tuple(columns.get(folded(name), name) for name in reference.parent_columns)
        return replace(reference, parent=parent.name, parent_columns=named or parent.declared_key)

    return {
        name: replace(
            table,
            references=tuple(map(linked, table.references)),
            triggers=tuple(
                replace(trigger, writes=frozenset(written(target) for target in trigger.writes if target is not None))
                for trigger in table.triggers
            ),
        )
        for name, table in tables.items()
    }
