"""Tables that an update of their application has made others than they were bound as."""

from __future__ import annotations

from msgspec.structs import replace

from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema


def fitting(schema: Schema, plan: BindingPlan) -> Schema:
    """The schema without tables that lack a column by which the plan knows their rows: they are as good as away, and
    the others go on.
    """
    strange = {
        one.table
        for one in plan.tables
        if (table := schema.tables.get(one.table)) is not None
        and not {column.name for column in table.stored}.issuperset(one.identity)
    }
    if not strange:
        return schema
    return replace(schema, tables={name: table for name, table in schema.tables.items() if name not in strange})
