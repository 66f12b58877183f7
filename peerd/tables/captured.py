"""One bound table as it is harvested: which rows are dirty, what they hold now, and what the file showed last.

Everything here reads. Its callers hold a transaction, so that all of it is one committed state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import apsw
import msgspec
from msgspec import Struct

from peerd.core.tables.cells import BadText, Cell
from peerd.core.tables.plans import TablePlan
from peerd.core.tables.shape import Table
from peerd.tables import exact
from peerd.tables.exact import Row
from peerd.tables.shadow import HELD, shadow_table
from peerd.tables.triggers import GONE, dirty_table, quoted

# Flags of a shadow row, beside HELD.
APPROVED = 2  # its row is gone, and the next harvest says so whatever the brake thinks
UNCAPTURED = 4  # its row is not in the space: too large, the second of two with one identity, or about to be harvested
DROPPED = 8  # held because its whole table went away: a row that comes back at its key is the same one
STALE = 16  # its row holds more than the space, since that is too large

_NO_ROW = HELD | APPROVED
_PARTS = 10_000  # how many values stand in one IN list
_FIRST_BATCH, _LARGEST_BATCH = 16, 1_000

_decode_base = msgspec.msgpack.Decoder(dict[int, bytes]).decode


class Known(Struct, gc=False):
    """A shadow row. `key` is None if its integer was taken by another row since."""

    record: str
    key: Row | None
    base: bytes
    seen: bytes
    rank: Cell
    flags: int
    earlier: bytes  # versions that projections replaced, packed

    @property
    def has_row(self) -> bool:
        """Did a row stand behind it when it was written?"""
        return self.key is not None and not self.flags & _NO_ROW

    @property
    def hashes(self) -> dict[int, bytes]:
        return _decode_base(self.base) if self.base else {}


class Found(Struct, gc=False):
    """A row that may have changed: its key, the marks that were read (0: it has none), its stored cells or None if
    there is no such row, and its shadow. `forced` are columns whose meaning changed though their value did not.
    """

    key: Row
    marks: int
    cells: Row | None
    known: Known | None
    size_bytes: int  # about what its cells take
    forced: frozenset[str] = frozenset()


class Captured:
    """`numbers` are those by which base hashes name its columns. `is_audited`: its rows are to be counted."""

    def __init__(
        self,
        connection: apsw.Connection,
        plan: TablePlan,
        table: Table,
        numbers: Mapping[str, int],
        *,
        is_audited: bool,
    ) -> None:
        self.plan, self.table, self.numbers, self.is_audited = plan, table, numbers, is_audited
        self.stored = tuple(column.name for column in table.stored)
        self.places = {name: place for place, name in enumerate(self.stored)}
        self._connection = connection
        self._dirty, self._shadow = dirty_table(plan.number), shadow_table(plan.number)
        self._table = f"main.{quoted(table.name)}"
        width = range(len(table.key))
        names = [quoted(name) for name in table.key]
        self._width = len(names)
        self._of_dirty = [f"d.k{place}" for place in width]
        self._of_shadow = [f"s.k{place}" for place in width]
        self._of_row = [f"t.{name}" for name in names]
        self._shown = ["s.r", *self._of_shadow, "s.h", "s.d", "s.b", "s.f", "s.e"]
        self._cells = [f"{self._of_row[0]} IS NOT NULL", *(f"t.{quoted(name)}" for name in self.stored)]
        self._shadow_at_mark = _all(f"s.k{place} = d.k{place}" for place in width)
        self._row_at_mark = _all(self._same(place, f"d.k{place}") for place in width)
        self._row_at_shadow = _all(self._same(place, f"s.k{place}") for place in width)
        self._row_at = _all(self._same(place, "?") for place in width)
        self._shadow_at_row = _all(f"s.k{place} = +t.{name}" for place, name in enumerate(names))
        self._mark_at_row = _all(f"d.k{place} = +t.{name}" for place, name in enumerate(names))
        self._mark_at_shadow = _all(f"d.k{place} = s.k{place}" for place in width)

    def _same(self, place: int, value: str) -> str:
        """The key of a row is exactly this; the first comparison can use the index of the key, whatever it folds."""
        name = f"t.{quoted(self.table.key[place])}"
        return f"{name} = {value} AND {name} COLLATE BINARY = {value}" if self._folds(place) else f"{name} = {value}"

    def _folds(self, place: int) -> bool:
        """May the key of a row differ from another that SQLite takes for the same?"""
        is_integer = self.table.is_rowid_alias or self.table.keyed_by_rowid
        return not is_integer and self.table.key_collations[place : place + 1] != ("BINARY",)

    # ---- marks

    def is_dirty(self) -> bool:
        """Did the application write to it since the last harvest?"""
        return self._one(f"SELECT EXISTS(SELECT 1 FROM {self._dirty})") == 1

    def dirty(self, most_rows: int, most_bytes: int, *, first_may_be_larger: bool) -> tuple[list[Found], bool]:
        """Rows that have marks, in the order of the marks, and whether these are all. Together they are no larger than
        `most_bytes`, but for the first one, if that may be.
        """
        columns = ["d.rowid", *self._of_dirty, "d.v", *self._shown, *self._cells]
        rest = (
            f"FROM {self._dirty} d LEFT JOIN {self._shadow} s ON {self._shadow_at_mark} "
            f"LEFT JOIN {self._table} t ON {self._row_at_mark} WHERE d.rowid > ? ORDER BY d.rowid LIMIT ?"
        )
        found: list[Found] = []
        size_bytes, after, batch = 0, -1 << 63, _FIRST_BATCH
        while len(found) < most_rows:
            wanted = min(batch, most_rows - len(found))
            rows = exact.rows(self._connection, columns, rest, (after, wanted))
            for row in rows:
                one = self._found(row[1:])
                size_bytes += one.size_bytes
                if size_bytes > most_bytes and (found or not first_may_be_larger):
                    return found, False
                found.append(one)
            if len(rows) < wanted:
                return found, True
            after = _integer(rows[-1][0])
            room = (most_bytes - size_bytes) // (size_bytes // len(found) + 1)
            batch = max(1, min(room, batch * 8, _LARGEST_BATCH))
        return found, not self._one(f"SELECT EXISTS(SELECT 1 FROM {self._dirty} d WHERE d.rowid > ?)", (after,))

    # ---- rows that have no mark of their own

    def rows_with(self, column: str, values: Sequence[Cell]) -> Iterator[Found]:
        """The rows that have one of `values` in a column."""
        for start in range(0, len(values), _PARTS):
            part = values[start : start + _PARTS]
            yield from self._rows(f"WHERE t.{quoted(column)} IN ({', '.join('?' * len(part))})", part)

    def row_at(self, key: Row) -> Found | None:
        """The row with this key, if there is one."""
        return next(iter(self._rows(f"WHERE {self._row_at}", self._key_values(key))), None)

    def all_rows(self) -> Iterator[Found]:
        """The whole table, in the order of its keys, some rows at a time."""
        after: Row | None = None
        order = ", ".join(self._of_row)
        while True:
            where = "" if after is None else f"WHERE ({order}) > ({', '.join('?' * self._width)})"
            rows = self._rows(f"{where} ORDER BY {order} LIMIT {_LARGEST_BATCH}", after or ())
            yield from rows
            if len(rows) < _LARGEST_BATCH:
                return
            after = rows[-1].key

    def _rows(self, where: str, values: Sequence[Cell]) -> list[Found]:
        columns = [*self._of_row, "ifnull(d.v, 0)", *self._shown, *self._cells]
        rest = (
            f"FROM {self._table} t LEFT JOIN {self._shadow} s ON {self._shadow_at_row} "
            f"LEFT JOIN {self._dirty} d ON {self._mark_at_row} {where}"
        )
        return [self._found(row) for row in exact.rows(self._connection, columns, rest, values)]

    # ---- the shadow

    def flagged(self, flags: int, most: int) -> list[Found]:
        """Those whose shadow has one of these flags, with their rows, if they have any."""
        columns = [*self._of_shadow, "ifnull(d.v, 0)", *self._shown, *self._cells]
        rest = (
            f"FROM {self._shadow} s LEFT JOIN {self._dirty} d ON {self._mark_at_shadow} "
            f"LEFT JOIN {self._table} t ON {self._row_at_shadow} WHERE s.f & ? LIMIT ?"
        )
        return [self._found(row) for row in exact.rows(self._connection, columns, rest, (flags, most))]

    def missing(self, most: int) -> list[Found]:
        """Those that have a shadow and neither a row nor a mark."""
        columns = [*self._of_shadow, "0", *self._shown, *self._cells]
        rest = (
            f"FROM {self._shadow} s LEFT JOIN {self._table} t ON {self._row_at_shadow} "
            f"WHERE {self._of_row[0]} IS NULL AND s.k0 IS NOT NULL AND s.f & {_NO_ROW} = 0 "
            f"AND NOT EXISTS (SELECT 1 FROM {self._dirty} d WHERE {self._mark_at_shadow}) LIMIT ?"
        )
        return [self._found(row) for row in exact.rows(self._connection, columns, rest, (most,))]

    def shadows(self) -> Iterator[Known]:
        """All of them, in the order of their keys."""
        order, after = ", ".join(self._of_shadow), 0
        while True:
            rest = f"FROM {self._shadow} s ORDER BY {order} LIMIT {_LARGEST_BATCH} OFFSET ?"
            rows = exact.rows(self._connection, self._shown, rest, (after,))
            yield from map(self._known_of, rows)
            if len(rows) < _LARGEST_BATCH:
                return
            after += len(rows)

    def shadow_of(self, record: str) -> Known | None:
        """What the file showed of a record."""
        rows = exact.rows(self._connection, self._shown, f"FROM {self._shadow} s WHERE s.r = ?", (record,))
        return self._known_of(rows[0]) if rows else None

    # ---- counts

    def rows_count(self) -> int:
        return self._one(f"SELECT count(*) FROM {self._table}")

    def shadow_count(self) -> int:
        return self._one(f"SELECT count(*) FROM {self._shadow}")

    def without_row_count(self) -> int:
        """Shadow rows behind which no row stands."""
        return self._one(f"SELECT count(*) FROM {self._shadow} WHERE f & {_NO_ROW} OR k0 IS NULL")

    def held_count(self) -> int:
        return self._one(f"SELECT count(*) FROM {self._shadow} WHERE f & {HELD}")

    def vanished_count(self) -> int:
        """Marked keys that have a shadow and no row."""
        return self._one(
            f"SELECT count(*) FROM {self._dirty} d JOIN {self._shadow} s ON {self._shadow_at_mark} "
            f"LEFT JOIN {self._table} t ON {self._row_at_mark} WHERE {self._of_row[0]} IS NULL AND s.f & {_NO_ROW} = 0"
        )

    def has_lost_marks(self) -> bool:
        """Is a key marked as written, and not as gone, where no row is?"""
        sql = (
            f"SELECT EXISTS(SELECT 1 FROM {self._dirty} d LEFT JOIN {self._table} t ON {self._row_at_mark} "
            f"WHERE d.v < {GONE} AND {self._of_row[0]} IS NULL)"
        )
        return self._one(sql) == 1

    # ---- what was read

    def _found(self, row: Row) -> Found:
        width = self._width
        first = 2 * width + 7
        marks = row[width]
        cells = row[first + 1 :] if row[first] else None
        return Found(
            row[:width],
            _integer(marks),
            cells,
            self._known(row[width + 1 : first]),
            _size_bytes(cells) if cells is not None else 0,
        )

    def _known(self, row: Row) -> Known | None:
        return None if row[0] is None else self._known_of(row)

    def _known_of(self, row: Row) -> Known:
        record, *key, base, seen, rank, flags, earlier = row
        return Known(
            str(record),
            None if key[0] is None else tuple(key),
            base if isinstance(base, bytes) else b"",
            seen if isinstance(seen, bytes) else b"",
            rank,
            _integer(flags),
            earlier if isinstance(earlier, bytes) else b"",
        )

    def _key_values(self, key: Row) -> Row:
        """A key as often as `_row_at` names it."""
        return tuple(cell for place, cell in enumerate(key) for _ in range(1 + self._folds(place)))

    def _one(self, sql: str, values: Row = ()) -> int:
        (found,) = next(iter(self._connection.execute(*exact.bind(self._connection, sql, values))))
        return _integer(found)


def _integer(cell: Cell) -> int:
    return cell if isinstance(cell, int) else 0


def _all(terms: Iterator[str]) -> str:
    return " AND ".join(terms)


def _size_bytes(cells: Row) -> int:
    size_bytes = 9 * len(cells)
    for cell in cells:
        kind = type(cell)
        if kind is str or kind is bytes:
            size_bytes += len(cell)  # type: ignore[arg-type]  # it is one of the two
        elif isinstance(cell, BadText):
            size_bytes += len(cell.data)
    return size_bytes
