"""Which bound tables need which: the references of the plan and the foreign keys of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Reference, Schema, Table
from peerd.tables.ordering import Units


class Link(NamedTuple):
    """`columns` of a row of `child` name a row of `parent` by its `parent_columns`. `mapped`: by its local integer,
    which is known by the record that the plan's reference names. Else by plain values, as SQLite compares them.
    """

    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    mapped: bool


class Links:
    """The links of a binding, and its tables in groups: each after the groups it needs; a group is one table, or
    several that need each other.
    """

    def __init__(self, schema: Schema, plan: BindingPlan) -> None:
        self.all = tuple(
            link
            for one in plan.tables
            if one.table in schema.tables
            for link in _links_of(schema, plan, schema.tables[one.table], one.references)
        )
        self._from_child = {name: tuple(link for link in self.all if link.child == name) for name in schema.tables}
        self._to_parent = {name: tuple(link for link in self.all if link.parent == name) for name in schema.tables}
        present = [one.table for one in plan.tables if one.table in schema.tables]
        parents = {
            name: [ln.parent for ln in self.all if ln.child == name and ln.parent in present] for name in present
        }
        units = Units(lambda name: parents[name]).in_order(present)
        self.groups = tuple(frozenset(unit.members) for unit in units)

    def from_child(self, table: str) -> tuple[Link, ...]:
        """What its rows need."""
        return self._from_child.get(table, ())

    def to_parent(self, table: str) -> tuple[Link, ...]:
        """What needs its rows."""
        return self._to_parent.get(table, ())

    def inside(self, group: frozenset[str]) -> tuple[Link, ...]:
        """The links between rows of one group."""
        return tuple(link for link in self.all if link.child in group and link.parent in group)


def _links_of(schema: Schema, plan: BindingPlan, table: Table, references: Mapping[str, str]) -> list[Link]:
    """A parent that is no table counts for nothing: the application itself cannot write such a row with foreign keys
    on, so it does without them.
    """
    bound = {one.table for one in plan.tables} & schema.tables.keys()
    mapped = [
        Link(table.name, (column,), parent, schema.tables[parent].key, mapped=True)
        for column, parent in references.items()
        if parent in bound
    ]
    plain = [
        Link(table.name, one.columns, one.parent, columns, mapped=False)
        for one in table.references
        if one.parent in schema.tables
        for columns in [_parent_columns(schema.tables[one.parent], one)]
        if not any(link.columns == one.columns and link.parent_columns == columns for link in mapped)
    ]
    return mapped + plain


def _parent_columns(parent: Table, reference: Reference) -> tuple[str, ...]:
    if reference.parent_columns:
        return reference.parent_columns
    declared = sorted((column for column in parent.columns if column.key_place), key=lambda column: column.key_place)
    return tuple(column.name for column in declared)
