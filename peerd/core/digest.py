"""The digest of a space: 256 buckets, each a 64-bit sum over the shares of its records.

Kept incrementally. Two copies with equal clocks must have equal digests; a difference is damage or a bug, and the
buckets say where to look.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b

BUCKETS = 256
_MASK = (1 << 64) - 1
_FORM = struct.Struct(">256Q")

EMPTY = bytes(BUCKETS * 8)


def moved(sums: bytes, steps: Iterable[tuple[int, int]]) -> bytes:
    """The buckets after `steps` of (bucket, difference); a share that goes is a negative difference."""
    buckets = list(_FORM.unpack(sums))
    for bucket, difference in steps:
        buckets[bucket] = (buckets[bucket] + difference) & _MASK
    return _FORM.pack(*buckets)


def summary(sums: bytes) -> bytes:
    """16 bytes that stand for all buckets."""
    return blake2b(sums, digest_size=16).digest()


def differing(ours: bytes, theirs: bytes) -> list[int]:
    """The buckets in which two copies differ."""
    pairs = zip(_FORM.unpack(ours), _FORM.unpack(theirs), strict=True)
    return [number for number, (one, other) in enumerate(pairs) if one != other]
