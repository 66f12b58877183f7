"""A roster on a relay: in the head itself, or in parts that the head names.

A part is statements in order, under an id that is a hash of whose head names it and of its bytes: so the same roster
gives the same parts, one that is there already need not be created again, and no two devices share one. Each has a
secret of its own (`core.roster.epochs.roster_part_secret`), of the epoch in which it was left, which stands in the
head: who can read that can read the part, whatever keys it lacks. PROTOCOL.md, "Rosters on relays".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from peerd.core.roster.statements import SignedStatement
from peerd.errors import RemoteProtocolError

INLINE_BYTES = 128 << 10  # of statements in a head; more of them go into parts
PART_BYTES = 256 << 10
PARTS = 192  # of the largest roster that there may be: 32 MiB in statements of up to 64 KiB

_PART_TAG = b"peerd/1 relay roster part id\0"
_AROUND_BYTES = 9  # of MessagePack round a statement: two lengths and an array

_encoder = msgspec.msgpack.Encoder()
_parts = msgspec.msgpack.Decoder(list[SignedStatement])


def fits(statements: Iterable[SignedStatement]) -> bool:
    """Does a head hold them?"""
    return sum(map(_size, statements)) <= INLINE_BYTES


def split(statements: Sequence[SignedStatement]) -> list[bytes]:
    """The parts of a roster, encoded; as many as it takes, none larger than PART_BYTES and a little."""
    groups: list[list[SignedStatement]] = []
    room = 0
    for one in statements:
        if _size(one) > room:
            groups.append([])
            room = PART_BYTES
        groups[-1].append(one)
        room -= _size(one)
    return [_encoder.encode(group) for group in groups]


def join(parts: Iterable[bytes]) -> list[SignedStatement]:
    """The statements of these parts, in order. Raises RemoteProtocolError "malformed"."""
    try:
        return [one for part in parts for one in _parts.decode(part)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise RemoteProtocolError(f"a part of a roster cannot be decoded: {problem}", code="malformed") from None


def part_id(device: bytes, part: bytes) -> bytes:
    """The id (16 bytes) of a part that the head of this device names."""
    return blake2b(_PART_TAG + device + part, digest_size=32).digest()[:16]


def _size(one: SignedStatement) -> int:
    return len(one.data) + len(one.signature) + _AROUND_BYTES
