"""One bound table while the space is written into it: its rows and its shadow, by exact statements.

Foreign keys are off on our connection. Whether the application's triggers run is switched before each write.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import apsw
from msgspec import Struct, msgpack

from peerd.core.limits import FIELD_NAME_BYTES
from peerd.core.tables.cells import Cell, cell_hash, pack_cell, pack_cells, packed_hash
from peerd.core.tables.changes import Rank, RowImage
from peerd.core.tables.plans import TablePlan
from peerd.core.tables.shape import Table
from peerd.tables import exact
from peerd.tables.defaults import packed_default
from peerd.tables.exact import Row
from peerd.tables.shadow import HELD, shadow_table
from peerd.tables.triggers import dirty_table, quoted

Cells = dict[str, Cell]

_encode = msgpack.Encoder().encode
_decode_base = msgpack.Decoder(dict[int, bytes]).decode
_decode_rank = msgpack.Decoder(Rank).decode
_APPROVED, _UNCAPTURED, _STALE = 2, 4, 16  # flags that a harvest sets
_NULL = pack_cell(None)
_TRIGGERS = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER
_CONFLICT_CLAUSE = re.compile(r"\bON\s+CONFLICT\b", re.ASCII | re.IGNORECASE)


class UndoneByTrigger(Exception):
    """A trigger of the application rolled our transaction back (RAISE(ROLLBACK)) when `record` was written, or, if
    that is None, when a row of `table` was taken away.
    """

    def __init__(self, table: str, record: str | None, words: str) -> None:
        super().__init__(words)
        self.table, self.record, self.words = table, record, words


class ShadowRow(Struct, gc=False):
    """What the file has of a record. `base`: packed hashes of the cells as they were read back. `earlier`: packed
    versions that projections replaced.
    """

    record: str
    key: Row
    base: bytes
    dots: bytes
    rank: bytes
    flags: int = 0
    earlier: bytes = b""

    @property
    def held(self) -> bool:
        """Is its row gone, and its delete not in the space yet?"""
        return bool(self.flags & (HELD | _APPROVED))

    @property
    def immovable(self) -> bool:
        """Does its row hold what the space has not?"""
        return bool(self.flags & (_UNCAPTURED | _STALE))

    @property
    def hashes(self) -> dict[int, bytes]:
        return _decode_base(self.base) if self.base else {}

    @property
    def oldest(self) -> Rank:
        return _decode_rank(self.rank) if self.rank else (0, b"", 0)


class BoundTable:
    """`numbers` are those by which base hashes name its columns."""

    def __init__(self, connection: apsw.Connection, plan: TablePlan, table: Table, numbers: Mapping[str, int]) -> None:
        self.plan, self.table, self.name, self.key = plan, table, table.name, table.key
        self.stored = tuple(column.name for column in table.stored)
        self._fillable = [
            column
            for column in table.stored
            if column.name not in table.key and len(column.name.encode()) <= FIELD_NAME_BYTES
        ]
        self.shadow = shadow_table(plan.number)
        self.sql_name = f"main.{quoted(table.name)}"
        self.keyed_by_rowid = table.keyed_by_rowid
        self.deletes_silently = False
        self.key_is_integer = len(table.key) == 1 and (plan.maps_integers or self.keyed_by_rowid)
        self._connection, self._numbers = connection, numbers
        self.key_columns = [quoted(name) for name in table.key]
        self.columns = [quoted(name) for name in self.stored]
        self.match = " AND ".join(f"{name} = ?" for name in self.key_columns)
        self._places = [f"k{place}" for place in range(len(table.key))]
        self._match_places = " AND ".join(f"{place} = ?" for place in self._places)
        self.shadow_columns = ["r", *self._places, "h", "d", "b", "f", "e"]
        marks = ", ".join("?" * len(self.shadow_columns))
        self.shadow_insertion = f"INSERT INTO {self.shadow}({', '.join(self.shadow_columns)}) VALUES({marks})"
        # It would hold for what the application's triggers write, too: only where the table itself says otherwise.
        self._or_abort = "OR ABORT " if _CONFLICT_CLAUSE.search(table.sql) else ""
        self._inserts: dict[tuple[str, ...], str] = {}

    # ---- rows

    def read(self, key: Row) -> Cells | None:
        """The stored cells of a row, or None."""
        found = exact.rows(self._connection, self.columns, f"FROM {self.sql_name} WHERE {self.match}", key)
        return dict(zip(self.stored, found[0], strict=True)) if found else None

    def insert(self, cells: Cells, key: Row, *, replace: bool = False) -> None:
        """Insert a row; columns without a cell take their defaults. With `replace` the rows that it collides with go,
        and the application's triggers do not run.

        Raises:
            apsw.ConstraintError: nothing was inserted.
        """
        self.switch_triggers(off=replace)
        if self.keyed_by_rowid:
            cells = {**cells, self.key[0]: key[0]}
        self._bound(self.insertion(tuple(cells), replace=replace), tuple(cells.values()))

    def insertion(self, names: tuple[str, ...], *, replace: bool = False) -> str:
        """The statement that inserts a row with cells of these names."""
        head = self._inserts.get(names)
        if head is None:
            columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
            head = self._inserts[names] = f"INTO {self.sql_name}({columns}) VALUES({marks})"
        return f"INSERT {'OR REPLACE ' if replace else self._or_abort}{head}"

    def update(self, cells: Cells, key: Row) -> None:
        """Set cells of a row.

        Raises:
            apsw.ConstraintError: nothing was changed.
        """
        self.switch_triggers()
        columns = ", ".join(f"{quoted(name)} = ?" for name in cells)
        sql = f"UPDATE {self._or_abort}{self.sql_name} SET {columns} WHERE {self.match}"
        self._bound(sql, (*cells.values(), *key))

    def delete(self, key: Row) -> None:
        """Take a row away, if it is there, even if a trigger of the application forbids it.

        Raises:
            UndoneByTrigger: the whole transaction is gone.
        """
        sql = f"DELETE FROM {self.sql_name} WHERE {self.match}"
        self.switch_triggers(off=self.deletes_silently)
        try:
            self._bound(sql, key)
        except apsw.ConstraintError as error:
            if not self._connection.in_transaction:
                raise UndoneByTrigger(self.name, None, str(error)) from error
            self._connection.config(_TRIGGERS, 0)
            self._bound(sql, key)

    def keys_with(self, columns: Sequence[str], values: Sequence[Row]) -> list[Row]:
        """The keys of the rows that have one of these values."""
        if len(columns) == 1:
            match = f"{quoted(columns[0])} IN ({', '.join('?' * len(values))})"
        else:
            one = "(" + " AND ".join(f"{quoted(name)} = ?" for name in columns) + ")"
            match = " OR ".join([one] * len(values))
        flat = [cell for value in values for cell in value]
        return exact.rows(self._connection, self.key_columns, f"FROM {self.sql_name} WHERE {match}", flat)

    def look_up(self, cells: Cells, key: Row) -> list[Row] | None:
        """The keys of the rows with the same unique values as a row that is not there; None if columns do not tell."""
        stored = set(self.stored)
        found = dict.fromkeys(self._keys_at(self.key, self.table.key_collations, key))
        for unique in self.table.uniques:
            names = [name for name in unique.columns if name in stored and name in cells]
            if unique.partial or len(names) < len(unique.columns):
                return None
            found.update(dict.fromkeys(self._keys_at(names, unique.collations, tuple(cells[name] for name in names))))
        return list(found)

    def _keys_at(self, names: Sequence[str], collations: Sequence[str], values: Row) -> list[Row]:
        if None in values:
            return []
        match = " AND ".join(f"{quoted(name)} = ? COLLATE {one}" for name, one in zip(names, collations, strict=True))
        return exact.rows(self._connection, self.key_columns, f"FROM {self.sql_name} WHERE {match}", values)

    def key_in(self, cells: Cells, key: Row) -> Row:
        """The key of a row that was read back."""
        return key if self.keyed_by_rowid else tuple(cells[name] for name in self.key)

    def switch_triggers(self, *, off: bool = False) -> None:
        """Let the application's triggers run, or not, as the plan says. A change compiles all statements anew."""
        wanted = self.plan.run_triggers and not off
        if bool(self._connection.config(_TRIGGERS, -1)) != wanted:
            self._connection.config(_TRIGGERS, int(wanted))

    def _bound(self, sql: str, values: Row) -> None:
        exact.run(self._connection, sql, values)

    # ---- columns that a record lacks

    def completed(self, fields: dict[str, bytes]) -> dict[str, bytes]:
        """The fields of a record with those that it lacks here: it shows their default, whether it has a row already
        or not. What is not always the same stays what it is, and so do integers of other rows, which each file has
        for itself, the key, and what is in no record since its name is too long.
        """
        lacking: dict[str, bytes] = {}
        for column in self._fillable:
            if column.name not in fields:
                packed = packed_default(column)
                if packed is not None and (packed == _NULL or column.name not in self.plan.references):
                    lacking[column.name] = packed
        return fields | lacking if lacking else fields

    # ---- integers

    def is_taken(self, integer: int) -> bool:
        """Does a row have this key, or did one whose delete waits for a person?"""
        sql = (
            f"SELECT EXISTS(SELECT 1 FROM {self.sql_name} WHERE {self.match}) "
            f"OR EXISTS(SELECT 1 FROM {self.shadow} WHERE k0 = ?)"
        )
        return bool(next(self._connection.execute(sql, (integer, integer)))[0])

    def largest(self) -> int:
        """The largest integer that is or was a key here, at least 0."""
        key = self.key_columns[0]
        here, ever = (
            f"SELECT ifnull(max({key}), 0) FROM {self.sql_name}",
            f"SELECT ifnull(max(k0), 0) FROM {self.shadow}",
        )
        found = int(next(self._connection.execute(f"SELECT max(0, ({here}), ({ever}))"))[0])
        if self.table.autoincrement:
            sequence = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self.name,))
            found = max(found, int(next(sequence, (0,))[0] or 0))
        return found

    # ---- the shadow

    def shadow_of(self, record: str) -> ShadowRow | None:
        """What the file has of a record, or None."""
        return self._shadow("r = ?", (record,))

    def shadow_at(self, key: Row) -> ShadowRow | None:
        """What the file has at a local key."""
        return self._shadow(self._match_places, key)

    def _shadow(self, match: str, values: Row) -> ShadowRow | None:
        found = exact.rows(self._connection, self.shadow_columns, f"FROM {self.shadow} WHERE {match}", values)
        return self.shadow_in(found[0]) if found else None

    def shadow_in(self, row: Row) -> ShadowRow:
        """What `shadow_columns` held."""
        record, *key, base, dots, rank, flags, earlier = row
        packed = _bytes(base), _bytes(dots), _bytes(rank)
        return ShadowRow(str(record), tuple(key), *packed, _int(flags), _bytes(earlier))

    def add_shadow(self, row: ShadowRow) -> None:
        """Keep what the file has of a record, of which it had nothing.

        Raises:
            apsw.ConstraintError: another record has its key.
        """
        exact.run(self._connection, self.shadow_insertion, self.shadow_values(row))

    def shadow_values(self, row: ShadowRow) -> Row:
        """What `shadow_insertion` takes."""
        return (row.record, *row.key, row.base, row.dots, row.rank, row.flags, row.earlier or None)

    def set_shadow(self, row: ShadowRow) -> None:
        """Keep what the file has of a record now, at the key where it was."""
        sql = f"UPDATE {self.shadow} SET h = ?, d = ?, b = ?, e = ? WHERE r = ?"
        self._connection.execute(sql, (row.base, row.dots, row.rank, row.earlier or None, row.record))

    def drop_shadow(self, record: str) -> None:
        """The file has nothing of a record."""
        self._connection.execute(f"DELETE FROM {self.shadow} WHERE r = ?", (record,))

    def base_of(self, cells: Cells, old: Mapping[int, bytes], written: Collection[str]) -> bytes:
        """The packed hashes of cells that were read back; those that were not written keep the base that they had."""
        numbers = self._numbers
        if not old:
            hashes = map(packed_hash, pack_cells(tuple(cells.values())))
            return _encode({numbers[name]: one for name, one in zip(cells, hashes, strict=True) if name in numbers})
        return _encode(
            {
                numbers[name]: (None if name in written else old.get(numbers[name])) or cell_hash(cell)
                for name, cell in cells.items()
                if name in numbers
            }
        )

    def changed(self, cells: Cells, base: Mapping[int, bytes], present: Cells) -> Cells:
        """Those of `cells` that differ from what the row has. Of a key only how it is written may differ ('a' and 'A'),
        and what its column turns into another value, or the file has for itself, does not.
        """
        differing = {}
        for name, cell in cells.items():
            known = base.get(self._numbers.get(name, -1))
            is_key = name in self.key
            is_own = is_key and (self.key_is_integer or isinstance(cell, str) != isinstance(present[name], str))
            if not is_own and cell_hash(cell) != (known or cell_hash(present[name])):
                differing[name] = cell
        return differing

    # ---- marks

    def is_dirty(self) -> bool:
        """Did the application write to it since the last harvest?"""
        sql = f"SELECT EXISTS(SELECT 1 FROM {dirty_table(self.plan.number)})"
        return bool(next(self._connection.execute(sql))[0])

    def forget_marks(self) -> None:
        """Take away the marks that our own writes made."""
        self._connection.execute(f"DELETE FROM {dirty_table(self.plan.number)}")


def pack_dots(image: RowImage) -> bytes:
    """The dots of an image, in one order, so that equal ones are equal bytes."""
    return _encode(sorted(image.dots))


def has_row(connection: apsw.Connection, table: str, columns: Sequence[str], values: Row) -> bool:
    """Has a table, bound or not, a row with these values?"""
    match = " AND ".join(f"{quoted(name)} = ?" for name in columns)
    return bool(exact.rows(connection, ["1"], f"FROM main.{quoted(table)} WHERE {match} LIMIT 1", values))


def _bytes(cell: Cell) -> bytes:
    return cell if isinstance(cell, bytes) else b""


def _int(cell: Cell) -> int:
    return cell if isinstance(cell, int) else 0
