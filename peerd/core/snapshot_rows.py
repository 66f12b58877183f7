"""A record of a snapshot, checked as it comes in: whatever a later reader relies on must hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from peerd.core import limits
from peerd.core.record import Record
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_stamps
from peerd.core.snapshot import StoredRow
from peerd.core.values import Plain, check_packed
from peerd.core.writes import PARKED, RESTORED, RecordRow, flags_of
from peerd.errors import RemoteProtocolError

_SURELY_FITS = 63  # characters, whatever they take in UTF-8
_Number = Annotated[int, Meta(ge=0)]
_Seq = Annotated[int, Meta(ge=1, le=limits.INT64_MAX)]
_Time = Annotated[int, Meta(ge=0, le=limits.INT64_MAX)]

# What nearly every record is: one stamp, plain values, short names. The decoder checks that in a microsecond.
_plain_stamp = msgspec.msgpack.Decoder(
    Annotated[list[tuple[_Number, _Seq, _Time, Annotated[int, Meta(ge=0, le=6)]]], Meta(min_length=1, max_length=1)]
)
_plain_body = msgspec.msgpack.Decoder(
    tuple[Annotated[int, Meta(ge=0, le=1)], dict[Annotated[str, Meta(max_length=_SURELY_FITS)], Plain]]
)
_stamps = msgspec.msgpack.Decoder(list[list[Any]])
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Row(RecordRow, frozen=True, gc=False):
    """The row, where the digest counts it, and the dots in it."""

    bucket: int
    dots: list[tuple[bytes, int]]
    visible: bool


def check_collection(name: str) -> None:
    """Raises RemoteProtocolError."""
    if not name or len(name.encode()) > limits.COLLECTION_BYTES:
        raise _malformed("the name of a collection")


def read_row(collection: str, row: StoredRow, origin_of: Mapping[int, bytes]) -> Row:
    """The record with origins for the numbers.

    Raises:
        RemoteProtocolError: nobody could have written this.
    """
    key, packed, body = row
    if not key or (len(key) > limits.KEY_BYTES // 4 and len(key.encode()) > limits.KEY_BYTES):
        raise _malformed("a key")
    try:
        return _plain(collection, key, packed, body, origin_of) or _any(collection, key, packed, body, origin_of)
    except KeyError:
        raise _malformed("a record of an origin that was not named") from None
    except (ValueError, LookupError, TypeError, RecursionError) as problem:
        raise _malformed(str(problem)) from None


def _plain(collection: str, key: str, packed: bytes, body: bytes, origin_of: Mapping[int, bytes]) -> Row | None:
    try:
        ((number, seq, t_ms, tq),) = _plain_stamp.decode(packed)
        born, fields = _plain_body.decode(body)
    except _NOT_PLAIN:
        return None
    if tq & 3 == 3 or not (born or fields):
        return None
    origin = origin_of[number]
    stamps = [[origin, seq, t_ms, tq]]
    bucket, share = digest_of(collection, key, stamps, body)
    flags = (RESTORED if tq & 4 else 0) if born else PARKED
    return Row((collection, key), stamps, body, share, flags, bucket, [(origin, seq)], bool(born))


def _any(collection: str, key: str, packed: bytes, body: bytes, origin_of: Mapping[int, bytes]) -> Row:
    stamps = _stamps.decode(packed)
    for stamp in stamps:
        stamp[0] = origin_of[stamp[0]]
        if len(stamp) > 4 and isinstance(stamp[4][0], int):
            stamp[4][0] = origin_of[stamp[4][0]]
    record = decode_record(stamps, body)
    _check(record)
    order, stamps = encode_stamps(record.stamps)
    body = encode_body(record.births, record.fields, order)
    bucket, share = digest_of(collection, key, stamps, body)
    dots = [(dot.origin, dot.seq) for dot in order]
    return Row((collection, key), stamps, body, share, flags_of(record), bucket, dots, record.visible)


def _check(record: Record) -> None:
    named = record.births.union(*record.fields.values())
    if not named or named != record.stamps.keys() or not all(record.fields.values()):
        raise ValueError("a record that holds nothing, or dates nothing")
    for dot, stamp in record.stamps.items():
        answers = () if stamp.answers is None else (stamp.answers,)
        if not all(_is_dot(*one) for one in (dot, *answers)) or stamp.tq not in {0, 1, 2}:
            raise ValueError("a malformed dot")
        if not (type(stamp.t_ms) is int and 0 <= stamp.t_ms <= limits.INT64_MAX):
            raise ValueError("a time outside its range")
    for name, siblings in record.fields.items():
        if len(name) > _SURELY_FITS and len(name.encode()) > limits.FIELD_NAME_BYTES:
            raise ValueError("a field's name is too long")
        for value in siblings.values():
            check_packed(Raw(value))


def _is_dot(origin: Any, seq: Any) -> bool:
    return isinstance(origin, bytes) and len(origin) == 16 and type(seq) is int and 0 < seq <= limits.INT64_MAX


def _malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a snapshot cannot be read: {what}", code="malformed")
