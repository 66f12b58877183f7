"""Harvest: what the application did to its rows, as edits that make one transaction of the space.

All is read in one transaction, so it goes from one committed state of the application to another. Then all that was
read is made durable, so that nothing is published that a power cut takes back: by syncing the file without any lock, or
where the system does not let that be done, by an empty transaction of ours that is committed with synchronous=FULL.
Nothing else is written: the file is settled when the edits are durable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw
import msgspec

from peerd.core.tables.cells import Cell
from peerd.core.tables.changes import Harvest
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema, Table
from peerd.tables import shadow
from peerd.tables.captured import APPROVED, STALE, UNCAPTURED, Captured, Found
from peerd.tables.durable import sync
from peerd.tables.edits import Edits
from peerd.tables.exact import Row
from peerd.tables.identify import Identities, Work
from peerd.tables.install import immediate
from peerd.tables.notes import Note, TableNote, encode_note, pack_key, unpack_key
from peerd.tables.shadow import HELD

HARVEST_ROWS = 3_000  # more take more memory, and lock the file for longer when they are settled
HARVEST_BYTES = 16 << 20
_TOLD_ROWS = 1_000  # of those that cannot be captured


class SchemaMoved(Exception):
    """The schema is not the one that was read last: `compare.renew` comes first."""


class HarvestLimits(msgspec.Struct, frozen=True):
    """A harvest takes at most `rows` with `size_bytes` in all, or one that is larger; what does not fit waits for the
    next one. Deletes of more than `max_deletes` rows that are also more than `max_share` percent of their table are
    held.
    """

    rows: int = HARVEST_ROWS
    size_bytes: int = HARVEST_BYTES
    max_deletes: int = 100
    max_share: int = 20


def nothing(_: str) -> None:
    """No fail point."""


def harvest(
    connection: apsw.Connection,
    schema: Schema,
    plan: BindingPlan,
    device: str,
    limits: HarvestLimits,
    *,
    now_ms: int,
    draw: Callable[[int], bytes] = os.urandom,
    sync: Callable[[Path], bool] = sync,
    at: Callable[[str], None] = nothing,
) -> Harvest | None:
    """What is dirty, or None if nothing is. `device` is the text of our id, `now_ms` the wall clock. Its note is to be
    given to `settle`. `sync` makes what was committed durable, or says that it cannot.

    Raises:
        SchemaMoved: nothing was read.
        apsw.Error: nothing was written.
        OSError: the disk does not take what was read.
    """
    with reading(connection):
        if is_due(connection):
            raise SchemaMoved
        counter = shadow.counter(connection)
        tables = captured_tables(connection, schema, plan)
        state = shadow.bind_id(connection) or b"", counter
        running = Harvesting(connection, tables, Identities(tables, device, draw, state), device, limits, now_ms)
        if not running.is_needed():
            return None
        at("reading")
        running.read()
    at("read")
    if not sync(Path(connection.filename)):
        with immediate(connection):
            counter = shadow.count_up(connection)
    at("synced")
    return running.result(counter)


def is_due(connection: apsw.Connection) -> bool:
    """Did the schema move since the last `compare.renew`, or was that cut short?"""
    is_unfinished = shadow.get_meta(connection, "comparing") == 1
    return is_unfinished or shadow.get_meta(connection, "schema") != connection.pragma("schema_version")


def captured_tables(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> dict[str, Captured]:
    """The bound tables that are there, parents first."""
    numbers = shadow.column_numbers(connection)
    tables = {one.table: (one, schema.tables[one.table]) for one in plan.tables if one.table in schema.tables}
    return {
        name: Captured(connection, one, table, numbers.get(name, {}), is_audited=may_lose_rows(schema, table))
        for name, (one, table) in tables.items()
    }


def may_lose_rows(schema: Schema, table: Table) -> bool:
    """Can a row go without any mark? Where REPLACE can hit another key; and where it hits the own one, but the new row
    is gone in the same statement: UPDATE OR REPLACE moves a row onto the one that it refers to, and is taken along by
    ON DELETE CASCADE, or by a trigger.
    """
    actions = {
        action for one in schema.tables.values() for link in one.references if link.parent == table.name
        for action in link.actions
    }  # fmt: skip
    return table.may_vanish_silently or bool(table.triggers) or bool(actions - {"NO ACTION", "RESTRICT"})


@contextmanager
def reading(connection: apsw.Connection) -> Iterator[None]:
    """One read transaction."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def numbers_in(connection: apsw.Connection, name: str) -> set[int]:
    """A set of table numbers that the file keeps."""
    found = shadow.get_meta(connection, name)
    return set(msgspec.msgpack.decode(found, type=list[int])) if isinstance(found, bytes) else set()


class Harvesting:
    def __init__(
        self,
        connection: apsw.Connection,
        captured: Mapping[str, Captured],
        identities: Identities,
        device: str,
        limits: HarvestLimits,
        now_ms: int,
    ) -> None:
        self._captured, self._device, self._limits, self._now_ms = captured, device, limits, now_ms
        self._identities = identities
        self._flagged = numbers_in(connection, "flagged")
        self._dangling = numbers_in(connection, "dangling")
        self._works: list[Work] = []
        self._rows_left, self._bytes_left = limits.rows, limits.size_bytes
        self._held: dict[str, int] = {}
        self._edits: list[Edits] = []

    def is_needed(self) -> bool:
        return any(
            captured.is_dirty() or (captured.plan.number in self._flagged and captured.flagged(APPROVED, 1))
            for captured in self._captured.values()
        )

    # ---- reading

    def read(self) -> None:
        """Parents first, so that what their rows mean is known when their children are read."""
        for captured in self._captured.values():
            work = self._gathered(captured)
            self._works.append(work)
            self._identities.identify(work)
            self._brake(work)
            self._follow(work)
        for work in self._works:
            edits = Edits(work, self._identities, self._device, self._now_ms)
            edits.make()
            self._edits.append(edits)

    def _gathered(self, captured: Captured) -> Work:
        found: dict[Row, Found] = {}
        touch: list[Row] = []
        if self._rows_left > 0 and self._bytes_left > 0:
            is_first = self._rows_left == self._limits.rows
            rows, complete = captured.dirty(self._rows_left, self._bytes_left, first_may_be_larger=is_first)
            found = {row.key: row for row in rows}
            if found and complete and captured.is_audited:
                touch = self._audit(captured, found)
        else:
            complete = not captured.is_dirty()
        if captured.plan.number in self._flagged:
            dirty = set(found)
            for row in captured.flagged(APPROVED, max(1, self._rows_left - len(found))):
                key = row.key if row.known is None or row.known.key is not None else ("", row.known.record)
                found.setdefault(key, row)
            if found:
                for row in captured.flagged(UNCAPTURED | STALE, _TOLD_ROWS):
                    if not row.marks:  # what is to be harvested has its turn
                        found.setdefault(row.key, row)
            if not complete:
                touch += self._to_audit(captured, [row for row in found.values() if row.key not in dirty])
        self._take(found.values())
        work = Work(captured, found, complete=complete)
        work.note.touch += map(pack_key, touch)
        self._add_children(work)
        return work

    def _take(self, rows: Iterable[Found]) -> None:
        for row in rows:
            self._rows_left -= 1
            self._bytes_left -= row.size_bytes

    def _audit(self, captured: Captured, found: dict[Row, Found]) -> list[Row]:
        """REPLACE takes rows away without any trigger. Rows vanish, they never appear, so counting finds it. If they
        are too many for this harvest, one of the rest is given, to be marked for the next one.
        """
        shadows = captured.shadow_count()
        if captured.plan.number in self._flagged:
            shadows -= captured.without_row_count()
        for row in found.values():
            had = row.known is not None and row.known.has_row
            shadows += (row.cells is not None) - had
        if shadows <= captured.rows_count():
            return []
        most = max(1, self._rows_left - len(found))
        missing = captured.missing(most + 1)
        found.update((row.key, row) for row in missing[:most])
        return [row.key for row in missing[most:]]

    def _to_audit(self, captured: Captured, rows: Iterable[Found]) -> list[Row]:
        """Keys of rows that are taken out of their turn. They are marked anew, since they may have been the last that
        were dirty, and the harvest that takes the last one is the one that counts.
        """
        return [row.key for row in rows if row.marks] if captured.is_audited else []

    # ---- children of rows that mean another record now

    def _links(self, work: Work) -> Iterator[tuple[str, set[int]]]:
        for column, parent in work.plan.references.items():
            of_parent = self._identities.works.get(parent)
            if of_parent is not None:
                arrived = of_parent.arrived if work.plan.number in self._dangling else set[int]()
                if integers := of_parent.rekeyed | arrived:
                    yield column, integers

    def _add_children(self, work: Work) -> None:
        for column, integers in self._links(work):
            self._force(work, column, integers, may_add=True)

    def _force(self, work: Work, column: str, integers: set[int], *, may_add: bool) -> None:
        left_out = set()
        for row in work.captured.rows_with(column, sorted(integers)):
            known = work.found.get(row.key)
            if known is None and may_add and self._rows_left > 0 and self._bytes_left > 0:
                self._take([row])
                known = work.found[row.key] = row
                if not work.complete:
                    work.note.touch += map(pack_key, self._to_audit(work.captured, [row]))
                if row.marks:
                    work.note.marks.append((pack_key(row.key), row.marks))
            if known is not None:
                known.forced |= {column}
            else:
                left_out.add((row.cells or ())[work.captured.places[column]])
        if left_out:
            integers_left = sorted(value for value in left_out if isinstance(value, int))
            work.note.follow.append((column, work.captured.numbers[column], integers_left))

    def _follow(self, work: Work) -> None:
        """Tables that were read before this one, and refer to it: itself, or one of a circle."""
        if not work.rekeyed and not work.arrived:
            return
        for child in self._works:
            for column, parent in child.plan.references.items():
                if parent == work.table.name:
                    arrived = work.arrived if child.plan.number in self._dangling else set[int]()
                    if integers := work.rekeyed | arrived:
                        self._force(child, column, integers, may_add=False)

    def _follow_foreseen(self, table: str, integers: list[Cell]) -> None:
        """Rows that were given another record before their turn: what refers to them is harvested again."""
        for child in self._works:
            for column, parent in child.plan.references.items():
                if parent == table:
                    moved = [value for value in integers if isinstance(value, int)]
                    child.note.follow.append((column, child.captured.numbers[column], moved))

    # ---- the brake

    def _brake(self, work: Work) -> None:
        """Deletes that are too many to be meant are held until a person decides."""
        if not work.vanished:
            return
        captured, limits = work.captured, self._limits
        count = len(work.vanished) if work.complete else captured.vanished_count()
        if work.plan.number in self._flagged:
            count += captured.held_count()
        if count > limits.max_deletes and count * 100 > limits.max_share * captured.shadow_count():
            work.note.flags += [(known.record, HELD) for known in work.vanished]
            self._held[work.table.name] = len(work.vanished)
        else:
            work.deleted += work.vanished
            for known in work.vanished:
                work.means_nothing(known)

    # ---- what comes of it

    def result(self, counter: int) -> Harvest:
        edits = [edit for table in self._edits for edit in table.edits]
        notes = {work.table.name: work.note for work in self._works}
        for table, foreseen in self._identities.foreseen().items():
            note = notes.setdefault(table, TableNote(foreseen.number))
            note.detached += foreseen.detached
            note.written += foreseen.written
            if foreseen.detached:
                self._follow_foreseen(table, [unpack_key(row.key)[0] for row in foreseen.written])
        dangling = [work.plan.number for work, table in zip(self._works, self._edits, strict=True) if table.is_dangling]
        more = any(not work.complete or work.note.follow or work.note.touch for work in self._works)
        return Harvest(
            edits=tuple(edits),
            note=encode_note(Note(counter, list(notes.values()), dangling)),
            more=more or any(table.some_left for table in self._edits),
            held=self._held,
            troubles=tuple((work.table.name, *trouble) for work in self._works for trouble in work.troubles),
            looked_at=frozenset(work.table.name for work in self._works if work.found),
        )
