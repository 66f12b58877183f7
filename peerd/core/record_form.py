"""How a record is stored, and its share of the digest.

    stamps = [[origin, seq, t, tq | 4 if restored, answers?], ...]  sorted by (origin, seq)
    body   = [1 if the stamp is a birth, {field: value}]                                    of one stamp
           = [[index of a birth's stamp, ...], {field: [index, value, index, value, ...]}]  of several; fields sorted

The body refers to stamps by index, so the same record has the same body everywhere, and a store may write its own
short numbers for the origins in the stamps. Nearly every record has one stamp. The digest of a record covers all of it:
a flipped value is a difference.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any
from zlib import crc32

import msgspec
from msgspec import Meta, Raw

from peerd.core.clocks import Dot
from peerd.core.digest import BUCKETS, MODULUS
from peerd.core.record import Dropped, Lone, Record, Stamp

_encode = msgspec.msgpack.Encoder().encode
_encode_sorted = msgspec.msgpack.Encoder(order="sorted").encode  # members by the bytes of their names
Index = Annotated[int, Meta(ge=0)]
_body_decoder = msgspec.msgpack.Decoder(tuple[Index | list[Index], dict[str, Raw]])
_siblings_decoder = msgspec.msgpack.Decoder(list[Raw])
_index_decoder = msgspec.msgpack.Decoder(Index)

_RESTORED = 4
SHORT_LEAD_BYTES = 3  # of `lone_lead` with a number below 128: two arrays and that
_SHARE_MASK = MODULUS - 1
_LEAD_BYTES = 4 + 16  # two arrays, the length of the origin, and that
_share_hash = blake2b(digest_size=8)


def encode_stamps(stamps: dict[Dot, Stamp]) -> tuple[list[Dot], list[list[Any]]]:
    """The sorted dots, and for each the list that is stored; its first item is the 16-byte origin."""
    order = sorted(stamps) if len(stamps) > 1 else list(stamps)
    rows: list[list[Any]] = []
    for dot in order:
        t_ms, tq, restored, answers = stamps[dot]
        row: list[Any] = [*dot, t_ms, tq | _RESTORED if restored else tq]
        if answers is not None:
            row.append(list(answers))
        rows.append(row)
    return order, rows


def encode_body(births: Collection[Dot], fields: dict[str, dict[Dot, bytes]], order: list[Dot]) -> bytes:
    """The body for stamps in `order`."""
    if len(order) == 1:
        (dot,) = order
        return encode_lone({name: Raw(siblings[dot]) for name, siblings in fields.items()}, born=bool(births))
    index = {dot: number for number, dot in enumerate(order)}
    cells = {
        name: [item for dot in sorted(fields[name]) for item in (index[dot], Raw(fields[name][dot]))]
        for name in sorted(fields)
    }
    return _encode((sorted(index[dot] for dot in births), cells))


def encode_lone(fields: Mapping[str, Any], *, born: bool = True) -> bytes:
    """The body of a record with one stamp: two bytes and the fields, packed or as plain values."""
    return _encode_sorted((int(born), fields))


def decode_record(stamp_rows: list[list[Any]], body: bytes) -> Record:
    """The inverse. Raises ValueError if the stored form is damaged."""
    try:
        if len(stamp_rows) == 1 and len(stamp_rows[0]) == 4 and stamp_rows[0][3] < _RESTORED:
            births, _ = _body_decoder.decode(body)
            if births == 1:
                origin, seq, t_ms, tq = stamp_rows[0]
                return Record.put(Lone(Dot(origin, seq), Stamp(t_ms, tq), body))
        record = Record()
        order = []
        for row in stamp_rows:
            dot = Dot(row[0], row[1])
            order.append(dot)
            answers = Dot(*row[4]) if len(row) > 4 else None
            record.stamps[dot] = Stamp(row[2], row[3] & 3, bool(row[3] & _RESTORED), answers)
        if len(record.stamps) < len(order):
            raise ValueError("a stored record is damaged: one dot has two stamps")
        births, cells = _body_decoder.decode(body)
        if isinstance(births, int):
            _fill_lone(record, order, births, cells)
        else:
            _fill(record, order, births, cells)
    except (msgspec.MsgspecError, IndexError, TypeError) as problem:
        raise ValueError(f"a stored record is damaged: {problem}") from None
    return record


def _fill_lone(record: Record, order: list[Dot], born: int, cells: dict[str, Raw]) -> None:
    (dot,) = order
    record.births = {dot} if born else set()
    record.fields = {name: {dot: bytes(value)} for name, value in cells.items()}


def _fill(record: Record, order: list[Dot], births: list[int], cells: dict[str, Raw]) -> None:
    record.births = {order[number] for number in births}
    for name, packed in cells.items():
        items = _siblings_decoder.decode(packed)
        record.fields[name] = {
            order[_index_decoder.decode(items[position])]: bytes(items[position + 1])
            for position in range(0, len(items), 2)
        }


def encode_dropped(dropped: Dropped) -> tuple[list[list[Any]], bytes]:
    """What a change removed, in the same form."""
    order, rows = encode_stamps(dropped.stamps)
    return rows, encode_body(dropped.births, dropped.fields, order)


def bucket_of(collection: str, key: str) -> int:
    """Which bucket of the digest a record counts in: it depends on the name alone (CRC-32 of IEEE 802.3, its last
    byte).
    """
    return crc32(_encode((collection, key))) % BUCKETS


def digest_of(collection: str, key: str, stamp_rows: list[list[Any]], body: bytes) -> tuple[int, int]:
    """(bucket 0..255, 64-bit share): what this record adds to the digest of its space."""
    bucket, share = share_of(collection, key, _encode(stamp_rows), body)
    return bucket, share & _SHARE_MASK


def share_of(collection: str, key: str, packed: bytes, body: bytes) -> tuple[int, int]:
    """The same of packed stamps with 16-byte origins; the share as a signed number."""
    name = _encode((collection, key))
    hashed = _share_hash.copy()  # cheaper than a new one
    hashed.update(name + packed + body)
    return crc32(name) % BUCKETS, int.from_bytes(hashed.digest(), "big", signed=True)


def shares_of(
    collection: str, keys: Sequence[str], packed: Iterable[bytes], bodies: Iterable[bytes | bytearray], sums: list[int]
) -> tuple[int, ...]:
    """`share_of` many records of one collection, in two thirds of the time. Each share is added to its bucket in
    `sums`.
    """
    lead = _encode((collection, ""))[:-1]
    names = [lead + _encode(key) for key in keys]
    copy = _share_hash.copy
    digests = []
    for data in map(b"".join, zip(names, packed, bodies, strict=True)):
        hashed = copy()
        hashed.update(data)
        digests.append(hashed.digest())
    shares = struct.unpack(f">{len(digests)}q", b"".join(digests))
    for crc, share in zip(map(crc32, names), shares, strict=True):
        sums[crc % BUCKETS] += share
    return shares


def lone_lead(origin: bytes | int) -> bytes:
    """What the packed stamps of a record with one ordinary stamp begin with: all but the rest of `encode_lone_stamp`.
    A store may have a short number for the origin.
    """
    return _encode(((origin, 0, 0, 0),))[:-3]


def encode_lone_stamp(origin: bytes, seq: int, t_ms: int, tq: int) -> tuple[bytes, bytes]:
    """Packed stamps of a record with one, and of that what follows the origin; `tq` as in a row of stamps."""
    packed = _encode(((origin, seq, t_ms, tq),))
    return packed, packed[_LEAD_BYTES:]
