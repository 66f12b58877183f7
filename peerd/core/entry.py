"""An entry: one transaction as the bytes that its author encoded once.

    entry   = [format, t, tq, context delta, schema, changes]
    delta   = [[origin, seq, 8 bytes of that head's hash], ...]  against this origin's previous entry
    change  = [kind, collection, key, set, drop, keep, answers]  trailing empty parts are left out

Everyone stores, forwards and hashes these bytes; nobody encodes them again. A transaction names a record at most
once, so that on one record a dot has one meaning. PROTOCOL.md section 4 is the specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from peerd.core import limits
from peerd.core.clocks import Dot
from peerd.core.values import Plain, check_packed

FORMAT = 1


class Kind(IntEnum):
    PUT = 1  # the whole record: drops what was seen of it, adds a birth
    PATCH = 2  # fields to set and fields to drop
    DELETE = 3
    RESTORE = 4  # gives a parked record its birth back


_LAST_KIND = max(Kind)
_SURELY_FITS = 63  # characters: no character takes more than 4 bytes, no limit is below 252


class Change(Struct, array_like=True, frozen=True, gc=False):
    """One operation on one record. Values are packed (see `values`)."""

    kind: int
    collection: str
    key: str
    set: dict[str, Raw] = {}
    drop: tuple[str, ...] = ()
    keep: tuple[Dot, ...] = ()  # dots in the record, inside the context, that the writer had not seen
    answers: Dot | None = None  # restore: the delete that it answers, where that is known

    @property
    def record(self) -> tuple[str, str]:
        return self.collection, self.key


class Head(Struct, array_like=True, frozen=True, gc=False):
    """One position of another origin, named in a context."""

    origin: bytes
    seq: int
    hash8: bytes


class Entry(Struct, array_like=True, frozen=True, gc=False):
    format: int
    t_ms: int
    tq: int
    delta: tuple[Head, ...]
    schema: bytes | None
    changes: tuple[Change, ...]

    @property
    def records(self) -> Iterator[tuple[str, str]]:
        return (change.record for change in self.changes)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_parts_decoder = msgspec.msgpack.Decoder(list[Raw])
_changes_decoder = msgspec.msgpack.Decoder(list[list[Raw]])
_number_decoder = msgspec.msgpack.Decoder(int)


def encode(entry: Entry) -> bytes:
    """The bytes of an entry. Deterministic for one entry, but never a reason to encode somebody else's again."""
    changes = [_trimmed(change) for change in entry.changes]
    return _encoder.encode((entry.format, entry.t_ms, entry.tq, entry.delta, entry.schema, changes))


def _trimmed(change: Change) -> tuple[Any, ...]:
    parts = (
        change.kind, change.collection, change.key, change.set, change.drop, change.keep, change.answers,
    )  # fmt: skip
    length = 7
    while length > 3 and not parts[length - 1]:
        length -= 1
    return parts[:length]


class NeedsNewer(ValueError):
    """The entry has a format or a kind of change that this version does not know."""


def decode(data: bytes) -> Entry:
    """Decode and check the entry of a peer.

    Raises:
        NeedsNewer: it was written by a later version; nothing of its author may be applied from here on.
        ValueError: it breaks the format or a limit.
    """
    if len(data) > limits.ENTRY_BYTES:
        raise ValueError("an entry is larger than 64 MiB")
    try:
        entry = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as problem:
        _refuse_later_shape(data)
        raise ValueError(f"an entry cannot be decoded: {problem}") from None
    check(entry, data)
    return entry


def _refuse_later_shape(data: bytes) -> None:
    """An entry that has not our shape may be one of a later format, or hold a later kind of change."""
    try:
        parts = _parts_decoder.decode(data)
        format_ = _number_decoder.decode(parts[0])
        kinds = (
            [_number_decoder.decode(change[0]) for change in _changes_decoder.decode(parts[5])] if format_ == 1 else []
        )
    except (msgspec.MsgspecError, RecursionError, IndexError):
        return
    if format_ > FORMAT:
        raise NeedsNewer(f"an entry of format {format_}")
    if any(kind > _LAST_KIND for kind in kinds):
        raise NeedsNewer(f"a change of kind {max(kinds)}")


def check(entry: Entry, encoded: bytes | None = None) -> None:
    """The limits that hold for authors and receivers alike. `encoded`, its bytes, makes that quicker.

    Raises:
        ValueError: (or NeedsNewer) with the reason.
    """
    changes = entry.changes
    if encoded is None or not _is_ordinary(encoded):
        _check_parts(entry)
    if len(changes) > 1 and len({change.record for change in changes}) < len(changes):
        raise ValueError("a transaction names a record twice")


def _check_parts(entry: Entry) -> None:
    if entry.format != FORMAT:
        raise (NeedsNewer if entry.format > FORMAT else ValueError)(f"an entry of format {entry.format}")
    if not 0 <= entry.t_ms <= limits.INT64_MAX or not 0 <= entry.tq <= 2:
        raise ValueError("a time outside its range")
    if entry.delta:
        _check_delta(entry.delta)
    changes = entry.changes
    if not 0 < len(changes) <= limits.CHANGES_PER_TRANSACTION:
        raise ValueError("a transaction has no change, or too many")
    for change in changes:
        _check_change(change)


class _OrdinaryChange(Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    kind: Annotated[int, Meta(ge=int(Kind.PUT), le=int(Kind.PATCH))]
    collection: Annotated[str, Meta(min_length=1, max_length=_SURELY_FITS)]
    key: Annotated[str, Meta(min_length=1, max_length=_SURELY_FITS)]
    set: Raw = Raw(b"\x80")

    def fields(self) -> dict[str, Plain]:
        """The plain values. Raises one of NOT_ORDINARY if there are others."""
        decoder = _short_fields_decoder if len(self.set) <= limits.FIELD_NAME_BYTES else _ordinary_fields_decoder
        fields: dict[str, Plain] = decoder.decode(self.set)
        return fields


class OrdinaryEntry(Struct, array_like=True, gc=False):
    """What nearly every entry is: puts and patches with short names and plain values, by an author who had seen
    nothing new. Each limit of `_check_parts` is one of these types, so that the decoder checks in a microsecond what
    takes four of them in Python; what does not fit is checked part by part.
    """

    format: Literal[1]
    t_ms: Annotated[int, Meta(ge=0, le=limits.INT64_MAX)]
    tq: Annotated[int, Meta(ge=0, le=2)]
    delta: Annotated[list[Raw], Meta(max_length=0)]
    schema: bytes | None
    changes: Annotated[list[_OrdinaryChange], Meta(min_length=1, max_length=limits.CHANGES_PER_TRANSACTION)]


_ordinary_decoder = msgspec.msgpack.Decoder(OrdinaryEntry)
# No name in so few bytes is too long, and there are not too many; a decoder that measures names makes each of them
# anew, which takes as long as all the rest.
_short_fields_decoder = msgspec.msgpack.Decoder(dict[str, Plain])
_ordinary_fields_decoder = msgspec.msgpack.Decoder(
    Annotated[dict[Annotated[str, Meta(max_length=_SURELY_FITS)], Plain], Meta(max_length=limits.FIELDS_PER_RECORD)]
)
NOT_ORDINARY = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_ordinary(data: bytes) -> OrdinaryEntry:
    """All of an ordinary entry but its values. Raises one of NOT_ORDINARY."""
    return _ordinary_decoder.decode(data)


def _is_ordinary(encoded: bytes) -> bool:
    try:
        for change in decode_ordinary(encoded).changes:
            change.fields()
    except NOT_ORDINARY:
        return False
    return True


def _check_delta(delta: tuple[Head, ...]) -> None:
    if len(delta) > limits.CONTEXT_ORIGINS:
        raise ValueError("a context names too many origins")
    if len({head.origin for head in delta}) < len(delta):
        raise ValueError("a context names an origin twice")
    for head in delta:
        if not _is_dot(head.origin, head.seq) or len(head.hash8) != 8:
            raise ValueError("a context names a malformed position")


def _is_dot(origin: bytes, seq: int) -> bool:
    return len(origin) == 16 and 0 < seq <= limits.INT64_MAX


def _fits(name: str, most_bytes: int) -> bool:
    return len(name) <= _SURELY_FITS or len(name.encode()) <= most_bytes


def _check_change(change: Change) -> None:
    kind, set_, drop = change.kind, change.set, change.drop
    if not 1 <= kind <= _LAST_KIND:
        raise (NeedsNewer if kind > 0 else ValueError)(f"a change of kind {kind}")
    if not change.key or not _fits(change.key, limits.KEY_BYTES):
        raise ValueError("a key is empty or longer than 1024 bytes")
    if not change.collection or not _fits(change.collection, limits.COLLECTION_BYTES):
        raise ValueError("a collection's name is empty or longer than 255 bytes")
    if len(set_) + len(drop) > limits.FIELDS_PER_RECORD:
        raise ValueError("a change names more than 4096 fields")
    for name, value in set_.items():
        if len(name) > _SURELY_FITS and not _fits(name, limits.FIELD_NAME_BYTES):
            raise ValueError("a field's name is longer than 255 bytes")
        check_packed(value)
    if drop or change.keep or change.answers is not None or kind == Kind.DELETE:
        _check_rare_parts(change)


def _check_rare_parts(change: Change) -> None:
    kind = change.kind
    if change.drop and (kind != Kind.PATCH or not change.set.keys().isdisjoint(change.drop)):
        raise ValueError("fields are dropped where that has no meaning")
    if not all(_fits(name, limits.FIELD_NAME_BYTES) for name in change.drop):
        raise ValueError("a field's name is longer than 255 bytes")
    if kind == Kind.DELETE and change.set:
        raise ValueError("a delete sets fields")
    if change.answers is not None and (kind != Kind.RESTORE or not _is_dot(*change.answers)):
        raise ValueError("only a restore answers a delete, and a delete has a dot")
    if change.keep and kind == Kind.RESTORE:
        raise ValueError("a restore removes nothing and so keeps nothing")
    if not all(_is_dot(*dot) for dot in change.keep):
        raise ValueError("a malformed dot")


class _Header(Struct, array_like=True, frozen=True):
    format: int
    t_ms: int
    tq: int
    delta: tuple[Head, ...]


_header_decoder = msgspec.msgpack.Decoder(_Header)


def delta_of(data: bytes) -> tuple[Head, ...]:
    """The context delta of an entry that was checked when it came in, without decoding the rest."""
    return _header_decoder.decode(data).delta


def changes_of(data: bytes) -> tuple[Change, ...]:
    """The changes of an entry that was checked when it came in."""
    return _decoder.decode(data).changes
