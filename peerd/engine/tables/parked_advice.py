"""Why a record is parked, with the names that the space has for what is in its way, and what a person can do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from peerd.core.batch import Name
from peerd.core.device_id import parse_device_id
from peerd.core.tables.cells import Cell, unpack_cell
from peerd.core.tables.changes import Parked, RowImage
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.row_keys import identity_collations, record_key
from peerd.core.tables.shape import Reference, Schema
from peerd.engine.space import Space
from peerd.engine.tables.images import TableImages
from peerd.errors import UserError
from peerd.protocol.control.tables import ParkedRow

_OLDER_HERE = "If the application is older here than elsewhere, update it."


class _Parent(Struct, frozen=True):
    """What a parked row refers to, by `columns`: the record, if the space can name it, else `values`."""

    table: str
    columns: tuple[str, ...]
    values: str
    record: Name | None = None


async def parked_rows(
    space: Space, plan: BindingPlan, schema: Schema | None, parked: Sequence[Parked], others: Sequence[Parked]
) -> list[ParkedRow]:
    """What to tell of each of `parked`; `others` are all that are parked in the file."""
    images = TableImages(space, [table.collection for table in plan.tables])
    found = {
        (image.collection, image.key): image
        for image in await images.images([(one.collection, one.key) for one in parked])
    }
    parents = {
        (one.collection, one.key): list(_parents(plan, schema, found[one.collection, one.key]))
        for one in parked
        if one.code == "parent"
    }
    wanted = {parent.record: None for some in parents.values() for parent in some if parent.record is not None}
    shown = {(image.collection, image.key) for image in await images.images(list(wanted)) if image.fields is not None}
    waiting = {(one.collection, one.key) for one in others}
    told = _Told(space, plan, shown, waiting)
    return [told.row(one, found[one.collection, one.key], parents.get((one.collection, one.key), [])) for one in parked]


def _parents(plan: BindingPlan, schema: Schema | None, image: RowImage) -> Iterator[_Parent]:
    """The rows that a record refers to: by what the binding translates, then by what the schema declares."""
    tables = {one.table: one for one in plan.tables}
    own = next((one for one in plan.tables if one.collection == image.collection), None)
    fields = image.fields or {}
    if own is None:
        return
    for column, parent in own.references.items():
        value = msgspec.msgpack.decode(fields[column]) if column in fields else None
        if isinstance(value, str) and parent in tables:
            yield _Parent(parent, (column,), value, (tables[parent].collection, value))
    shape = schema.tables.get(own.table) if schema is not None else None
    for one in shape.references if shape is not None else ():
        if one.columns[0] not in own.references and fields.keys() >= set(one.columns):
            cells = _cells(one, fields)
            if None not in cells:
                values = ", ".join(f"{name} = {cell!r}" for name, cell in zip(one.parent_columns, cells, strict=False))
                yield _Parent(one.parent, one.columns, values, _named(tables.get(one.parent), schema, one, cells))


def _cells(reference: Reference, fields: Mapping[str, bytes]) -> list[Cell]:
    try:
        return [unpack_cell(fields[column]) for column in reference.columns]
    except ValueError:
        return [None]


def _named(plan: TablePlan | None, schema: Schema | None, reference: Reference, cells: Sequence[Cell]) -> Name | None:
    """The record of a row that is referred to by what makes its key."""
    shape = schema.tables.get(reference.parent) if schema is not None else None
    if plan is None or shape is None or plan.key_class is not KeyClass.NATURAL or plan.references:
        return None
    by_column = dict(zip(reference.parent_columns, cells, strict=False))
    if by_column.keys() != set(plan.identity):
        return None
    key = record_key([by_column[name] for name in plan.identity], identity_collations(shape, plan.identity))
    return plan.collection, key


class _Told:
    """`shown` are parents that the space has, `waiting` all records that are parked in the file."""

    def __init__(self, space: Space, plan: BindingPlan, shown: set[Name], waiting: set[Name]) -> None:
        self._space, self._shown, self._waiting = space, shown, waiting
        self._tables = {one.collection: one for one in plan.tables}

    def row(self, one: Parked, image: RowImage, parents: Sequence[_Parent]) -> ParkedRow:
        reason, step = self._of(one, image, parents)
        plan = self._tables.get(one.collection)
        return ParkedRow(
            table=plan.table if plan is not None else "", collection=one.collection, key=one.key, code=one.code,
            reason=reason, next_step=step,
        )  # fmt: skip

    def _of(self, one: Parked, image: RowImage, parents: Sequence[_Parent]) -> tuple[str, str]:
        delete = f"`{self._command('delete', (one.collection, one.key))}` deletes this one"
        if one.code == "parent":
            return self._of_parent(one, parents, delete)
        if one.code == "unique":
            get = self._command("get", (one.collection, one.key))
            return (
                one.reason,
                f"`{get}` shows it. Change or delete one of the two: the other one with the application; {delete}.",
            )
        if one.code == "dangling":
            return self._of_dangling(one, image, delete)
        patch = self._command("patch", (one.collection, one.key))
        return one.reason, f"{_OLDER_HERE} Else `{patch} JSON` changes it; {delete}."

    def _of_parent(self, one: Parked, parents: Sequence[_Parent], delete: str) -> tuple[str, str]:
        for parent in parents:
            columns, record = " and ".join(parent.columns), parent.record
            if record is None:
                reason = f"The row of {parent.table} that {columns} refers to ({parent.values}) is not there."
                return reason, f"Make that row with the application; {delete}."
            words = f"The row of {parent.table} that {columns} refers to, {record[0]}/{record[1]},"
            if record in self._waiting:
                return f"{words} is parked itself.", f"See to that one first, `peerctl tables list` has it; {delete}."
            if record not in self._shown:
                collection, key = map(shlex.quote, record)
                log = f"peerctl log {self._space.name} --collection {collection} --key {key}"
                put = self._command("put", record)
                step = f"`{log}` says when it was deleted, `{put} JSON` brings it back; {delete}."
                return f"{words} is deleted, or has not come yet.", step
        return one.reason, f"Bring that row back; {delete}."

    def _of_dangling(self, one: Parked, image: RowImage, delete: str) -> tuple[str, str]:
        plan = self._tables.get(one.collection)
        for column in plan.references if plan is not None else ():
            packed = (image.fields or {}).get(column)
            value = msgspec.msgpack.decode(packed) if packed is not None else None
            if isinstance(value, dict) and isinstance(value.get("device"), str):
                name = self._device(value["device"])
                return one.reason, f"Set {column} of this row anew with the application on {name}; {delete}."
            if isinstance(value, int):
                step = "Bind the file again on the device that wrote it: `peerctl tables bind SPACE DATABASE`"
                return one.reason, f"{step}; or set {column} anew there; {delete}."
        return one.reason, f"Set it anew on the device of its author; {delete}."

    def _device(self, text: str) -> str:
        try:
            return self._space.name_of(parse_device_id(text)) or text
        except UserError:
            return text

    def _command(self, verb: str, name: Name) -> str:
        return f"peerctl {verb} {self._space.name} {shlex.quote(name[0])} {shlex.quote(name[1])}"
