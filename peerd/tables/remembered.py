"""What an unbound file is known by when it is bound again: beside the space, not in the application's file.

Rows that are numbered by the application alone have nothing else by which they could meet their records. A row is
recognised where it stands at the same number with the same cells; one that was changed meanwhile could as well be
another row under a number that was given anew, and is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from peerd.core.tables.cells import cell_hash
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.shape import Schema, Table
from peerd.tables import exact, shadow
from peerd.tables.install import immediate
from peerd.tables.triggers import quoted

_TABLES = "CREATE TABLE tables(number INTEGER PRIMARY KEY, name TEXT NOT NULL, columns BLOB NOT NULL)"
_ROWS = (
    "CREATE TABLE rows(number INTEGER, k INTEGER, r TEXT NOT NULL, h BLOB NOT NULL, d BLOB, b BLOB, "
    "PRIMARY KEY(number, k)) WITHOUT ROWID"
)
_encode = msgspec.msgpack.Encoder().encode
_decode_base = msgspec.msgpack.Decoder(dict[int, bytes]).decode
_decode_columns = msgspec.msgpack.Decoder(dict[str, int]).decode

Alive = Mapping[str, Collection[str]]  # by table: the records that the space has


class _Recognised(NamedTuple):
    table: TablePlan
    key: int
    record: str
    hashes: dict[str, bytes]  # by column
    seen: object
    rank: object


def remember(connection: apsw.Connection, target: Path) -> None:
    """Keep in `target`, readable by us alone, what the file of a binding shows of numbered rows.

    Raises:
        apsw.Error, OSError: what was kept there before stays.
    """
    plan, numbers = shadow.plan(connection), shadow.column_numbers(connection)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    kept = apsw.Connection(str(fresh))
    try:
        fresh.chmod(0o600)
        with kept:
            kept.execute(_TABLES)
            kept.execute(_ROWS)
            for one in plan.tables if plan is not None else ():
                if one.key_class is KeyClass.SURROGATE and one.table in numbers:
                    row = (one.number, one.table, _encode(numbers[one.table]))
                    kept.execute("INSERT INTO tables VALUES(?, ?, ?)", row)
                    kept.executemany(f"INSERT INTO rows VALUES({one.number}, ?, ?, ?, ?, ?)", _shown(connection, one))
    finally:
        kept.close()
    fresh.replace(target)


def _shown(connection: apsw.Connection, one: TablePlan) -> Iterator[tuple[object, ...]]:
    rest = "WHERE f = 0 AND typeof(k0) = 'integer' AND length(h) > 0"
    return iter(connection.execute(f"SELECT k0, r, h, d, b FROM {shadow.shadow_table(one.number)} {rest}"))


def recognised(
    connection: apsw.Connection, schema: Schema, plan: BindingPlan, source: Path, alive: Alive
) -> dict[str, int]:
    """How many rows of each table would meet their records. Nothing is written."""
    found: dict[str, int] = {}
    for row in _rows(connection, schema, plan, source, alive):
        found[row.table.table] = found.get(row.table.table, 0) + 1
    return found


def recognise(connection: apsw.Connection, schema: Schema, plan: BindingPlan, source: Path, alive: Alive) -> None:
    """Let the rows of a file that was just bound be the records that they were.

    Raises:
        apsw.Error: no row was recognised.
    """
    numbers = shadow.column_numbers(connection)
    with immediate(connection):
        for row in _rows(connection, schema, plan, source, alive):
            given = numbers[row.table.table]
            base = _encode({given[name]: value for name, value in row.hashes.items()})
            connection.execute(
                f"INSERT INTO {shadow.shadow_table(row.table.number)}(r, k0, h, d, b, f) VALUES(?, ?, ?, ?, ?, 0)",
                (row.record, row.key, base, row.seen, row.rank),
            )


def _rows(
    connection: apsw.Connection, schema: Schema, plan: BindingPlan, source: Path, alive: Alive
) -> Iterator[_Recognised]:
    if not source.exists():
        return
    kept = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        known = {name: (number, columns) for number, name, columns in kept.execute("SELECT * FROM tables")}
        for one in plan.tables:
            table = schema.tables.get(one.table)
            if one.key_class is KeyClass.SURROGATE and table is not None and one.table in known:
                number, columns = known[one.table]
                numbers = _decode_columns(columns)
                stored = {column.name: numbers[column.name] for column in table.stored if column.name in numbers}
                rows = kept.execute("SELECT k, r, h, d, b FROM rows WHERE number = ?", (number,))
                for key, record, base, seen, rank in rows:
                    hashes = _equal(connection, table, key, stored, _decode_base(base))
                    if record in alive.get(one.table, ()) and hashes:
                        yield _Recognised(one, key, record, hashes, seen, rank)
    finally:
        kept.close()


def _equal(
    connection: apsw.Connection, table: Table, key: int, stored: Mapping[str, int], base: Mapping[int, bytes]
) -> dict[str, bytes]:
    """The hashes of a row by column, if all are what they were; none if it is not there, or another one."""
    names = [name for name, number in stored.items() if number in base]
    columns = [f"t.{quoted(name)}" for name in names]
    rest = f"FROM main.{quoted(table.name)} t WHERE t.{quoted(table.key[0])} = ?"
    for cells in exact.rows(connection, columns, rest, (key,)) if names else ():
        found = {name: cell_hash(cell) for name, cell in zip(names, cells, strict=True)}
        if all(found[name] == base[stored[name]] for name in names):
            return found
    return {}
