"""An origin: one life of one device's copy of a space, 16 bytes that own a sequence of transactions.

    origin = first 16 bytes of BLAKE2b-256(tag, space, device, admission, nonce)

so an announcement proves itself: nobody can announce another device's origin as its own. The admission (the id of the
statement that admitted the device) is part of it because a removal closes the origins of one admission: a device that
is admitted again takes new origins, and those of its earlier life stay closed. PROTOCOL.md, "Origins".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated

from msgspec import Meta, Struct

_TAG = b"peerd/1 origin\0"

Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Id32 = Annotated[bytes, Meta(min_length=32, max_length=32)]


class Announcement(Struct, frozen=True, array_like=True, order=True):
    """What an origin is made of; it goes before the origin's first transaction wherever that goes."""

    device: Id32
    admission: Id16
    nonce: Id16


def origin_of(space: bytes, announcement: Announcement) -> bytes:
    """The origin (16 bytes) that this announcement makes in this space."""
    made_of = space + announcement.device + announcement.admission + announcement.nonce
    return blake2b(_TAG + made_of, digest_size=32).digest()[:16]
