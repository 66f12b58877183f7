"""The hash chain of an origin, and the runs that are signed.

h₀ = H(tag, space, device, origin), hₙ = H(hₙ₋₁, entryₙ), H = BLAKE2b-256 (RFC 7693). A run is the transactions of one
group commit; its author signs (tag, space, origin, seq, hₙ) at its last one, so one signature proves every entry up
to there, whoever forwards it. PROTOCOL.md section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from peerd.core.limits import INT64_MAX
from peerd.core.origin import Id16

_CHAIN_TAG = b"peerd/1 chain\0"
_RUN_TAG = b"peerd/1 run\0"
_entry_hash = blake2b(digest_size=32)


Signature: TypeAlias = Annotated[bytes, Meta(max_length=64)]


class Run(Struct, array_like=True, frozen=True, gc=False):
    """The transactions of one group commit: sent, staged, applied, trimmed and relayed whole."""

    origin: Id16
    first: Annotated[int, Meta(ge=0, le=INT64_MAX)]
    entries: tuple[bytes, ...]
    signature: Signature

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.entries)) + 100


def first_hash(space: bytes, device: bytes, origin: bytes) -> bytes:
    """h₀ of an origin: 32 bytes."""
    return blake2b(_CHAIN_TAG + space + device + origin, digest_size=32).digest()


def next_hash(previous: bytes, entry: bytes) -> bytes:
    hashed = _entry_hash.copy()  # cheaper than a new one
    hashed.update(previous + entry)
    return hashed.digest()


def hash_after(previous: bytes, entries: Sequence[bytes]) -> bytes:
    """hₙ after several entries that follow `previous`."""
    for entry in entries:
        previous = next_hash(previous, entry)
    return previous


def signed_bytes(space: bytes, origin: bytes, seq: int, head: bytes) -> bytes:
    """What the author of a run signs: the head hash at its last entry."""
    return _RUN_TAG + space + origin + seq.to_bytes(8, "big") + head
