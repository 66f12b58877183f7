"""A space with two epochs and its devices, for tests of what is sealed."""

from __future__ import annotations

from hashlib import shake_256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.core.roster import epochs
from peerd.identity import Identity
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay.objects import Head, SignedHead, first_chain

SPACE: Final = b"space of a test!"
FIRST_SECRET, SECOND_SECRET = b"1" * 32, b"2" * 32
NAMES_KEY = epochs.names_key(SPACE, FIRST_SECRET)
FIRST, SECOND = (epochs.relay_keys(SPACE, secret) for secret in (FIRST_SECRET, SECOND_SECRET))
STREAM = b"a stream of ours"


def noise(count: int, what: str = "noise") -> bytes:
    """Bytes that do not compress, the same in every run."""
    return shake_256(what.encode()).digest(count)


class Chance:
    """Random bytes that are the same in every run."""

    def __init__(self, seed: str = "chance") -> None:
        self._seed = seed
        self._drawn = 0

    def __call__(self, count: int) -> bytes:
        self._drawn += 1
        return noise(count, f"{self._seed} {self._drawn}")


def identity(name: str) -> Identity:
    return Identity(
        Ed25519PrivateKey.from_private_bytes(noise(32, f"signs {name}")),
        X25519PrivateKey.from_private_bytes(noise(32, f"opens {name}")),
    )


def segment_name(number: int) -> str:
    return relay_names.segment_name(NAMES_KEY, STREAM, number)


def head_name(who: Identity) -> str:
    return relay_names.head_name(NAMES_KEY, who.device)


def signed(who: Identity, head: Head) -> SignedHead:
    data = relay_objects.encode(head)
    return SignedHead(who.device, who.sign(relay_objects.head_signing_input(SPACE, who.device, data)), data)


def a_head() -> Head:
    return Head(counter=1, t_ms=1_700_000_000_000, stream=STREAM, next=1, chain=first_chain(STREAM))
