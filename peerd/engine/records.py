"""Records, for applications: read, list, write, and the settings of collections."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Kind
from peerd.core.intents import Intent, no_record
from peerd.core.limits import VALUE_DEPTH
from peerd.core.names import RESERVED_PREFIX, check_collection_name, check_field_name, check_key
from peerd.core.reading import DELETED, SETTINGS, WHOLE, Rules, conflicts, etag, seen_from, shown
from peerd.core.record import Record
from peerd.core.values import check_packed, pack, unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.space import Space
from peerd.engine.store_ports import Transaction
from peerd.errors import PeerdError, StoreDamaged, UserError
from peerd.protocol.control.messages import (
    ChangeRequest,
    ChangeResult,
    CollectionChange,
    CollectionList,
    CollectionSettings,
    CollectionView,
    RecordPage,
    RecordView,
    WriteResult,
)

PAGE_BYTES = 4 << 20
_OF_THE_DEVICE = frozenset({"not-admitted", "removed", "stopping"})  # refusals that no other change would have escaped
_KINDS = {"put": Kind.PUT, "patch": Kind.PATCH, "delete": Kind.DELETE}


def view(name: tuple[str, str], record: Record, rules: Rules) -> RecordView:
    """A visible record as it is shown."""
    found = conflicts(record, rules)
    return RecordView(
        collection=name[0],
        key=name[1],
        value=json_object(record, rules),
        etag=etag(record),
        conflicts=[conflict_name(conflict.field) for conflict in found],
    )


def conflict_name(field: str) -> str:
    """A field as conflicts name it for people."""
    return {DELETED: "(deleted)", WHOLE: "(record)"}.get(field, field)


def json_object(record: Record, rules: Rules) -> dict[str, Any]:
    """The record as JSON. Raises StoreDamaged if a value is none any more."""
    fields = shown(record, rules)
    whole = fields.pop(WHOLE, None)
    try:
        json = {name: unpack(value) for name, value in fields.items()}
        return json if whole is None else {**unpack_whole(whole), **json}
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise StoreDamaged(
            f"A value of a record cannot be read: it is not what was written ({problem}).",
            next_step="Run `peerctl scrub SPACE`: it puts the record right from the log, or from another device.",
        ) from problem


def pack_whole(fields: Mapping[str, bytes]) -> bytes:
    """The one value of a record that merges as a whole, of its packed fields.

    Raises:
        UserError: too-deep.
    """
    packed = msgspec.msgpack.encode({name: Raw(value) for name, value in fields.items()})
    try:
        check_packed(packed)
    except ValueError:
        raise UserError(
            f"a value in a collection with merge = record may have {VALUE_DEPTH - 1} levels", code="too-deep"
        ) from None
    return packed


def unpack_whole(packed: bytes) -> dict[str, Any]:
    """Its members as JSON; none if a peer put something else in its place. A member is a field, so its name may begin
    with `$`, which in a value would have a meaning.
    """
    try:
        members = msgspec.msgpack.decode(packed, type=dict[str, Raw])
    except msgspec.ValidationError:
        return {}
    return {name: unpack(value) for name, value in members.items()}


def dot_text(dot: Dot) -> str:
    return f"{dot.origin.hex()}:{dot.seq}"


class Records:
    """The records of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def load(self, collection: str, key: str) -> Record:
        """Raises UserError 404 if there is no visible record."""
        name = collection, key

        def reading(transaction: Transaction) -> Record | None:
            stored = transaction.records([name]).get(name)
            return stored.record if stored is not None else None

        record = await self._space.store.read(reading)
        if record is None or not record.visible:
            raise no_record(f"{collection}/{key}")
        return record

    async def read(self, collection: str, key: str) -> RecordView:
        record = await self.load(collection, key)
        return view((collection, key), record, self._space.commits.rules.of(collection))

    async def list(self, collection: str, prefix: str, limit: int, cursor: str | None) -> RecordPage:
        after = from_word(cursor, str) if cursor else None
        rules = self._space.commits.rules.of(collection)
        views: list[RecordView] = []
        size = 0
        more = True
        while more and len(views) < limit and size < PAGE_BYTES:
            page = await self._space.store.page(collection, prefix, after, min(200, limit - len(views)))
            more = page.more
            for key, record in page.records:
                views.append(view((collection, key), record, rules))
                size += sum(len(value) for siblings in record.fields.values() for value in siblings.values())
                after = key
                if size >= PAGE_BYTES:
                    more = True if key != page.records[-1][0] else page.more
                    break
            if not page.records:
                break
        return RecordPage(records=views, cursor=to_word(views[-1].key) if more and views else None)

    async def write(self, changes: Sequence[ChangeRequest]) -> WriteResult:
        """One transaction.

        Raises:
            UserError: see `peerd.control.service.Service.write`.
        """
        names: set[tuple[str, str]] = set()
        for index, change in enumerate(changes):
            if (change.collection, change.key) in names:
                raise UserError(
                    f"the transaction names {change.collection}/{change.key} twice",
                    code="bad-body",
                    next_step="Combine what is to happen to one record into one change.",
                    index=index,
                )
            names.add((change.collection, change.key))
        written = await self._space.commits.write([self._intent(change) for change in changes])
        results = [
            ChangeResult(
                collection=change.collection,
                key=change.key,
                etag=after.etag,
                changed=after.changed,
                created=after.created,
            )
            for change, after in zip(changes, written.records, strict=True)
        ]
        dot = dot_text(written.dot) if written.dot else None
        return WriteResult(dot=dot, changed=written.dot is not None, results=results)

    def _intent(self, change: ChangeRequest) -> Intent:
        intent = _intent(change)
        self._space.commits.bound.check(intent)
        if self._space.commits.rules.of(intent.collection).merge == "record":
            pack_whole(intent.set)
        return intent

    async def write_each(self, changes: Sequence[ChangeRequest]) -> Sequence[WriteResult | UserError]:
        """A transaction for each change, in their order; returns when all that were not refused are durable.

        They are handed over together, so that as many as possible share an SQL transaction and a run. A change that is
        refused leaves its error in its place and the others alone.

        Raises:
            UserError: `removed` or `stopping`. StoreError. Of either the sentence says how many are written, if any.
        """
        # Every task begins before any commit does, so they queue up in this order, with nobody between them.
        outcomes = await asyncio.gather(*(self.write([change]) for change in changes), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not _is_of_one_change(outcome):
                raise _partly(outcome, sum(isinstance(other, WriteResult) for other in outcomes), len(changes))
        return [outcome for outcome in outcomes if isinstance(outcome, WriteResult | UserError)]

    # ---- collections

    async def collections(self, conflicting: dict[str, int]) -> CollectionList:
        counts = await self._space.store.collections()
        rules = self._space.commits.rules.named
        known = {count.name: count.records for count in counts if not count.name.startswith(RESERVED_PREFIX)}
        names = sorted({*known, *rules})
        return CollectionList(
            collections=[
                CollectionView(
                    name=name,
                    records=known.get(name, 0),
                    conflicts=conflicting.get(name, 0),
                    settings=settings_view(self._space.commits.rules.of(name)),
                )
                for name in names
            ]
        )

    async def set_collection(self, collection: str, change: CollectionChange) -> CollectionSettings:
        """Write the settings of a collection; they travel like any record."""
        check_collection_name(collection)
        rules = self._space.commits.rules.of(collection)
        if change.merge is not None and change.merge != rules.merge and await self._exists(collection):
            raise UserError(
                f"the collection {collection} exists; how its records merge was fixed when it was created",
                code="merge-fixed",
                status=409,
                next_step="Create another collection and move the records.",
            )
        fields: dict[str, Any] = {}
        drop: list[str] = []
        if change.policy is not None:
            fields["policy"] = change.policy
        if change.merge is not None:
            fields["merge"] = change.merge
        if change.delete_wins is not None:
            fields["deletes"] = "delete_wins" if change.delete_wins else "edit_wins"
        for name, policy in change.fields.items():
            if policy is None:
                drop.append(f"policy.{name}")
            else:
                fields[f"policy.{name}"] = policy
        await self._write_settings(collection, fields, tuple(drop))
        return settings_view(self._space.commits.rules.of(collection))

    async def _write_settings(self, collection: str, fields: dict[str, Any], drop: tuple[str, ...]) -> None:
        packed = {name: pack(fields[name]) for name in sorted(fields)}
        known = collection in self._space.commits.rules.named
        if known and (packed or drop):
            await self._space.commits.write([Intent(Kind.PATCH, SETTINGS, collection, packed, drop)])
        elif not known:
            await self._space.commits.write([Intent(Kind.PUT, SETTINGS, collection, packed)])

    async def _exists(self, collection: str) -> bool:
        page = await self._space.store.page(collection, "", None, 1)
        return bool(page.records) or collection in self._space.commits.rules.named


def _is_of_one_change(outcome: BaseException) -> bool:
    return isinstance(outcome, UserError) and outcome.code not in _OF_THE_DEVICE


def _partly(failure: BaseException, written: int, asked: int) -> BaseException:
    """The failure, saying that some is written nevertheless. It is a copy: other writers were given the same error."""
    if not written or not isinstance(failure, PeerdError):
        return failure
    partial = copy.copy(failure)
    partial.args = (f"{written:,} of {asked:,} changes are written; the others met this: {failure}",)
    return partial


def settings_view(rules: Rules) -> CollectionSettings:
    return CollectionSettings(
        policy=rules.policy,  # type: ignore[arg-type] # rules_from lets no other word in
        fields=dict(rules.fields),  # type: ignore[arg-type] # the same
        delete_wins=rules.deletes == "delete_wins",
        merge="record" if rules.merge == "record" else "field",
    )


def _intent(change: ChangeRequest) -> Intent:
    check_collection_name(change.collection)
    check_key(change.key)
    values = change.value if change.kind == "put" else change.set
    if change.kind == "put" and values is None:
        raise UserError("a put needs a value", code="bad-body")
    fields = values or {}
    for name in (*fields, *change.drop):
        check_field_name(name)
    if change.kind == "patch" and not fields and not change.drop:
        raise UserError("a patch sets or drops at least one field", code="bad-body")
    any_version = change.if_match == "*"
    return Intent(
        _KINDS[change.kind],
        change.collection,
        change.key,
        {name: pack(fields[name]) for name in sorted(fields)},
        tuple(name for name in dict.fromkeys(change.drop) if name not in fields) if change.drop else (),
        None if change.seen is None else seen(change.seen),
        None if change.if_match is None or any_version else _must_match(change),
        must_be_absent=change.if_none_match,
        must_be_visible=any_version,
        may_be_absent=not change.must_exist,
    )


def _must_match(change: ChangeRequest) -> frozenset[Dot]:
    """A tag that is none of ours matches no record (RFC 9110 section 13.1.1)."""
    try:
        return seen_from((change.if_match or "").strip('"'))
    except ValueError:
        raise UserError(
            f"{change.collection}/{change.key} never had this etag",
            code="precondition-failed",
            status=412,
            next_step="Take the ETag of this record as it was given.",
        ) from None


def seen(tag: str) -> frozenset[Dot]:
    """The dots in an etag as a caller sends it back; none for an empty one. Raises UserError."""
    try:
        return seen_from(tag.strip('"')) if tag else frozenset()
    except ValueError:
        raise UserError("this is no etag", code="bad-header", next_step="Send the ETag as it was received.") from None
