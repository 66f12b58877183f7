"""The names of objects on a relay: 64 hex digits that tell nothing to whoever lacks the space's names key.

A name is keyed BLAKE2b (RFC 7693) of the kind, an id and a number, under `core.roster.epochs.names_key`: it lives as
long as the space, so that a device finds the heads of others whatever happened to the keys meanwhile. PROTOCOL.md,
"Relays".
"""

from __future__ import annotations

from hashlib import blake2b


def head_name(key: bytes, device: bytes) -> str:
    return _name(key, b"head", device, 0)


def segment_name(key: bytes, stream: bytes, number: int) -> str:
    return _name(key, b"segm", stream, number)


def part_name(key: bytes, snapshot: bytes, number: int) -> str:
    return _name(key, b"part", snapshot, number)


def roster_name(key: bytes, roster_part: bytes) -> str:
    return _name(key, b"rost", roster_part, 0)


def ticket_name(key: bytes, ticket: bytes) -> str:
    """Where a device that came by an invitation file introduces itself."""
    return _name(key, b"tick", ticket, 0)


def answer_name(key: bytes, ticket: bytes) -> str:
    """Where it is answered."""
    return _name(key, b"tick", ticket, 1)


def _name(key: bytes, kind: bytes, owner: bytes, number: int) -> str:
    return blake2b(kind + owner.ljust(32, b"\0") + number.to_bytes(8, "big"), key=key, digest_size=32).hexdigest()
