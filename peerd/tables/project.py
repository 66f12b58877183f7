"""Project: write what the space shows into the application's tables, in one transaction.

Nothing is written while a row of the application waits to be harvested. The marks that our own writes make are taken
away, and every row that was written is read back: what SQLite made of it is its base, and no edit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from peerd.core.tables.changes import Applied, Projection, RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.tables import shadow
from peerd.tables.bound_table import BoundTable, UndoneByTrigger
from peerd.tables.links import Links
from peerd.tables.local_keys import LocalKeys
from peerd.tables.many import shadows_of
from peerd.tables.parking import keep_parked
from peerd.tables.placing import Placing
from peerd.tables.progress import Candidate, Progress, Ref

_TRIGGERS = apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER


def _pass_by(_point: str) -> None:
    """Nobody wants to fail here."""


def project(
    connection: apsw.Connection,
    schema: Schema,
    plan: BindingPlan,
    images: Sequence[RowImage],
    applied: Applied,
    *,
    device: str,
    now_ms: int,
    at: Callable[[str], None] = _pass_by,
) -> Projection:
    """Bring the file to what `images` show, of whole transactions up to `applied`.

    `images` hold every record that changed, and every record that is parked in this file, whether it changed or not:
    whatever can be placed now is placed. In a row of projections those that did not change may be left to the last one:
    what is placed then is the same. Images of tables that are not here are left out. `device` is the text of our
    id, `now_ms` the wall clock. `at` is called with the name of each point at which a test may want to fail.

    Raises:
        apsw.Error: nothing was written.
    """
    refused: dict[Ref, str] = {}
    silent: set[str] = set()
    before = connection.config(_TRIGGERS, -1)
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        while True:
            attempt = _Attempt(connection, schema, plan, device, refused, silent, now_ms)
            try:
                return attempt.run(images, applied, at)
            except UndoneByTrigger as undone:
                if undone.record is None:
                    silent.add(undone.table)
                else:
                    refused[Ref(undone.table, undone.record)] = undone.words
    finally:
        connection.config(_TRIGGERS, before)


class _Attempt:
    """One transaction, from the write lock to the commit."""

    def __init__(
        self,
        connection: apsw.Connection,
        schema: Schema,
        plan: BindingPlan,
        device: str,
        refused: dict[Ref, str],
        silent: set[str],
        now_ms: int,
    ) -> None:
        self._connection, self._schema, self._plan = connection, schema, plan
        self._device, self._refused, self._silent, self._now_ms = device, refused, silent, now_ms

    def run(self, images: Sequence[RowImage], applied: Applied, at: Callable[[str], None]) -> Projection:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            at("begun")
            tables = tables_of(connection, self._schema, self._plan)
            for name in self._silent & tables.keys():
                tables[name].deletes_silently = True
            if any(table.is_dirty() for table in tables.values()):
                connection.execute("ROLLBACK")
                return Projection(dirty=True)
            before = connection.total_changes()
            projection = self._write(tables, images, at)
            if connection.total_changes() == before and shadow.applied(connection) == applied:
                connection.execute("ROLLBACK")
                return projection
            shadow.set_applied(connection, applied)
            shadow.count_up(connection)
            at("counted")
            connection.execute("COMMIT")
            at("committed")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return projection

    def _write(
        self, tables: dict[str, BoundTable], images: Sequence[RowImage], at: Callable[[str], None]
    ) -> Projection:
        progress = Progress(self._connection, tables, Links(self._schema, self._plan))
        gone = _gather(self._connection, progress, images)
        at("removed")
        keys = LocalKeys(self._connection, progress, self._device)
        placing = Placing(self._connection, progress, keys, self._refused, self._now_ms)
        try:
            for group in progress.links.groups:
                placing.place(group & tables.keys())
                at("placed")
        finally:
            placing.close()
        parked = keep_parked(self._connection, self._plan, progress, gone)
        for table in tables.values():
            if table.plan.run_triggers:
                table.forget_marks()
        at("written")
        return Projection(written=progress.written, parked=parked)


def tables_of(connection: apsw.Connection, schema: Schema, plan: BindingPlan) -> dict[str, BoundTable]:
    """The bound tables that are there."""
    numbers = shadow.column_numbers(connection)
    return {
        one.table: BoundTable(connection, one, table, numbers.get(one.table, {}))
        for one in plan.tables
        if (table := schema.tables.get(one.table)) is not None and table.key
    }


def _gather(connection: apsw.Connection, progress: Progress, images: Sequence[RowImage]) -> set[Ref]:
    """Sort what there is to do: rows that go are gone at once, all others wait for their turn. Rows whose deletes are
    held stay as they are. Returns the records that are no more.
    """
    by_collection = {table.plan.collection: table for table in progress.tables.values()}
    last = {(image.collection, image.key): image for image in images if image.collection in by_collection}
    records: dict[str, list[str]] = {}
    for image in last.values():
        records.setdefault(image.collection, []).append(image.key)
    shadows = {one: shadows_of(connection, by_collection[one], keys) for one, keys in records.items()}
    gone = set()
    for image in last.values():
        table = by_collection[image.collection]
        ref, shadow_row = Ref(table.name, image.key), shadows[image.collection].get(image.key)
        if shadow_row is not None and shadow_row.held:
            continue
        if image.fields is not None:
            holds_more = shadow_row is not None and shadow_row.immovable  # a row may hold what the space has not
            fields = image.fields if holds_more else table.completed(image.fields)
            progress.candidates[ref] = Candidate(image, fields, shadow_row, was=shadow_row)
            progress.pending.add(ref)
            continue
        gone.add(ref)
        if shadow_row is not None:
            progress.remove(ref, shadow_row)
    return gone
