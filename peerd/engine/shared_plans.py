"""What all devices must agree on about a bound table: a record of the space, written by whoever binds it first.

`_tables/BINDING.TABLE` has the fields `key`, `identity` and `references`. A device that binds later takes them over, so
that the same row gets the same record key everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.reading import DEFAULT_RULES, as_object, shown
from peerd.core.tables.plans import BindingPlan, TablePlan
from peerd.core.tables.proposals import Choices
from peerd.core.values import pack
from peerd.engine.space import Space
from peerd.errors import UserError

TABLES = "_tables"
TABLES_AT_MOST = 10_000


class SharedPlan(Struct, frozen=True):
    key: str
    identity: tuple[str, ...] = ()
    references: dict[str, str] = {}


async def load(space: Space, binding: str) -> dict[str, SharedPlan]:
    """By table. What cannot be understood, of a later version perhaps, is left out."""
    page = await space.store.page(TABLES, f"{binding}.", None, TABLES_AT_MOST)
    found: dict[str, SharedPlan] = {}
    for key, record in page.records:
        try:
            plan = msgspec.convert(as_object(shown(record, DEFAULT_RULES)), SharedPlan)
        except msgspec.ValidationError:
            continue
        found[key.removeprefix(f"{binding}.")] = plan
    return found


async def share(space: Space, plan: BindingPlan, known: Mapping[str, SharedPlan]) -> None:
    """State what is not known yet, of tables and of their references."""
    intents = [
        Intent(Kind.PUT, TABLES, f"{plan.name}.{table.table}", _fields(table, known.get(table.table)))
        for table in plan.tables
        if table.table not in known or table.references.keys() - known[table.table].references.keys()
    ]
    if intents:
        await space.commits.write(intents)


def _fields(table: TablePlan, known: SharedPlan | None) -> dict[str, bytes]:
    return {
        "key": pack(str(table.key_class)),
        "identity": pack(list(table.identity)),
        "references": pack({**table.references, **(known.references if known else {})}),
    }


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
