"""A record of a snapshot, checked as it comes in: whatever a later reader relies on must hold of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from peerd.core import limits
from peerd.core.clocks import Clock
from peerd.core.digest import BUCKETS
from peerd.core.record import Record
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_lone_stamp, encode_stamps, share_of
from peerd.core.snapshots.parts import StoredRow
from peerd.core.values import Plain, check_packed
from peerd.core.writes import PARKED, RESTORED, RecordRow, flags_of
from peerd.errors import RemoteProtocolError

_SURELY_FITS = 63  # characters, whatever they take in UTF-8
_SURELY_A_KEY = limits.KEY_BYTES // 4
_RESTORED = 4
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
_PlainStamp: TypeAlias = tuple[bytes, bytes, bytes, int]  # as the digest counts it; origin; rest; flags if a birth
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


PlainRow: TypeAlias = tuple[str, int, int, bytes, bytes, bytes]
"""Key, flags, share as a signed number, the origin of its stamp, the rest of that in its packed form, body."""


class PlainRows(Struct, frozen=True):
    """Records of one collection, each with one stamp and plain values: what nearly all are."""

    collection: str
    rows: list[PlainRow]


class RowReader:
    """Records of a part as they come in, with origins for the numbers. What was read is in `plain` and, if it is not as
    plain as that, in `rows`. `shares` are the sums by bucket of the digest, `visible` counts by collection, and
    `highest` are the largest dots.
    """

    def __init__(self, origin_of: Mapping[int, bytes]) -> None:
        self.plain: list[PlainRows] = []
        self.rows: list[RecordRow] = []
        self.shares = [0] * BUCKETS
        self.visible: dict[str, int] = {}
        self.highest: Clock = {}
        self._origin_of = origin_of
        self._stamps: dict[bytes, _PlainStamp] = {}  # those of one transaction are equal

    def read(self, collection: str, rows: Iterable[StoredRow]) -> None:
        """Raises RemoteProtocolError: nobody could have written this."""
        _check_collection(collection)
        plain: list[PlainRow] = []
        visible = 0
        shares, stamps = self.shares, self._stamps
        for key, packed, body in rows:
            if not key or (len(key) > _SURELY_A_KEY and len(key.encode()) > limits.KEY_BYTES):
                raise _malformed("a key")
            try:
                stamp = stamps.get(packed) or self._plain_stamp(packed)
                born, fields = _plain_body.decode(body)
                if not (born or fields):
                    raise _malformed("a record that holds nothing")
            except _NOT_PLAIN:
                visible += self._read_any(collection, key, packed, body)
                continue
            counted, origin, rest, born_flags = stamp
            bucket, share = share_of(collection, key, counted, body)
            shares[bucket] += share
            visible += born
            plain.append((key, born_flags if born else PARKED, share, origin, rest, body))
        if plain:
            self.plain.append(PlainRows(collection, plain))
        if visible:
            self.visible[collection] = self.visible.get(collection, 0) + visible

    def _plain_stamp(self, packed: bytes) -> _PlainStamp:
        """Raises one of _NOT_PLAIN if it is another one."""
        ((number, seq, t_ms, tq),) = _plain_stamp.decode(packed)
        if tq & 3 == 3:
            raise _malformed("a malformed dot")
        origin = self._origin_of.get(number)
        if origin is None:
            raise _malformed("a record of an origin that was not named")
        self._saw(origin, seq)
        counted, rest = encode_lone_stamp(origin, seq, t_ms, tq)
        stamp = self._stamps[packed] = counted, origin, rest, RESTORED if tq & _RESTORED else 0
        return stamp

    def _read_any(self, collection: str, key: str, packed: bytes, body: bytes) -> bool:
        """Is it visible?"""
        try:
            stamps = _stamps.decode(packed)
            for stamp in stamps:
                stamp[0] = self._origin_of[stamp[0]]
                if len(stamp) > 4 and isinstance(stamp[4][0], int):
                    stamp[4][0] = self._origin_of[stamp[4][0]]
            record = decode_record(stamps, body)
            _check(record)
            order, stamps = encode_stamps(record.stamps)
            body = encode_body(record.births, record.fields, order)
        except KeyError:
            raise _malformed("a record of an origin that was not named") from None
        except (ValueError, LookupError, TypeError, RecursionError) as problem:
            raise _malformed(str(problem)) from None
        bucket, share = digest_of(collection, key, stamps, body)
        self.shares[bucket] += share
        for dot in order:
            self._saw(*dot)
        self.rows.append(RecordRow((collection, key), stamps, body, share, flags_of(record)))
        return record.visible

    def _saw(self, origin: bytes, seq: int) -> None:
        if seq > self.highest.get(origin, 0):
            self.highest[origin] = seq


def _check_collection(name: str) -> None:
    if not name or len(name.encode()) > limits.COLLECTION_BYTES:
        raise _malformed("the name of a collection")


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
