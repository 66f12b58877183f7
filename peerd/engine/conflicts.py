"""The conflicts of a space, for people: which values stand against each other, who wrote them and when, and settling
one. A resolution is an ordinary change, so it travels.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET

from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.names import check_field_name
from peerd.core.reading import DELETED, WHOLE, Conflict, Rules, conflict_id, conflicts, shown, shown_dot
from peerd.core.record import Record
from peerd.core.values import pack, unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.records import conflict_name, dot_text, json_object, pack_whole, unpack_whole
from peerd.engine.space import Space
from peerd.errors import UserError
from peerd.protocol.control.messages import (
    ChangeResult,
    ConflictList,
    ConflictValue,
    ConflictView,
    Resolution,
    WriteResult,
)

PAGE = 500
PAGE_BYTES = 4 << 20
Name = tuple[str, str]


class Conflicts:
    """The conflicts of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def counts(self) -> tuple[dict[str, int], int]:
        """Conflicts by collection, and how many records are parked."""
        found: dict[str, int] = {}
        parked = 0
        after: Name | None = None
        while rows := await self._space.store.flagged(after, PAGE):
            for name, record in rows:
                parked += record.parked
                number = len(conflicts(record, self._space.commits.rules.of(name[0])))
                if number:
                    found[name[0]] = found.get(name[0], 0) + number
            after = rows[-1][0]
        return found, parked

    async def list(self, *, collection: str | None, key: str | None, limit: int, cursor: str | None) -> ConflictList:
        """Records are listed whole, so the last one of a page may bring more than `limit`."""
        views: list[ConflictView] = []
        size_bytes = 0
        after: Name | None = from_word(cursor, tuple[str, str]) if cursor else None
        while rows := await self._space.store.flagged(after, PAGE):
            for name, record in rows:
                if len(views) >= limit or size_bytes >= PAGE_BYTES:
                    return ConflictList(conflicts=views, cursor=to_word(after))
                after = name
                if collection in {None, name[0]} and key in {None, name[1]}:
                    views.extend(self._views(name, record))
                    size_bytes += sum(len(value) for siblings in record.fields.values() for value in siblings.values())
        return ConflictList(conflicts=views)

    def _views(self, name: Name, record: Record) -> Iterable[ConflictView]:
        if record.parked:
            yield self._parked_view(name, record)
        for conflict in conflicts(record, self._space.commits.rules.of(name[0])):
            yield self._view(name, record, conflict)

    def _view(self, name: Name, record: Record, conflict: Conflict) -> ConflictView:
        rules = self._space.commits.rules.of(name[0])
        if conflict.is_delete:
            values = [
                self._value(number, dot, record, json_object(record, rules), shown=True)
                for number, dot in enumerate(conflict.dots)
            ]
        else:
            winner = shown_dot(record, conflict.field, rules)
            siblings = record.fields[conflict.field]
            read = unpack_whole if conflict.field == WHOLE else unpack
            values = [
                self._value(number, dot, record, read(siblings[dot]), shown=dot == winner)
                for number, dot in enumerate(conflict.dots)
            ]
        answered = (record.stamps[dot].answers for dot in conflict.dots) if conflict.is_delete else ()
        delete = next((dot for dot in answered if dot is not None), None)
        deleter = self._space.copy.device_of(delete.origin) if delete else None
        return ConflictView(
            id=conflict_id(*name, conflict.field),
            kind="restored" if conflict.is_delete else "field",
            collection=name[0],
            key=name[1],
            field=None if conflict.is_delete else conflict_name(conflict.field),
            etag=_etag(conflict.dots),
            values=values,
            deleted_by=format_device_id(deleter) if deleter else None,
            deleted_by_name=self._space.name_of(deleter) if deleter else "",
        )

    def _parked_view(self, name: Name, record: Record) -> ConflictView:
        newest = max(record.stamps, key=record.precedence)
        value = json_object(record, self._space.commits.rules.of(name[0]))
        return ConflictView(
            id=conflict_id(*name, DELETED),
            kind="parked",
            collection=name[0],
            key=name[1],
            field=None,
            etag=_etag(sorted(record.stamps)),
            values=[self._value(0, newest, record, value, shown=False)],
        )

    def _value(self, number: int, dot: Dot, record: Record, value: Any, *, shown: bool) -> ConflictValue:
        device = self._space.copy.device_of(dot.origin)
        return ConflictValue(
            n=number,
            value=value,
            device=format_device_id(device) if device else None,
            device_name=self._space.name_of(device) if device else "",
            time_ms=record.stamps[dot].t_ms,
            dot=dot_text(dot),
            shown=shown,
        )

    # ---- settling

    async def resolve(self, wanted: str, resolution: Resolution) -> WriteResult:
        """See `peerd.control.service.Service.resolve`."""
        name, record, field = await self._find(wanted)
        if resolution.etag is not None:
            now = next(view.etag for view in self._views(name, record) if view.id == wanted)
            if resolution.etag.strip('"') != now:
                raise UserError(
                    "the conflict has other values by now",
                    code="precondition-failed",
                    status=412,
                    next_step="List the conflicts again.",
                )
        intent = (
            self._settle_delete(name, record, resolution)
            if field == DELETED
            else self._settle_field(name, record, field, resolution)
        )
        written = await self._space.commits.write([intent])
        (after,) = written.records
        result = ChangeResult(collection=name[0], key=name[1], etag=after.etag, changed=after.changed)
        dot = dot_text(written.dot) if written.dot else None
        return WriteResult(dot=dot, changed=written.dot is not None, results=[result])

    async def _find(self, wanted: str) -> tuple[Name, Record, str]:
        after: Name | None = None
        while rows := await self._space.store.flagged(after, PAGE):
            for name, record in rows:
                fields = [one.field for one in conflicts(record, self._space.commits.rules.of(name[0]))]
                for field in [*fields, *([DELETED] if record.parked else [])]:
                    if conflict_id(*name, field) == wanted:
                        return name, record, field
            after = rows[-1][0]
        raise UserError(
            f"there is no conflict {wanted}, or it is settled",
            code="conflict-not-found",
            status=404,
            next_step="`peerctl conflicts SPACE` lists those that are open.",
        )

    def _settle_field(self, name: Name, record: Record, field: str, resolution: Resolution) -> Intent:
        """A patch that has seen exactly the values in conflict. What a CHECK ties to the field is settled with it."""
        contested = self._contested_with(name, record, field)
        if contested and resolution.choose is None:
            raise _tied(self._space.name, name, field, contested)
        if resolution.drop:
            return Intent(Kind.PATCH, *name, {}, (field,), seen=record.dots(), literal=True)
        if resolution.choose is not None:
            found = conflicts(record, self._space.commits.rules.of(name[0]))
            (conflict,) = [one for one in found if one.field == field]
            dot = _choice(conflict.dots, resolution.choose)
            if lacking := [one for one in contested if dot not in record.fields[one]]:
                raise _tied(self._space.name, name, field, lacking)
            chosen = {one: record.fields[one][dot] for one in (field, *contested)}
            return Intent(Kind.PATCH, *name, chosen, seen=record.dots(), literal=True)
        if resolution.value is not UNSET:
            value = pack_whole(_fields(resolution.value)) if field == WHOLE else pack(resolution.value)
        else:
            raise _nothing_said()
        intent = Intent(Kind.PATCH, *name, {field: value}, seen=record.dots(), literal=True)
        if field != WHOLE:
            self._space.commits.bound.check(intent)
        return intent

    def _contested_with(self, name: Name, record: Record, field: str) -> Sequence[str]:
        """The fields that are tied to this one and in conflict, too."""
        tied = self._space.commits.bound.tied(name[0], field)
        rules = self._space.commits.rules.of(name[0])
        return [one.field for one in conflicts(record, rules) if one.field in tied]

    def _settle_delete(self, name: Name, record: Record, resolution: Resolution) -> Intent:
        """Keep the record, change it, or let the delete stand."""
        rules = self._space.commits.rules.of(name[0])
        if resolution.drop:
            return Intent(Kind.DELETE, *name, seen=record.dots(), literal=True)
        if resolution.choose is not None:
            count = len([dot for dot in record.births if record.stamps[dot].restored]) or 1
            _choice(tuple(range(count)), resolution.choose)
            return _kept(name, record, rules)
        if resolution.value is UNSET:
            raise _nothing_said()
        fields = _fields(resolution.value)
        values = {WHOLE: pack_whole(fields)} if rules.merge == "record" else fields
        return Intent(Kind.PUT, *name, values, seen=record.dots(), literal=True)


def _kept(name: Name, record: Record, rules: Rules) -> Intent:
    """A put of the record as it is shown, so that it is whole whatever else is deleted meanwhile. Fields with several
    values keep them: that the record stays says nothing about those.
    """
    contested = {
        field for field, siblings in record.fields.items() if len(siblings) > 1 and rules.policy_of(field) == "keep"
    }
    undecided = {dot for field in contested for dot in record.fields[field] if not record.stamps[dot].restored}
    values = {field: value for field, value in shown(record, rules).items() if field not in contested}
    return Intent(Kind.PUT, *name, values, seen=record.dots() - undecided, literal=True)


def _fields(value: Any) -> dict[str, bytes]:
    """The packed fields of a record that a person gives."""
    if not isinstance(value, dict):
        raise UserError("the value of a record is an object", code="bad-value")
    for name in value:
        check_field_name(name)
    return {name: pack(one) for name, one in value.items()}


def _choice(choices: tuple[Any, ...], number: int) -> Any:
    if not 0 <= number < len(choices):
        raise UserError(
            f"the conflict has no value {number}", code="bad-choice", next_step=f"Choose 0 to {len(choices) - 1}."
        )
    return choices[number]


def _tied(space: str, name: Name, field: str, others: Sequence[str]) -> UserError:
    """One by one they would make a row that the table forbids, though nobody wrote it."""
    columns = ", ".join(others)
    fields = ", ".join(f'"{one}": VALUE' for one in (field, *others))
    command = f"peerctl patch {space} {shlex.quote(name[0])} {shlex.quote(name[1])} '{{{fields}}}'"
    return UserError(
        f"a CHECK of the table ties {field} to {columns}, which stands in conflict, too",
        code="tied-conflict",
        status=409,
        next_step=f"Choose one of the devices, which settles them together; or write all of them: {command}",
    )


def _nothing_said() -> UserError:
    return UserError("say which value stays: choose, value or drop", code="bad-body")


def _etag(dots: Iterable[Dot]) -> str:
    return to_word([list(dot) for dot in sorted(dots)])
