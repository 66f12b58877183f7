"""Settle: the file learns that a harvest is durable in the space.

Exactly the marks that were read are taken back: of a row that the application wrote again meanwhile, what came since
stays. It is done once: a note whose counter is not the file's was settled, or belongs to a file that went back in time;
and so does one that tells of marks which the file does not have. A harvest leaves nothing in the file, so one that is
settled *late*, at another start, may have gone back to just before it and been written to since: then the rows that
were written as often as they were read must be the rows that were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import apsw
import msgspec

from peerd.core.clocks import Dot
from peerd.core.tables.cells import BadText, Cell, cell_hash
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema, Table
from peerd.tables import exact, shadow
from peerd.tables.exact import Row
from peerd.tables.harvest import captured_tables, nothing, numbers_in
from peerd.tables.install import immediate
from peerd.tables.notes import Note, Shadowed, TableNote, decode_note, seen_after, unpack_key
from peerd.tables.shadow import shadow_table
from peerd.tables.triggers import create_dirty, dirty_table, quoted

CHANGED = b"\0"  # the hash of no cell

_encode = msgspec.msgpack.Encoder().encode
_decode_base = msgspec.msgpack.Decoder(dict[int, bytes]).decode


def settle(
    connection: apsw.Connection,
    schema: Schema,
    plan: BindingPlan,
    note: bytes,
    dot: Dot | None,
    *,
    late: bool = False,
    at: Callable[[str], None] = nothing,
) -> bool:
    """Do what the note of a harvest says; `dot` is its transaction, None if there was nothing to write. `late`: the
    file was closed since the harvest. False: it was done before.

    Raises:
        apsw.Error: nothing was written.
    """
    told = decode_note(note)
    try:
        with immediate(connection):
            if shadow.counter(connection) != told.counter:
                return False
            at("settling")
            if late:
                _check_rows(connection, schema, plan, told)
            _settle(connection, schema, plan, told, dot)
            shadow.count_up(connection)
            at("written")
    except _NotMarked:
        return False
    at("settled")
    return True


class _NotMarked(Exception):
    """The file does not have a mark that was read: it is not the one that was harvested."""


def _check_rows(connection: apsw.Connection, schema: Schema, plan: BindingPlan, told: Note) -> None:
    """Raises _NotMarked: a row that was written as often as it was read is not what was read."""
    tables = {one.plan.number: one for one in captured_tables(connection, schema, plan).values()}
    for note in told.tables:
        if (table := tables.get(note.number)) is None or table.has_lost_marks():
            continue
        bases = {_encode(row.key): row.base for row in note.written}
        for key, count in note.marks:
            found = table.row_at(unpack_key(key))
            if found is None or found.cells is None or found.marks != count:
                continue
            base = bases.get(_encode(key))
            if base is None:  # it was deleted when it was read
                raise _NotMarked
            read = _decode_base(base) if base else {}
            for column, cell in zip(table.table.stored, found.cells, strict=True):
                if read.get(table.numbers.get(column.name, -1), CHANGED) not in {CHANGED, cell_hash(cell)}:
                    raise _NotMarked


def _settle(connection: apsw.Connection, schema: Schema, plan: BindingPlan, told: Note, dot: Dot | None) -> None:
    tables = {one.number: one.table for one in plan.tables if one.table in schema.tables}
    flagged = numbers_in(connection, "flagged")
    before = set(flagged)
    for one in told.tables:
        if one.number in tables:
            _Settling(connection, schema.tables[tables[one.number]], one).run(dot)
            if _flags_in(one):
                flagged.add(one.number)
            elif one.number in flagged and not _has_flags(connection, one.number):
                flagged.discard(one.number)
    if flagged != before:
        shadow.set_meta(connection, "flagged", _encode(sorted(flagged)))
    if told.dangling:
        dangling = numbers_in(connection, "dangling") | set(told.dangling)
        shadow.set_meta(connection, "dangling", _encode(sorted(dangling)))


def _flags_in(note: TableNote) -> bool:
    return bool(note.flags or note.detached or any(row.flags for row in note.written))


def _has_flags(connection: apsw.Connection, number: int) -> bool:
    return bool(list(connection.execute(f"SELECT 1 FROM {shadow_table(number)} WHERE f LIMIT 1")))


class _Settling:
    def __init__(self, connection: apsw.Connection, table: Table, note: TableNote) -> None:
        self._connection, self._table, self._key, self._note = connection, table, table.key, note
        self._dirty, self._shadow = dirty_table(note.number), shadow_table(note.number)
        self._places = [f"k{place}" for place in range(len(table.key))]
        self._match = " AND ".join(f"{place} = ?" for place in self._places)

    def run(self, dot: Dot | None) -> None:
        note = self._note
        if self._has_marks():
            self._marks([(unpack_key(key), count) for key, count in note.marks])
        else:  # somebody dropped them: all rows are compared before the next harvest
            self._connection.execute(create_dirty(note.number, self._table))
        self._follow()
        records = [(record,) for record in note.removed] + [(row.record,) for row in note.written]
        self._connection.executemany(f"DELETE FROM {self._shadow} WHERE r = ?", records)
        nulls = ", ".join(f"{place} = NULL" for place in self._places)
        for record, flags in note.detached:
            self._connection.execute(f"UPDATE {self._shadow} SET {nulls}, f = ? WHERE r = ?", (flags, record))
        self._connection.executemany(
            f"UPDATE {self._shadow} SET f = f | ? WHERE r = ?", [(flags, record) for record, flags in note.flags]
        )
        columns = ", ".join(["r", *self._places, "h", "d", "b", "f", "e"])
        questions = ", ".join("?" * (len(self._places) + 6))
        rows = (_shadow_row(row, dot) for row in note.written)
        self._many(f"INSERT INTO {self._shadow}({columns}) VALUES({questions})", rows)
        for key in note.touch:
            self._touch(unpack_key(key))

    def _has_marks(self) -> bool:
        sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
        return bool(self._connection.execute(sql, (self._dirty,)).fetchall())

    def _marks(self, marks: list[tuple[Row, int]]) -> None:
        before = self._connection.total_changes()
        counted = ((*key, count) for key, count in marks)
        self._many(f"DELETE FROM {self._dirty} WHERE {self._match} AND v = ?", counted)
        if self._connection.total_changes() - before < len(marks):
            left = ((count, *key, count) for key, count in marks)
            self._many(f"UPDATE {self._dirty} SET v = v - ? WHERE {self._match} AND v > ?", left)
        if self._connection.total_changes() - before != len(marks):
            raise _NotMarked

    def _many(self, sql: str, rows: Iterable[Row]) -> None:
        """One statement for many rows; those with TEXT that is not UTF-8 by themselves."""
        plain: list[Row] = []
        for row in rows:
            if BadText in map(type, row):
                exact.run(self._connection, sql, row)
            else:
                plain.append(row)
        self._connection.executemany(sql, plain)

    def _follow(self) -> None:
        """Mark rows that refer to another record than before, and let their references differ from their base."""
        for column, number, integers in self._note.follow:
            for start in range(0, len(integers), 10_000):
                self._follow_some(column, number, integers[start : start + 10_000])

    def _follow_some(self, column: str, number: int, integers: list[int]) -> None:
        names = [f"t.{quoted(name)}" for name in self._key]
        match = " AND ".join(f"s.k{place} = +{name}" for place, name in enumerate(names))
        rest = (
            f"FROM main.{quoted(self._table.name)} t LEFT JOIN {self._shadow} s ON {match} "
            f"WHERE t.{quoted(column)} IN ({', '.join('?' * len(integers))})"
        )
        for row in exact.rows(self._connection, [*names, "s.r", "s.h"], rest, integers):
            *key, record, base = row
            self._touch(tuple(key))
            if isinstance(base, bytes) and base:
                changed = _encode({**_decode_base(base), number: CHANGED})
                self._connection.execute(f"UPDATE {self._shadow} SET h = ? WHERE r = ?", (changed, str(record)))

    def _touch(self, key: Row) -> None:
        sql = f"SELECT EXISTS(SELECT 1 FROM {self._dirty} WHERE {self._match})"
        bound, values = exact.bind(self._connection, sql, key)
        if not next(iter(self._connection.execute(bound, values)))[0]:
            questions = ", ".join("?" * (len(key) + 1))
            exact.run(self._connection, f"INSERT INTO {self._dirty} VALUES({questions})", (*key, 1))


def _shadow_row(row: Shadowed, dot: Dot | None) -> Row:
    seen: Cell = seen_after(row.seen, dot, row.writes) if dot is not None else row.seen
    return (row.record, *unpack_key(row.key), row.base, seen, row.rank, row.flags, row.earlier or None)
