"""A record of a snapshot, checked as it comes in: whatever a later reader relies on must hold of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from peerd.core import limits
from peerd.core.clocks import Clock
from peerd.core.digest import BUCKETS
from peerd.core.record import Record
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_lone_stamp, encode_stamps, shares_of
from peerd.core.snapshots.parts import Body, StoredRow
from peerd.core.values import Plain, check_packed
from peerd.core.writes import RecordRow, flags_of
from peerd.errors import RemoteProtocolError

_SURELY_FITS = 63  # characters, whatever they take in UTF-8
_SURELY_A_KEY = limits.KEY_BYTES // 4
_Number = Annotated[int, Meta(ge=0)]
_Seq = Annotated[int, Meta(ge=1, le=limits.INT64_MAX)]
_Time = Annotated[int, Meta(ge=0, le=limits.INT64_MAX)]

# What nearly every record is: born, one stamp, plain values, short names. The decoder checks all but the names, since
# it makes each of them anew where it has to measure it: that takes as long as the rest.
_plain_stamp = msgspec.msgpack.Decoder(
    Annotated[list[tuple[_Number, _Seq, _Time, Annotated[int, Meta(ge=0, le=2)]]], Meta(min_length=1, max_length=1)]
)
_plain_body = msgspec.msgpack.Decoder(tuple[Annotated[int, Meta(ge=0, le=1)], dict[str, Plain]])
_stamps = msgspec.msgpack.Decoder(list[list[Any]])
_NOT_PLAIN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_STAMPS_KEPT = 4_000
_NAMES_KEPT = 1_000


class LoneStamp(Struct, frozen=True, eq=False, gc=False):
    """Of a record that has one: as the digest counts it, its dot, and what follows the origin in its packed form. One
    object stands for all records that have it, and is told from others as such.
    """

    counted: bytes
    origin: bytes
    seq: int
    rest: bytes


class LoneStamps(dict[bytes, LoneStamp]):
    """By their packed form, with numbers that `origin_of` knows, each read once: those of one transaction are equal."""

    def __init__(self, origin_of: Mapping[int, bytes]) -> None:
        super().__init__()
        self.origin_of = origin_of

    def __missing__(self, packed: bytes) -> LoneStamp:
        """Raises one of _NOT_PLAIN if it is another one, and RemoteProtocolError if its number stands for nothing."""
        ((number, seq, t_ms, tq),) = _plain_stamp.decode(packed)
        origin = self.origin_of.get(number)
        if origin is None:
            raise _malformed("a record of an origin that was not named")
        if len(self) >= _STAMPS_KEPT:
            self.clear()
        counted, rest = encode_lone_stamp(origin, seq, t_ms, tq)
        stamp = self[packed] = LoneStamp(counted, origin, seq, rest)
        return stamp


class ShortNames(set[str]):
    """Names of fields that are not too long, each measured once: in one collection all records have the same."""

    def take(self, names: Collection[str]) -> bool:
        """Are these short too?"""
        if any(len(name) > _SURELY_FITS for name in names):
            return False
        if len(self) >= _NAMES_KEPT:
            self.clear()
        self.update(names)
        return True


class PlainRows(Struct, frozen=True):
    """Records of one collection, each born, with one stamp and plain values: what nearly all are. In columns, which
    take less time than rows; `shares` are signed numbers.
    """

    collection: str
    keys: Sequence[str]
    shares: Sequence[int]
    stamps: Sequence[LoneStamp]
    bodies: Sequence[Body]


class RowReader:
    """Records of a part as they come in. What was read is in `plain` and, if it is not as plain as that, in `rows`.
    `shares` are the sums by bucket of the digest, `visible` counts by collection, and `highest` are the largest dots.
    """

    def __init__(self, stamps: LoneStamps, names: ShortNames) -> None:
        self.plain: list[PlainRows] = []
        self.rows: list[RecordRow] = []
        self.shares = [0] * BUCKETS
        self.visible: dict[str, int] = {}
        self.highest: Clock = {}
        self._origin_of = stamps.origin_of
        self._stamps = stamps
        self._names = names

    def read(self, collection: str, rows: Iterable[StoredRow]) -> None:
        """Raises RemoteProtocolError: nobody could have written this."""
        _check_collection(collection)
        keys: list[str] = []
        stamps: list[LoneStamp] = []
        bodies: list[Body] = []
        visible = 0
        known, decode, are_known = self._stamps, _plain_body.decode, self._names.issuperset
        for key, packed, body in rows:
            if not key or (len(key) > _SURELY_A_KEY and len(key.encode()) > limits.KEY_BYTES):
                raise _malformed("a key")
            try:
                stamp = known[packed]
                born, fields = decode(body)
            except _NOT_PLAIN:
                born = 0
            else:
                if len(body) > limits.FIELD_NAME_BYTES and not are_known(fields) and not self._names.take(fields):
                    born = 0
            if born:
                keys.append(key)
                stamps.append(stamp)
                bodies.append(body)
            else:
                visible += self._read_any(collection, key, packed, bytes(body))
        if keys:
            self._keep(collection, keys, stamps, bodies)
        visible += len(keys)
        if visible:
            self.visible[collection] = self.visible.get(collection, 0) + visible

    def _keep(self, collection: str, keys: list[str], stamps: list[LoneStamp], bodies: list[Body]) -> None:
        for stamp in set(stamps):
            self._saw(stamp.origin, stamp.seq)
        shares = shares_of(collection, keys, [stamp.counted for stamp in stamps], bodies, self.shares)
        self.plain.append(PlainRows(collection, keys, shares, stamps, bodies))

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
