"""People and programs that write: what they want, what they had looked at, and what their wish means.

`Work.plan` turns a wish into a change; here stands, written a second time and without the core's help, what that
change must say.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from msgspec import Raw

from peerd.core import reading, values
from peerd.core.batch import Name
from peerd.core.entry import Change, Kind
from peerd.core.intents import Intent
from peerd.core.record import Record
from peerd.errors import UserError
from tests.simulation.device import Device, Work, Wrong, meaning
from tests.simulation.oracle import Meant, as_expected

RECORDS: tuple[Name, ...] = (("notes", "one"), ("notes", "two"), ("tags", "three"))
FIELDS = ("a", "b", "c")


@dataclass(frozen=True)
class Token:
    """What a caller kept from an earlier look at a visible record."""

    etag: str
    applied: int  # what the copy had applied then
    shown: dict[str, bytes]
    unclear: frozenset[str]  # fields that had several values then
    forgotten: int  # how often the local history had been lost then


Tokens = dict[tuple[int, Name], Token]


def look(device: Device, name: Name) -> Token | None:
    """What a GET gives now; None if the record is not there."""
    record = device.disk.record(name)
    if record is None or not record.births:
        return None
    unclear = frozenset(field for field, cells in record.fields.items() if len(cells) > 1)
    return Token(reading.etag(record), device.applied, as_expected(record).winners(), unclear, device.disk.forgotten)


def some_value(chance: random.Random, field: str, step: int, now: bytes | None) -> bytes:
    dice = chance.random()
    if dice < 0.15 and now is not None:
        return now
    if dice < 0.35:
        return values.pack(chance.choice((0, 1, True, None, "same")))
    return values.pack(f"{field}{step}")


def write_something(chance: random.Random, work: Work, tokens: Tokens, step: int) -> int:
    """One transaction of one to three changes, some by callers who looked long ago. Gives how many were such."""
    changes: list[Change] = []
    meant: list[Meant] = []
    stale = 0
    for name in chance.sample(RECORDS, chance.choice((1, 1, 1, 2, 3))):
        token = tokens.get((work.device.number, name))
        if token is None or chance.random() < 0.5:
            token = None
        work.batch.load([name])
        record = work.batch.records[name]
        if record is not None and record.births and token is None and chance.random() < 0.05:
            change: Change | None = whole_put(chance, name, step)
        else:
            change = planned(work, some_intent(chance, name, record, token, step), record, token)
        if change is not None:
            stale += token is not None
            changes.append(change)
            looked_at = work.applied if token is None else token.applied
            if change.kind == Kind.PUT and not (record is not None and record.births):
                looked_at = 0  # what is parked counts as absent: whoever puts has not looked at it
            meant.append(meaning(change, looked_at))
    if changes:
        work.write(changes, meant)
    return stale


def whole_put(chance: random.Random, name: Name, step: int) -> Change:
    """A put that replaces everything its writer looked at: how a person settles a whole record."""
    fields = chance.sample(FIELDS, chance.choice((1, 2, 3)))
    return Change(Kind.PUT, *name, {field: Raw(values.pack(f"{field}{step}")) for field in fields})


def some_intent(chance: random.Random, name: Name, record: Record | None, token: Token | None, step: int) -> Intent:
    seen = None if token is None else reading.seen_from(token.etag)
    shown = as_expected(record).winners() if record and record.births else {}
    if token is not None:
        shown = token.shown
    dice = chance.random()
    if record is not None and record.births and dice < 0.3:
        return Intent(Kind.DELETE, *name, seen=seen)
    chosen = chance.sample(FIELDS, chance.choice((0, 1, 2, 3, 3)))
    if dice < 0.6 and (token is not None or (record is not None and record.births)):
        drop = tuple(set(chance.sample(FIELDS, 1)) - set(chosen)) if chance.random() < 0.3 else ()
        written = {field: some_value(chance, field, step, shown.get(field)) for field in chosen[:2]}
        return Intent(Kind.PATCH, *name, written, drop, seen)
    written = {
        field: some_value(chance, field, step, shown.get(field))
        if chance.random() < 0.5
        else shown.get(field, values.pack(f"{field}{step}"))
        for field in chosen
    }
    return Intent(Kind.PUT, *name, written, (), seen)


def planned(work: Work, intent: Intent, record: Record | None, token: Token | None) -> Change | None:
    """The change that the core makes of the wish, compared with what the wish means."""
    visible = record is not None and bool(record.births)
    try:
        change = work.plan(intent)
    except UserError as problem:
        if visible or intent.kind == Kind.PUT or problem.status != (404 if token is None else 412):
            raise Wrong(f"{intent} was refused: {problem}") from problem
        return None
    if record is None or not visible:
        if intent.kind != Kind.PUT or change is None or change.kind != Kind.PUT:
            raise Wrong(f"{intent} of an absent record became {change}")
        return change
    if intent.kind == Kind.DELETE:
        if change is None or change.kind != Kind.DELETE:
            raise Wrong(f"{intent} became {change}")
        return change
    _check_difference(work, intent, record, token, change)
    return change


def _check_difference(work: Work, intent: Intent, record: Record, token: Token | None, change: Change | None) -> None:
    """A change of a record that was looked at says what differs, and nothing else."""
    if change is not None and change.kind != Kind.PATCH:
        raise Wrong(f"{intent} of a visible record became {change}")
    written = {field: bytes(raw) for field, raw in change.set.items()} if change else {}
    if token is None:
        shown = as_expected(record).winners()
        unclear = {field for field, cells in record.fields.items() if len(cells) > 1 and intent.kind == Kind.PATCH}
    else:
        shown, unclear = token.shown, set(token.unclear)
        if work.device.disk.forgotten != token.forgotten:
            unclear |= shown.keys()  # nobody knows any more what the caller had looked at
        if intent.seen == record.dots():
            unclear |= shown.keys() - record.fields.keys()  # a field that is dropped leaves no trace in the token
        # A field that had gone before the caller looked, and is set to its old value again, may be taken for unchanged.
        unclear |= intent.set.keys() - shown.keys()
    wanted = {field: value for field, value in intent.set.items() if field in unclear or shown.get(field) != value}
    for field in written.keys() ^ wanted.keys():
        if field not in unclear:
            raise Wrong(f"{intent}, having looked at {shown}, became {change}")
    if any(written[field] != intent.set[field] for field in written):
        raise Wrong(f"{intent} became {change}")
    gone = intent.drop if intent.kind == Kind.PATCH else record.fields.keys() - intent.set.keys()
    if change and not set(change.drop) <= set(gone):
        raise Wrong(f"{intent} dropped {change.drop}")
    must_drop = {field for field in gone if field in record.fields and (token is None)}
    if not must_drop <= set(change.drop if change else ()):
        raise Wrong(f"{intent} did not drop {must_drop}")
