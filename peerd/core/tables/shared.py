"""What all devices agree on about a bound table, as a record of the space states it.

`_tables/BINDING.TABLE` has the fields `collection`, `key`, `identity`, `references`, `tied` and `collations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from peerd.core.reading import DEFAULT_RULES, as_object, shown
from peerd.core.record import Record
from peerd.core.tables.cells import unpack_cell
from peerd.core.tables.plans import TablePlan
from peerd.core.tables.row_keys import Parent, Part, identity_collations, record_key
from peerd.core.tables.shape import Schema
from peerd.core.values import pack

TABLES: Final = "_tables"


class SharedPlan(Struct, frozen=True):
    """`key` is a class. `tied` are groups of columns that a CHECK names together. `collations` are those by which
    identities are compared, one for each column. What is empty was not stated.
    """

    key: str
    identity: tuple[str, ...] = ()
    references: dict[str, str] = {}
    collection: str = ""
    tied: tuple[tuple[str, ...], ...] = ()
    collations: tuple[str, ...] = ()


def plan_in(record: Record) -> SharedPlan | None:
    """What a record states; None if it cannot be understood, since it is of a later version perhaps."""
    try:
        return msgspec.convert(as_object(shown(record, DEFAULT_RULES)), SharedPlan)
    except msgspec.ValidationError:
        return None


def stated(table: TablePlan, schema: Schema, known: SharedPlan | None) -> SharedPlan:
    """What this device says of a table, together with what is known: nothing of that is taken back."""
    shape = schema.tables.get(table.table)
    tied = {tuple(sorted(set(names))) for names in (shape.tied if shape is not None else ())}
    collations = identity_collations(shape, table.identity) if shape is not None else ()
    return SharedPlan(
        str(table.key_class),
        table.identity,
        {**table.references, **(known.references if known is not None else {})},
        table.collection,
        tuple(sorted({names for names in tied if len(names) > 1} | set(known.tied if known is not None else ()))),
        known.collations if known is not None and known.collations else collations,
    )


def fields_of(plan: SharedPlan) -> dict[str, bytes]:
    """The packed fields of its record."""
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan))
    return {name: pack(value) for name, value in values.items()}


def named_by(plan: SharedPlan, fields: Mapping[str, bytes]) -> str | None:
    """The key of a record with these packed fields; None if its key says nothing about them.

    Raises:
        LookupError: a column of the identity is lacking; the message is its name.
        ValueError: a field is nothing that a column can hold.
    """
    if not plan.identity or len(plan.collations) != len(plan.identity):
        return None
    parts: list[Part] = []
    for column in plan.identity:
        if column not in fields:
            raise LookupError(column)
        if column in plan.references:
            parts.append(_referred(fields[column]))
        else:
            parts.append(unpack_cell(fields[column]))
    return record_key(parts, plan.collations)


def _referred(packed: bytes) -> Part:
    value = msgspec.msgpack.decode(packed)
    if isinstance(value, str):
        return Parent(value)
    if isinstance(value, dict) and isinstance(value.get("device"), str) and isinstance(value.get("integer"), int):
        return Parent(None, value["device"], value["integer"])
    return unpack_cell(packed)
