"""The digest of a space: 256 buckets, each a 64-bit sum over the shares of its records.

Kept incrementally. Two copies with equal clocks must have equal digests; a difference is damage or a bug, and the
buckets say where to look.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b

BUCKETS = 256
MODULUS = 1 << 64
_MASK = MODULUS - 1
_FORM = struct.Struct(">256Q")

EMPTY = bytes(BUCKETS * 8)


def moved(sums: bytes, steps: Iterable[tuple[int, int]]) -> bytes:
    """The buckets after `steps` of (bucket, difference); a share that goes is a negative difference."""
    buckets = list(_FORM.unpack(sums))
    for bucket, difference in steps:
        buckets[bucket] = (buckets[bucket] + difference) & _MASK
    return _FORM.pack(*buckets)


def difference(larger: bytes, smaller: bytes) -> bytes:
    """What has to be added to `smaller`, bucket by bucket, to have `larger`."""
    pairs = zip(_FORM.unpack(larger), _FORM.unpack(smaller), strict=True)
    return _FORM.pack(*((one - other) & _MASK for one, other in pairs))


def added(sums: bytes, more: bytes) -> bytes:
    """The sums of both, bucket by bucket."""
    pairs = zip(_FORM.unpack(sums), _FORM.unpack(more), strict=True)
    return _FORM.pack(*((one + other) & _MASK for one, other in pairs))


def at(sums: bytes, bucket: int) -> int:
    """The sum of one bucket."""
    return int.from_bytes(sums[8 * bucket : 8 * bucket + 8], "big")


def summary(sums: bytes) -> bytes:
    """16 bytes that stand for all buckets."""
    return blake2b(sums, digest_size=16).digest()


def differing(ours: bytes, theirs: bytes) -> list[int]:
    """The buckets in which two copies differ."""
    pairs = zip(_FORM.unpack(ours), _FORM.unpack(theirs), strict=True)
    return [number for number, (one, other) in enumerate(pairs) if one != other]
