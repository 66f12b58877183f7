"""Plans for schemas of tests: every table bound by the simplest rule, without asking anybody."""

from __future__ import annotations

from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.shape import Schema


def plan_of(schema: Schema, *, name: str = "app") -> BindingPlan:
    """All tables, numbered by name: surrogate where the key is a rowid, natural elsewhere."""
    return BindingPlan(
        name,
        tuple(
            TablePlan(
                number=number,
                table=table.name,
                collection=f"{name}.{number}",
                key_class=KeyClass.SURROGATE if table.is_rowid_alias or table.keyed_by_rowid else KeyClass.NATURAL,
                identity=() if table.is_rowid_alias or table.keyed_by_rowid else table.key,
            )
            for number, table in enumerate(sorted(schema.tables.values(), key=lambda one: one.name))
        ),
    )
