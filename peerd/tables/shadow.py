"""What peerd keeps in an application's file beside the marks: the shadow of each bound table, parked records, and a
few values about the binding itself.

    _peerd_meta     bind, format, counter, applied, plan, columns, keys, missing
    _peerd_s{n}     the shadow: record key, local key, base hashes, dots, rank, flags, earlier versions
    _peerd_p        records that the file cannot show at the moment

They are plain tables, so that any SQLite that can write the application's tables can keep the file consistent.
"""

from __future__ import annotations

import secrets

import apsw
import msgspec

from peerd.core.tables.changes import Applied
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema, Table
from peerd.tables.triggers import PREFIX, key_places

FORMAT = 2  # 1 had no earlier versions
META = f"{PREFIX}meta"
PARKED = f"{PREFIX}p"
CREATE_META = f"CREATE TABLE {META}(k TEXT PRIMARY KEY, v)"
CREATE_PARKED = f"CREATE TABLE {PARKED}(c TEXT, r TEXT, code TEXT, reason TEXT, b BLOB, PRIMARY KEY(c, r))"
_KEPT = f"{PREFIX}kept"
_EARLIER = "e BLOB"  # the end of a shadow's columns, where ALTER TABLE puts it
NOWHERE = -(1 << 62)  # and above: keys of shadows whose row was not found
_STEP_BITS = 32  # 64 bits are enough for four thousand million transactions
HELD = 1  # a flag of a shadow row: its delete waits for a person

_encode = msgspec.msgpack.Encoder().encode


class Numbers(msgspec.Struct):
    """The numbers of one table's columns. A number is given once and never again, even if its column is gone."""

    next: int = 0
    columns: dict[str, int] = {}


def shadow_table(number: int) -> str:
    """The name of the shadow of bound table `number`."""
    return f"{PREFIX}s{number}"


def shadow_index(number: int) -> str:
    """The name of the index of a shadow by local key."""
    return f"{PREFIX}k{number}"


def create_shadow(number: int, table: Table) -> dict[str, str]:
    """Name and statement of the shadow and of its index, in the order in which they are made."""
    places, name = key_places(table), shadow_table(number)
    return {
        name: f"CREATE TABLE {name}(r TEXT NOT NULL PRIMARY KEY, {places}, h BLOB, d BLOB, b BLOB, "
        f"f INTEGER NOT NULL DEFAULT 0, {_EARLIER})",
        shadow_index(number): f"CREATE UNIQUE INDEX {shadow_index(number)} ON {name}({places})",
    }


def upgrade(connection: apsw.Connection) -> None:
    """Bring what an earlier version of peerd left in the file to `FORMAT`, in the transaction of the caller."""
    ours = f"type = 'table' AND name GLOB '{PREFIX}s[0-9]*'"
    for (name,) in connection.execute(f"SELECT name FROM sqlite_schema WHERE {ours}").fetchall():
        connection.execute(f"ALTER TABLE main.{name} ADD COLUMN {_EARLIER}")
    set_meta(connection, "format", FORMAT)


def format_of(connection: apsw.Connection) -> int:
    """The form of what is ours in the file."""
    found = get_meta(connection, "format")
    return found if isinstance(found, int) else 1


# ---- shadows whose tables have another key now


def keep_rows(connection: apsw.Connection, number: int) -> None:
    """Lay the rows of a shadow aside, in the transaction of the caller, which drops it and makes it anew."""
    connection.execute(f"CREATE TABLE {_KEPT}{number} AS SELECT * FROM {shadow_table(number)} ORDER BY k0")


def take_kept_rows(connection: apsw.Connection, number: int, table: Table) -> None:
    """Put them back in their order, at keys that no row has: whoever looks at the rows says where they are."""
    places = key_places(table)
    nowhere = ", ".join([f"{NOWHERE} + rowid", *("0" for _ in table.key[1:])])
    connection.execute(
        f"INSERT INTO {shadow_table(number)}(r, {places}, h, d, b, f, e) "
        f"SELECT r, {nowhere}, h, d, b, f, e FROM {_KEPT}{number}"
    )
    connection.execute(f"DROP TABLE {_KEPT}{number}")


# ---- the values about the binding; each function belongs into the transaction of its caller


def get_meta(connection: apsw.Connection, name: str) -> object:
    """A value of the binding, or None."""
    row = next(iter(connection.execute(f"SELECT v FROM {META} WHERE k = ?", (name,))), None)
    return None if row is None else row[0]


def set_meta(connection: apsw.Connection, name: str, value: bytes | int) -> None:
    """Keep a value of the binding."""
    connection.execute(f"REPLACE INTO {META}(k, v) VALUES(?, ?)", (name, value))


def bind_id(connection: apsw.Connection) -> bytes | None:
    """The 16 bytes by which a file knows its binding; None if it has none."""
    found = get_meta(connection, "bind")
    return found if isinstance(found, bytes) else None


def carried(connection: apsw.Connection) -> bytes | None:
    """As `bind_id`, of any file."""
    try:
        return bind_id(connection)
    except apsw.SQLError:
        return None  # it has no such table


def counter(connection: apsw.Connection) -> int:
    """Grows with every transaction of ours that the file sees."""
    found = get_meta(connection, "counter")
    return found if isinstance(found, int) else 0


def count_up(connection: apsw.Connection) -> int:
    """Count this transaction. Returns the new counter.

    The step is drawn: a file that went back in time does not come to the same counters again, or it would take an old
    note for its own.
    """
    new = counter(connection) + 1 + secrets.randbits(_STEP_BITS)
    set_meta(connection, "counter", new)
    return new


def applied(connection: apsw.Connection) -> Applied | None:
    """How far the file shows the log of its space; None before the first projection."""
    found = get_meta(connection, "applied")
    return msgspec.msgpack.decode(found, type=_AppliedForm).applied if isinstance(found, bytes) else None


def set_applied(connection: apsw.Connection, position: Applied) -> None:
    """Keep how far the file shows the log of its space."""
    set_meta(connection, "applied", _encode(_AppliedForm(position.copy_id, position.position)))


class _AppliedForm(msgspec.Struct, array_like=True):
    copy_id: bytes
    position: int

    @property
    def applied(self) -> Applied:
        return Applied(self.copy_id, self.position)


def plan(connection: apsw.Connection) -> BindingPlan | None:
    """The plan by which the file was bound."""
    found = get_meta(connection, "plan")
    return msgspec.msgpack.decode(found, type=BindingPlan) if isinstance(found, bytes) else None


def set_plan(connection: apsw.Connection, new: BindingPlan) -> None:
    """Keep the plan."""
    set_meta(connection, "plan", _encode(new))


def column_numbers(connection: apsw.Connection) -> dict[str, dict[str, int]]:
    """The numbers by which base hashes name columns: table -> column -> number."""
    return {table: numbers.columns for table, numbers in _numbers(connection).items()}


def number_columns(connection: apsw.Connection, schema: Schema, new: BindingPlan) -> dict[str, dict[str, int]]:
    """Give numbers to the columns that have none, forget columns that are gone, and keep that. Returns all numbers."""
    numbers = _numbers(connection)
    for one in new.tables:
        table = schema.tables.get(one.table)
        if table is not None:
            numbers[one.table] = _renumbered(numbers.get(one.table, Numbers()), table)
    set_meta(connection, "columns", _encode(numbers))
    return {table: one.columns for table, one in numbers.items()}


def keys(connection: apsw.Connection) -> dict[str, tuple[str, ...]]:
    """The columns by which rows were found when the schema was looked at last, by table."""
    found = get_meta(connection, "keys")
    return msgspec.msgpack.decode(found, type=dict[str, tuple[str, ...]]) if isinstance(found, bytes) else {}


def set_keys(connection: apsw.Connection, schema: Schema, new: BindingPlan) -> None:
    """Keep them. Those of tables that are gone stay what they were."""
    now = {one.table: schema.tables[one.table].key for one in new.tables if one.table in schema.tables}
    set_meta(connection, "keys", _encode(keys(connection) | now))


def _numbers(connection: apsw.Connection) -> dict[str, Numbers]:
    found = get_meta(connection, "columns")
    return msgspec.msgpack.decode(found, type=dict[str, Numbers]) if isinstance(found, bytes) else {}


def _renumbered(old: Numbers, table: Table) -> Numbers:
    columns: dict[str, int] = {}
    after = old.next
    for column in table.stored:
        if column.name in old.columns:
            columns[column.name] = old.columns[column.name]
        else:
            columns[column.name] = after
            after += 1
    return Numbers(after, columns)
