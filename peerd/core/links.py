"""Which links there should be, and which of two stays. Both sides compute the same without a message."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from msgspec import Struct

MESH_MEMBERS = 16  # up to here everybody links with everybody
CHOSEN_LINKS = 8
RANDOM_LINKS = 4


class LinkFacts(Struct, frozen=True):
    """Of one link: did we dial; their boot, from their HELLO; the dial's number, from the dialling side's HELLO."""

    dialed: bool
    their_boot: bytes
    counter: int


def newcomer_stays(ours: bytes, theirs: bytes, existing: LinkFacts, newcomer: LinkFacts) -> bool:
    """Of two links with one device, does the newcomer replace the existing one?

    Another boot means that the process at the other end of the existing link is gone. Otherwise, dialled by different
    sides: the one dialled by the smaller device id stays; by the same side: the later dial, for nobody dials again
    unless the link before is lost to it.
    """
    if existing.their_boot != newcomer.their_boot:
        return True
    if existing.dialed != newcomer.dialed:
        return (ours < theirs) == newcomer.dialed
    return newcomer.counter > existing.counter


def chosen(
    ours: bytes, members: Collection[bytes], random_ranks: dict[bytes, float], away: Collection[bytes] = ()
) -> set[bytes]:
    """The devices to keep links with: all of a small space; of a large one those that rendezvous hashing (Thaler and
    Ravishankar, 1998) gives to this pair, plus a few at random, so that a device's cost does not grow with the space.

    `random_ranks` gives a random number per device, drawn once by the caller. Those that are `away` are tried all the
    same, and keep nobody from others: beside them as many are chosen as if they were no members.
    """
    others = sorted(set(members) - {ours})
    if len(others) < MESH_MEMBERS:
        return set(others)
    about = [other for other in others if other not in away]
    return _some(ours, others, random_ranks) | _some(ours, about, random_ranks)


def _some(ours: bytes, others: Collection[bytes], random_ranks: dict[bytes, float]) -> set[bytes]:
    weights = {other: _weight(ours, other) for other in others}
    best = sorted(others, key=weights.__getitem__, reverse=True)[:CHOSEN_LINKS]
    lucky = sorted(others, key=lambda other: random_ranks.get(other, 0.0), reverse=True)[:RANDOM_LINKS]
    return {*best, *lucky}


def _weight(one: bytes, other: bytes) -> bytes:
    """The same for both of a pair."""
    return blake2b(min(one, other) + max(one, other), digest_size=8).digest()
