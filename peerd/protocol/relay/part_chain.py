"""The chain over the stored parts of a snapshot, and how it goes on when a snapshot that is taken in was cut.

A snapshot comes in for as long as it takes, over restarts. Where the chain stood before each of the last parts is kept
in the courier's memory, before a part is taken in: so the whole is checked, although nobody has it at once.
"""

from __future__ import annotations

from hashlib import blake2b

from peerd.protocol.relay.memory import Memory

KEPT = 512  # as many parts are taken in at once at most, if one thing is cut into very many of them

_TAG = b"peerd/1 relay snapshot\0"


def first_chain(snapshot: bytes) -> bytes:
    """The chain before the first part."""
    return blake2b(_TAG + snapshot, digest_size=32).digest()


def next_chain(previous: bytes, sealed: bytes) -> bytes:
    """The chain after a part with these stored bytes. After the last one it is the digest of a manifest."""
    return blake2b(_TAG + previous + blake2b(sealed, digest_size=32).digest(), digest_size=32).digest()


class PartChain:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def before(self, snapshot: bytes, number: int) -> bytes | None:
        """The chain before this part of what came of a snapshot; None if it is not known any more."""
        if number == 0:
            return first_chain(snapshot)
        return self._memory.taking.get(number) if self._memory.taking_of == snapshot else None

    def add(self, snapshot: bytes, number: int, chain: bytes) -> None:
        """It is `chain` before this part."""
        memory = self._memory
        if memory.taking_of != snapshot:
            memory.taking_of, memory.taking = snapshot, {}
        memory.taking.pop(number, None)
        memory.taking[number] = chain
        while len(memory.taking) > KEPT:
            del memory.taking[next(iter(memory.taking))]

    def forget(self) -> None:
        """Nothing is being taken in."""
        self._memory.taking_of, self._memory.taking = b"", {}
