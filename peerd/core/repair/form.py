"""How records and what is proven of them are said to another device that repairs its copy.

record     [stamps, body] as stored (`record_form`), with 16-byte origins; nothing if there is none
answer     [collection, key, record, evidence, damaged]
evidence   [stamps, body, gone, seen, whole]: what was written and is not gone, as a record; who removed what,
[[field or nil, origin, seq, by origin, by seq], ...]; the dots whose entries are known
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from peerd.core.clocks import Dot, ReadClock
from peerd.core.record import Record
from peerd.core.record_form import decode_record, encode_body, encode_stamps
from peerd.core.repair.evidence import Evidence
from peerd.core.repair.scrub import is_sound

_encode = msgspec.msgpack.Encoder().encode
_Gone = tuple[str | None, bytes, int, bytes, int]
Answer: TypeAlias = tuple[str, str, bytes, bytes, bool]
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_record = msgspec.msgpack.Decoder(tuple[list[list[Any]], bytes]).decode
_decode_evidence = msgspec.msgpack.Decoder(tuple[bytes, list[_Gone], list[tuple[bytes, int]], bool]).decode


def pack_record(record: Record | None) -> bytes:
    """Empty for a record that is not there."""
    if record is None or record.empty:
        return b""
    if (lone := record.lone) is not None:
        return _encode(([[*lone.dot, lone.stamp.t_ms, lone.stamp.tq]], lone.body))
    order, rows = encode_stamps(record.stamps)
    return _encode((rows, encode_body(record.births, record.fields, order)))


def unpack_record(data: bytes) -> Record:
    """The inverse; an empty record for none. Raises ValueError if it is none that a write could have made."""
    if not data:
        return Record()
    stamps, body = _decode_record(data)
    for row in stamps:
        if not row or not isinstance(row[0], bytes) or len(row[0]) != 16:
            raise ValueError("a stamp without an origin")
    record = decode_record(stamps, body)
    if not is_sound(record):
        raise ValueError("a record that nobody could have written")
    return record


def pack_evidence(evidence: Evidence) -> bytes:
    gone = sorted(((field, *dot, *by) for (field, dot), by in evidence.gone.items()), key=_gone_order)
    seen = sorted(evidence.seen)
    return _encode((pack_record(evidence.record), gone, seen, evidence.whole))


def _gone_order(one: _Gone) -> tuple[bool, str, bytes, int]:
    return one[0] is not None, one[0] or "", one[1], one[2]


def unpack_evidence(data: bytes) -> Evidence:
    """The inverse. Raises ValueError."""
    record, gone, seen, whole = _decode_evidence(data)
    return Evidence(
        unpack_record(record),
        {(field, Dot(origin, seq)): Dot(by_origin, by_seq) for field, origin, seq, by_origin, by_seq in gone},
        frozenset(Dot(*dot) for dot in seen),
        whole,
    )


def pack_answer(answer: Answer) -> bytes:
    """What is said of one record, where it is cut into pieces."""
    return _encode(answer)


def unpack_answer(data: bytes) -> Answer:
    """The inverse. Raises ValueError."""
    answer: Answer = _decode_answer(data)
    return answer


def whole_mark(data: bytes) -> bytes:
    """16 bytes that stand for what is cut into pieces."""
    return blake2b(data, digest_size=16).digest()


def clock_mark(clock: ReadClock) -> bytes:
    """16 bytes that stand for a clock."""
    return blake2b(_encode(sorted(clock.items())), digest_size=16).digest()


def dots_of(records: Iterable[Record]) -> set[Dot]:
    return {dot for record in records for dot in record.dots()}
