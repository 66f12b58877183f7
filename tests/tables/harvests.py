"""A space of one device, made of edits alone, and what a file must show of it."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import msgspec

from peerd.core.clocks import Dot
from peerd.core.tables.cells import Cell, cell_hash, pack_cell
from peerd.core.tables.changes import Harvest, RowEdit
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.shape import Schema
from peerd.tables import shadow
from peerd.tables.compare import Renewal, renew
from peerd.tables.harvest import HarvestLimits, SchemaMoved, captured_tables, harvest, nothing
from peerd.tables.install import install
from peerd.tables.reading import read_schema
from peerd.tables.settle import settle
from peerd.tables.triggers import quoted

DEVICE = "this-device"
ORIGIN = b"o" * 16
NOW_MS = 1_750_000_000_000
Names = dict[tuple[str, str], dict[str, bytes]]


def apply(records: Names, edits: tuple[RowEdit, ...]) -> None:
    """What the edits of one harvest make of the records. Each names a record once."""
    names = [(edit.collection, edit.key) for edit in edits]
    assert len(names) == len(set(names)), "a record is edited twice"
    for edit in edits:
        name = edit.collection, edit.key
        if edit.kind == "delete":
            del records[name]
        elif edit.kind == "put":
            assert name not in records, f"{name} is put and was there"
            records[name] = dict(edit.set)
        else:
            records[name] |= edit.set


class Bound:
    """A bound file: `records` are what its edits made. With `is_bound` it is one already."""

    def __init__(
        self,
        connection: apsw.Connection,
        *tables: TablePlan,
        limits: HarvestLimits | None = None,
        is_bound: bool = False,
    ) -> None:
        self.connection = connection
        self.limits = limits or HarvestLimits()
        self.plan = self.plan_of(tables)
        self.schema: Schema = read_schema(connection)
        self.records: Names = {}
        self.seq = 0
        self.renewal: Renewal | None = None
        if not is_bound:
            install(connection, self.schema, self.plan, b"b" * 16)
        self.renew()

    @staticmethod
    def plan_of(tables: tuple[TablePlan, ...]) -> BindingPlan:
        return BindingPlan("app", tables)

    def renew(self) -> None:
        self.renewal = renew(self.connection, self.plan)
        self.schema = self.renewal.schema

    def harvest(self, at: Callable[[str], None] = nothing) -> Harvest | None:
        try:
            return harvest(self.connection, self.schema, self.plan, DEVICE, self.limits, now_ms=NOW_MS, at=at)
        except SchemaMoved:
            self.renew()
            return harvest(self.connection, self.schema, self.plan, DEVICE, self.limits, now_ms=NOW_MS, at=at)

    def settle(self, found: Harvest, at: Callable[[str], None] = nothing) -> None:
        dot = None
        if found.edits:
            self.seq += 1
            dot = Dot(ORIGIN, self.seq)
        apply(self.records, found.edits)
        assert settle(self.connection, self.schema, self.plan, found.note, dot, at=at)

    def step(self) -> tuple[RowEdit, ...]:
        """One harvest and its settling."""
        found = self.harvest()
        if found is None:
            return ()
        self.settle(found)
        return found.edits

    def drain(self) -> list[RowEdit]:
        """Harvest until nothing is left."""
        edits: list[RowEdit] = []
        for _ in range(1_000):
            found = self.harvest()
            if found is None:
                return edits
            self.settle(found)
            edits += found.edits
        raise AssertionError("harvests never end")

    def check(self) -> None:
        """The shadow equals the table, and so do the records that the edits made."""
        wanted: Names = {}
        for captured in captured_tables(self.connection, self.schema, self.plan).values():
            plan, numbers = captured.plan, captured.numbers
            for row in captured.all_rows():
                assert row.marks == 0, f"{plan.table} {row.key} is marked"
                assert row.known is not None, f"{plan.table} {row.key} has no shadow"
                assert row.known.flags == 0
                cells = dict(zip(captured.stored, row.cells or (), strict=True))
                assert row.known.hashes == {numbers[name]: cell_hash(cell) for name, cell in cells.items()}
                wanted[plan.collection, row.known.record] = self._fields(plan, cells)
            assert captured.shadow_count() == captured.rows_count()
            assert not captured.is_dirty()
        mapped = {one.collection: self.schema.tables[one.table].key for one in self.plan.tables if one.maps_integers}
        for names in (wanted, self.records):
            for (collection, _), fields in names.items():
                for column in mapped.get(collection, ()):
                    fields.pop(column, None)
        assert wanted == self.records

    def _fields(self, plan: TablePlan, cells: dict[str, Cell]) -> dict[str, bytes]:
        return {
            name: self._referring(plan.references[name], cell) if name in plan.references else pack_cell(cell)
            for name, cell in cells.items()
        }

    def _referring(self, parent: str, cell: Cell) -> bytes:
        """Without any code of the harvest."""
        one = next(one for one in self.plan.tables if one.table == parent)
        key = self.schema.tables[parent].key[0]
        if not isinstance(cell, int | str):
            return pack_cell(cell)
        ours, name = shadow.shadow_table(one.number), quoted(key)
        sql = f"SELECT r FROM {ours} JOIN {quoted(parent)} ON k0 = {name} WHERE k0 = ? AND typeof(?1) = 'integer'"
        found = self.connection.execute(sql, (cell,)).fetchall()
        return msgspec.msgpack.encode(found[0][0] if found else {"device": DEVICE, "integer": cell})


def surrogate(number: int, table: str, **references: str) -> TablePlan:
    return TablePlan(number, table, f"app.{table}", KeyClass.SURROGATE, (), references)


def natural(number: int, table: str, *identity: str, **references: str) -> TablePlan:
    return TablePlan(number, table, f"app.{table}", KeyClass.NATURAL, identity, references)


def content(number: int, table: str, *identity: str, **references: str) -> TablePlan:
    return TablePlan(number, table, f"app.{table}", KeyClass.CONTENT, identity, references)
