"""From what a caller wants to the change that says so.

A caller who gives no token has seen the record as it stands here. With a token (an etag) it has seen that and no more:
what came since is listed in `keep`, so it is neither overwritten nor reverted, and meets the new value as a sibling.
A put of a record that was seen becomes the smallest patch: set what differs, drop what is no longer named; and
nothing at all if nothing differs. Otherwise a form that writes everything back would fight over fields nobody touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.reading import WHOLE, Rules, as_object, chosen, shown
from peerd.core.record import Record
from peerd.core.values import same
from peerd.errors import UserError

Past = Callable[[], Mapping[str, Mapping[Dot, bytes]]]


class Intent(NamedTuple):
    """One wanted change. Values are packed. `seen`: the dots in the caller's token; `must_match`: fail unless the
    record's dots are exactly these; `must_be_absent` and `must_be_visible`: fail otherwise; `may_be_absent`: deleting
    what is not there is no failure; `revives`: a patch of what was deleted meanwhile is an edit that had not seen the
    delete; `unless_same`: a field that shows the value already is not written, though it was not seen;
    `even_if_same`: a field is written though it is what the caller had seen; `together`:
    groups of fields of which all that are named are written if one is; `unless_known`: there is nothing to say if the
    record is there, shown or parked; `literal`: say exactly this, whatever stands there (a resolution).
    """

    kind: Kind
    collection: str
    key: str
    set: dict[str, bytes] = {}
    drop: tuple[str, ...] = ()
    seen: frozenset[Dot] | None = None
    must_match: frozenset[Dot] | None = None
    must_be_absent: bool = False
    must_be_visible: bool = False
    may_be_absent: bool = False
    revives: bool = False
    unless_same: bool = False
    even_if_same: bool = False
    together: tuple[frozenset[str], ...] = ()
    unless_known: bool = False
    literal: bool = False


def plan(record: Record | None, intent: Intent, rules: Rules, past: Past) -> Change | None:
    """The change that carries out `intent` on `record` as it stands (None: never heard of), or None if there is
    nothing to do. `past` gives the values that were dropped here, {field: {dot: value}} in the order in which they
    went, for comparing with what an old token had seen.

    Raises:
        UserError: 404 record-not-found, 412 precondition-failed.
    """
    _check_preconditions(record, intent)
    if intent.literal:
        return _literal(record, intent)
    if intent.unless_known and record is not None and (record.visible or record.parked):
        return None
    if rules.merge == "record":
        intent = _as_whole(record, intent, rules)
    if record is None or not record.visible:
        return _plan_absent(record, intent)
    seen = record.dots() if intent.seen is None else intent.seen
    unseen = record.dots() - seen
    is_stale = seen != record.dots()
    if intent.kind == Kind.DELETE:
        return Change(Kind.DELETE, intent.collection, intent.key, keep=tuple(sorted(unseen)))
    set_, drop = _difference(record, intent, rules, seen, past if is_stale else dict)
    if not set_ and not drop:
        return None
    keep = {dot for name in (*set_, *drop) for dot in record.fields.get(name, ()) if dot in unseen}
    raw = {name: Raw(value) for name, value in set_.items()}
    return Change(Kind.PATCH, intent.collection, intent.key, raw, tuple(drop), tuple(sorted(keep)))


def _literal(record: Record | None, intent: Intent) -> Change:
    here = record.dots() if record is not None else frozenset()
    unseen = here - (here if intent.seen is None else intent.seen)
    raw = {name: Raw(value) for name, value in intent.set.items()}
    return Change(intent.kind, intent.collection, intent.key, raw, intent.drop, tuple(sorted(unseen)))


def _check_preconditions(record: Record | None, intent: Intent) -> None:
    visible = record is not None and record.visible
    where = f"{intent.collection}/{intent.key}"
    if intent.must_be_absent and visible:
        raise UserError(
            f"{where} exists already",
            code="precondition-failed",
            status=412,
            next_step="Choose another key, or write without If-None-Match (--create) to change it.",
        )
    if intent.must_be_visible and not visible:
        raise UserError(
            f"{where} does not exist",
            code="precondition-failed",
            status=412,
            next_step="Write without If-Match to create it.",
        )
    if intent.must_match is not None and (record is None or record.dots() != intent.must_match):
        raise UserError(
            f"{where} has changed since it was read",
            code="precondition-failed",
            status=412,
            next_step="Read it again, or send Peerd-Seen instead of If-Match to merge.",
        )


def _plan_absent(record: Record | None, intent: Intent) -> Change | None:
    if intent.kind == Kind.PUT:
        # A parked record counts as absent, so its siblings were not seen and stay beside what is put now.
        keep = tuple(sorted(record.dots())) if record is not None else ()
        raw = {name: Raw(value) for name, value in intent.set.items()}
        return Change(Kind.PUT, intent.collection, intent.key, raw, keep=keep)
    if intent.kind == Kind.PATCH and intent.revives:
        return _revive(record, intent)
    where = f"{intent.collection}/{intent.key}"
    if intent.kind == Kind.DELETE and intent.may_be_absent:
        return None
    if intent.seen is not None:
        raise UserError(
            f"{where} was deleted meanwhile",
            code="precondition-failed",
            status=412,
            next_step="Put the whole record to have it again.",
        )
    raise no_record(where)


def no_record(where: str) -> UserError:
    """What is said of a record that is not there; `where` is collection/key."""
    return UserError(
        f"there is no record {where}",
        code="record-not-found",
        status=404,
        next_step="`peerctl list SPACE COLLECTION` shows those there are; a put creates one.",
    )


def _revive(record: Record | None, intent: Intent) -> Change | None:
    """An edit that met a delete: it leaves values without a birth, and the record stands parked until a restore, in
    the same transaction if the image is here.
    """
    if not intent.set:
        return None
    seen = intent.seen or frozenset()
    siblings = {} if record is None else record.fields
    keep = {dot for name in intent.set for dot in siblings.get(name, ()) if dot not in seen}
    raw = {name: Raw(value) for name, value in intent.set.items()}
    return Change(Kind.PATCH, intent.collection, intent.key, raw, keep=tuple(sorted(keep)))


def _difference(
    record: Record, intent: Intent, rules: Rules, seen: frozenset[Dot], past: Past
) -> tuple[dict[str, bytes], list[str]]:
    """What is set, and which fields are dropped, against what the caller was shown."""
    dropped_here = past()
    set_: dict[str, bytes] = {}
    for name, value in intent.set.items():
        siblings = record.fields.get(name, {})
        known = {dot: old for dot, old in siblings.items() if dot in seen}
        if known:
            base: bytes | None = known[chosen(record, known, rules.policy_of(name))]
        else:
            gone_values = [old for dot, old in dropped_here.get(name, {}).items() if dot in seen]
            base = gone_values[-1] if gone_values else None  # the others were gone before the caller looked
        if not known and siblings and intent.unless_same:
            base = siblings[chosen(record, siblings, rules.policy_of(name))]
        settles = intent.kind == Kind.PATCH and len(known) > 1
        if base is None or settles or intent.even_if_same or not same(base, value):
            set_[name] = value
    for group in intent.together:
        if not group.isdisjoint(set_):
            set_ |= {name: value for name, value in intent.set.items() if name in group}
    gone = intent.drop if intent.kind == Kind.PATCH else [name for name in record.fields if name not in intent.set]
    drop = [name for name in gone if any(dot in seen for dot in record.fields.get(name, ()))]
    return set_, drop


def _as_whole(record: Record | None, intent: Intent, rules: Rules) -> Intent:
    """The same intent on a collection whose records merge as one field."""
    if intent.kind == Kind.DELETE:
        return intent
    whole = {name: msgspec.msgpack.decode(value) for name, value in intent.set.items()}
    if intent.kind == Kind.PATCH and record is not None and record.visible:
        now = as_object(shown(record, rules))
        whole = {name: value for name, value in now.items() if name not in intent.drop} | whole
    kind = intent.kind if record is None or not record.visible else Kind.PUT
    return intent._replace(kind=kind, set={WHOLE: msgspec.msgpack.encode(whole)}, drop=())
