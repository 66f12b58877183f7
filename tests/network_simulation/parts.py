"""What a simulated device has of its own: a clock that may be wrong, chance, keys; all drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from hashlib import blake2b, shake_256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.errors import RemoteProtocolError
from peerd.identity import Identity
from tests.network_simulation.virtual_loop import loop_here

_PROOF_BYTES = 48
START_MS = 1_750_000_000_000


@dataclass
class Calendar:
    """The days that passed beside what the loop counts: all devices share it."""

    skipped_ms: int = 0


@dataclass
class WallClock:
    """A device's idea of the time."""

    offset_ms: int = 0
    tq: int = 2
    calendar: Calendar = field(default_factory=Calendar)


class SimTimes:
    """Satisfies `engine.ports.Times`."""

    def __init__(self, clock: WallClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._loop = loop_here()
        self._started_s = self._loop.time()

    def wall_ms(self) -> int:
        now_ms = START_MS + self._clock.calendar.skipped_ms + round(self._loop.time() * 1000)
        return max(0, now_ms + self._clock.offset_ms)

    def monotonic_s(self) -> float:
        return self._loop.time() - self._started_s + 100.0

    def boottime_s(self) -> float:
        return self.monotonic_s()

    def quality(self) -> int:
        return self._clock.tq

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._chance.uniform(low, high)


class SimCrypto:
    """Real signatures. Sealing is a keyed hash and a mask, as long as the real thing: HPKE draws its chance from the
    system.
    """

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return Identity.verify(public_key, signature, data)

    def seal(self, recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
        return _proof(recipient, plaintext, info) + _masked(recipient, plaintext, info)


class SimKeys(Identity):
    """Satisfies `engine.ports.Keys`; drawn from the seed."""

    @classmethod
    def drawn(cls, chance: random.Random) -> SimKeys:
        return cls(
            Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)),
            X25519PrivateKey.from_private_bytes(chance.randbytes(32)),
        )

    def open(self, sealed: bytes, info: bytes, aad: bytes = b"") -> bytes:  # noqa: ARG002 - the real one has it
        plaintext = _masked(self.sealing_public_key, sealed[_PROOF_BYTES:], info)
        if _proof(self.sealing_public_key, plaintext, info) != sealed[:_PROOF_BYTES]:
            raise RemoteProtocolError("not sealed to us", code="bad-seal")
        return plaintext


def _masked(recipient: bytes, data: bytes, info: bytes) -> bytes:
    mask = shake_256(recipient + info).digest(len(data))
    return bytes(one ^ other for one, other in zip(data, mask, strict=True))


def _proof(recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
    return blake2b(info + plaintext, key=recipient, digest_size=_PROOF_BYTES).digest()
