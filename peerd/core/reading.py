"""Reading rules: what is shown of a record. They never touch what is stored.

Settings belong to a collection and travel as ordinary records of the collection `_settings`, so two devices may for a
moment read by different rules; because siblings, digest and conflict ids do not depend on them, nothing diverges.

    keep     the winner is shown, the other values are listed as a conflict
    newest   the winner is shown, silently
    max min  the largest or smallest value is shown, silently (values.rank; equal falls to the winner)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from peerd.core.clocks import Dot
from peerd.core.record import Record
from peerd.core.values import rank, same

SETTINGS = "_settings"
WHOLE = ""  # the field that holds the object of a record in a collection with merge = "record"
POLICIES = ("keep", "newest", "max", "min")
DELETED = "\0deleted"  # no field's name: the conflict of a record whose edit met a delete


class Rules(msgspec.Struct, frozen=True):
    """The settings of one collection."""

    merge: str = "field"  # or "record"
    policy: str = "keep"
    fields: dict[str, str] = {}
    deletes: str = "edit_wins"  # or "delete_wins"

    def policy_of(self, field: str) -> str:
        return self.fields.get(field, self.policy)


DEFAULT_RULES = Rules()


def rules_from(fields: Mapping[str, Any]) -> Rules:
    """The rules in a record of `_settings` (JSON values). What is not understood falls back to the default, because
    a later version may have written it.
    """
    policy = fields.get("policy")
    named = {
        name.removeprefix("policy."): value
        for name, value in fields.items()
        if name.startswith("policy.") and value in POLICIES
    }
    return Rules(
        merge="record" if fields.get("merge") == "record" else "field",
        policy=policy if policy in POLICIES else "keep",
        fields=named,
        deletes="delete_wins" if fields.get("deletes") == "delete_wins" else "edit_wins",
    )


class Conflict(msgspec.Struct, frozen=True):
    """Several concurrent values of one field, the shown one first; or an edit that met a delete (`field` is
    DELETED, `dots` the births of the restore).
    """

    field: str
    dots: tuple[Dot, ...]

    @property
    def is_delete(self) -> bool:
        return self.field == DELETED


def shown_dot(record: Record, field: str, rules: Rules) -> Dot:
    """The dot of the sibling that is shown."""
    siblings = record.fields[field]
    return next(iter(siblings)) if len(siblings) == 1 else chosen(record, siblings, rules.policy_of(field))


def chosen(record: Record, siblings: Mapping[Dot, bytes], policy: str) -> Dot:
    """The dot of the one that is shown if just these siblings of the record are known."""
    if policy not in {"max", "min"}:
        return max(siblings, key=record.precedence)
    ranks = {dot: rank(value) for dot, value in siblings.items()}
    extreme = (max if policy == "max" else min)(ranks.values())
    return max((dot for dot in siblings if ranks[dot] == extreme), key=record.precedence)


def shown(record: Record, rules: Rules) -> dict[str, bytes]:
    """The packed value of each field."""
    if record.lone is not None:
        return record.lone.fields()
    return {field: siblings[shown_dot(record, field, rules)] for field, siblings in record.fields.items()}


def as_object(fields: dict[str, bytes]) -> dict[str, Any]:
    """The object that shown fields make, in msgpack's types: a whole object first, other fields over it."""
    decoded = {name: msgspec.msgpack.decode(value) for name, value in fields.items()}
    whole = decoded.pop(WHOLE, None)
    return {**whole, **decoded} if isinstance(whole, dict) else decoded


def conflicts(record: Record, rules: Rules) -> list[Conflict]:
    """What a person should look at, fields in order."""
    if not record.births:
        return []
    found = []
    answered = [dot for dot in record.births if record.stamps[dot].restored]
    if answered:
        found.append(Conflict(DELETED, tuple(sorted(answered))))
    for field in sorted(record.fields):
        siblings = record.fields[field]
        if len(siblings) < 2 or rules.policy_of(field) != "keep":
            continue
        written = [dot for dot in siblings if not record.stamps[dot].restored]
        if len(written) > 1 and any(not same(siblings[written[0]], siblings[dot]) for dot in written[1:]):
            found.append(Conflict(field, tuple(sorted(written, key=record.precedence, reverse=True))))
    return found


def conflict_id(collection: str, key: str, field: str) -> str:
    """16 characters, the same on every device: a hash of the record and the field."""
    name = msgspec.msgpack.encode((collection, key, field))
    return base64.b32encode(blake2b(name, digest_size=10).digest()).decode().lower()


def etag(record: Record) -> str:
    """What somebody who reads the record now has seen: its dots, as one word."""
    return _word(record.dots())


@lru_cache(maxsize=16)  # all records of a transaction have the same dot
def _word(dots: frozenset[Dot]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(sorted(dots))).decode().rstrip("=")


def seen_from(tag: str) -> frozenset[Dot]:
    """The dots in an etag. Raises ValueError if it is none of ours."""
    try:
        padded = tag + "=" * (-len(tag) % 4)
        dots = msgspec.msgpack.decode(base64.urlsafe_b64decode(padded), type=list[Dot])
    except (ValueError, RecursionError):
        raise ValueError("not an etag of peerd") from None
    return frozenset(dots)
