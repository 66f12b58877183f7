"""What all devices must agree on about a bound table: a record of the space, written by whoever binds it first.

A device that binds later takes over what `core.tables.shared` describes, so that the same row gets the same record key
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices
from peerd.core.tables.shape import Schema
from peerd.core.tables.shared import TABLES, SharedPlan, fields_of, plan_in, stated
from peerd.engine.space import Space
from peerd.errors import UserError

TABLES_AT_MOST = 10_000


async def load(space: Space, binding: str) -> dict[str, SharedPlan]:
    """By table. What cannot be understood, of a later version perhaps, is left out."""
    page = await space.store.page(TABLES, f"{binding}.", None, TABLES_AT_MOST)
    found: dict[str, SharedPlan] = {}
    for key, record in page.records:
        plan = plan_in(record)
        if plan is not None:
            found[key.removeprefix(f"{binding}.")] = plan
    return found


async def share(space: Space, plan: BindingPlan, schema: Schema, known: Mapping[str, SharedPlan]) -> None:
    """State what is not known yet, of tables, their references and what ties their columns."""
    wanted = {one.table: stated(one, schema, known.get(one.table)) for one in plan.tables}
    intents = [
        Intent(Kind.PUT, TABLES, f"{plan.name}.{table}", fields_of(one))
        for table, one in wanted.items()
        if one != known.get(table)
    ]
    if intents:
        await space.commits.write(intents)


def taken_over(choices: Choices, known: Mapping[str, SharedPlan]) -> Choices:
    """The choices with what other devices decided.

    Raises:
        UserError: tables-refused, a person chose otherwise.
    """
    keys, match, references = dict(choices.keys), dict(choices.match), dict(choices.references)
    for table, shared in known.items():
        _check(table, "class", keys.get(table), shared.key)
        keys[table] = shared.key
        if shared.key == "content":
            _check(table, "columns", match.get(table), shared.identity)
            match[table] = shared.identity
        for column, parent in shared.references.items():
            _check(table, column, references.get(f"{table}.{column}"), parent)
            references[f"{table}.{column}"] = parent
    return msgspec.structs.replace(choices, keys=keys, match=match, references=references)


def _check(table: str, what: str, chosen: object, shared: object) -> None:
    if chosen is not None and chosen != shared:
        raise UserError(
            f"other devices have bound {table} with another {what}: {shared}",
            code="tables-refused",
            status=409,
            next_step="Leave that option out; all devices must agree on it.",
        )
