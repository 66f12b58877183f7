"""An entry: one transaction as the bytes that its author encoded once.

    entry   = [format, t, tq, context delta, schema, changes]
    delta   = [[origin, seq, 8 bytes of that head's hash], ...]  against this origin's previous entry
    change  = [kind, collection, key, set, drop, keep, answers]  trailing empty parts are left out

Everyone stores, forwards and hashes these bytes; nobody encodes them again. A transaction names a record at most
once, so that on one record a dot has one meaning. PROTOCOL.md section 4 is the specification.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec
from msgspec import Raw, Struct

from peerd.core import limits
from peerd.core.clocks import Dot
from peerd.core.values import check_packed

FORMAT = 1


class Kind(IntEnum):
    PUT = 1  # the whole record: drops what was seen of it, adds a birth
    PATCH = 2  # fields to set and fields to drop
    DELETE = 3
    RESTORE = 4  # gives a parked record its birth back


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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_format_decoder = msgspec.msgpack.Decoder(list[Raw])


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
        _refuse_later_format(data)
        raise ValueError(f"an entry cannot be decoded: {problem}") from None
    if entry.format != FORMAT:
        raise NeedsNewer(f"an entry of format {entry.format}")
    check(entry)
    return entry


def _refuse_later_format(data: bytes) -> None:
    try:
        first = msgspec.msgpack.decode(_format_decoder.decode(data)[0])
    except (msgspec.MsgspecError, RecursionError, IndexError):
        return
    if isinstance(first, int) and first > FORMAT:
        raise NeedsNewer(f"an entry of format {first}")


def check(entry: Entry) -> None:
    """The limits that hold for authors and receivers alike. Raises ValueError (or NeedsNewer) with the reason."""
    if not 0 <= entry.t_ms <= limits.INT64_MAX or not 0 <= entry.tq <= 2:
        raise ValueError("a time outside its range")
    if len(entry.delta) > limits.CONTEXT_ORIGINS:
        raise ValueError("a context names too many origins")
    for head in entry.delta:
        if len(head.origin) != 16 or not 0 < head.seq <= limits.INT64_MAX or len(head.hash8) != 8:
            raise ValueError("a context names a malformed position")
    changes = entry.changes
    if not 0 < len(changes) <= limits.CHANGES_PER_TRANSACTION:
        raise ValueError("a transaction has no change, or too many")
    if len(changes) > 1 and len({change.record for change in changes}) < len(changes):
        raise ValueError("a transaction names a record twice")
    for change in changes:
        _check_change(change)


def _check_change(change: Change) -> None:
    kind, names = change.kind, change.set
    if not 1 <= kind <= 4:
        raise NeedsNewer(f"a change of kind {kind}")
    if not 0 < len(change.key.encode()) <= limits.KEY_BYTES:
        raise ValueError("a key is empty or longer than 1024 bytes")
    if not 0 < len(change.collection.encode()) <= limits.COLLECTION_BYTES:
        raise ValueError("a collection's name is empty or longer than 255 bytes")
    if len(names) + len(change.drop) > limits.FIELDS_PER_RECORD:
        raise ValueError("a change names more than 4096 fields")
    for name, value in names.items():
        if len(name.encode()) > limits.FIELD_NAME_BYTES:
            raise ValueError("a field's name is longer than 255 bytes")
        check_packed(bytes(value))
    if change.drop and (kind != Kind.PATCH or not names.keys().isdisjoint(change.drop)):
        raise ValueError("fields are dropped where that has no meaning")
    if kind == Kind.DELETE and names:
        raise ValueError("a delete sets fields")
    if change.answers is not None and kind != Kind.RESTORE:
        raise ValueError("only a restore answers a delete")
    for dot in change.keep:
        if len(dot.origin) != 16 or not 0 < dot.seq <= limits.INT64_MAX:
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
