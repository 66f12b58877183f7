"""How far the origins of those who left are accepted, and what a member has to vouch for.

The maximum of what members say in standing removals and in vouches stands; of equal numbers with different hashes (a
fork) the smaller hash, since holders of the larger one do the recopy. The word of who is no member any more does not
count, or a device could vouch, before it is removed, for what it will write afterwards. Whoever has applied what it had
vouched for in good faith vouches for that anew.

A close that names both variants of a fork lets one of them stand, whoever the origin's device is: of all that closes
name behind one common end, the run with the smallest hash, and what follows it. Nothing of the others is accepted. A
close that does not name two says no more than that the origin's device is to take another one. It bounds nothing: any
member may state it, and what some have applied and the others must not would part them for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from peerd.core.origin import Announcement
from peerd.core.roster.lineage import Entry, Lineage
from peerd.core.roster.removal import Verdict
from peerd.core.roster.statements import FINALS, Close, Final, Remove, Vouch


class ClosedFork(Struct, frozen=True):
    """An origin that went two ways (or more) after `seq`: the run that ends at `stands` goes on there, those that end
    at one of `falls` are not accepted.
    """

    origin: bytes
    seq: int
    hash: bytes
    stands: Final
    falls: tuple[Final, ...]


class Accepted(Struct, frozen=True):
    """`closed` are the origins that closes name, `forks` what those of two variants say, in the order of their seqs."""

    finals: dict[bytes, Final]
    closed: frozenset[bytes]
    forks: dict[bytes, tuple[ClosedFork, ...]]


class Limits(Protocol):
    """What vouching needs of a roster."""

    def is_member(self, device: bytes) -> bool: ...
    def final(self, origin: bytes) -> Final | None: ...
    def limit_of(self, origin: bytes, announcement: Announcement) -> int | None: ...


def accepted(lineage: Lineage, verdict: Verdict) -> Accepted:
    """What all counting statements say together about where origins end."""
    finals: dict[bytes, Final] = {}
    closed: set[bytes] = set()
    ends: dict[tuple[bytes, int, bytes], set[Final]] = {}
    for entry in lineage.entries.values():
        if entry.id in verdict.void:
            continue
        match entry.body:
            case Remove() as body if entry.id in verdict.standing and _is_of_member(entry, verdict):
                _raise(finals, body.finals)
            case Vouch() as body if _is_of_member(entry, verdict):
                _raise(finals, body.finals)
            case Close() as body:
                closed.add(body.origin)
                if body.ends:
                    ends.setdefault((body.origin, body.seq, body.hash), set()).update(body.ends)
    return Accepted(finals, frozenset(closed), _forks(ends))


def _is_of_member(entry: Entry, verdict: Verdict) -> bool:
    return entry.acting is not None and verdict.is_open(entry.acting)


def _forks(ends: Mapping[tuple[bytes, int, bytes], set[Final]]) -> dict[bytes, tuple[ClosedFork, ...]]:
    found: dict[bytes, tuple[ClosedFork, ...]] = {}
    for (origin, seq, hash_there), variants in sorted(ends.items()):
        stands, *falls = sorted(variants, key=lambda end: (end.hash, end.seq))
        fork = ClosedFork(origin, seq, hash_there, stands, tuple(falls))
        found[origin] = (*found.get(origin, ()), fork)
    return found


def vouches_due(
    roster: Limits,
    device: bytes,
    applied: Mapping[bytes, tuple[int, bytes]],
    announcements: Mapping[bytes, Announcement],
) -> dict[bytes, Final]:
    """What `device` (us) has to vouch for, having applied this: {origin: (seq, first 8 bytes of the hash there)}.
    To be asked again whenever the roster grows, and vouched before anything else is said; empty if nothing is due or
    we are no member. At most as many origins as one statement holds.
    """
    if not roster.is_member(device):
        return {}
    due: dict[bytes, Final] = {}
    for origin in sorted(applied):
        seq, hash_there = applied[origin]
        announcement = announcements.get(origin)
        if announcement is None or len(due) == FINALS:
            continue
        limit = roster.limit_of(origin, announcement)
        final = roster.final(origin)
        if limit is not None and limit < seq and (final.seq if final else 0) < seq:
            due[origin] = Final(seq, hash_there)
    return due


def _raise(finals: dict[bytes, Final], by: Mapping[bytes, Final]) -> None:
    for origin, final in by.items():
        before = finals.get(origin)
        if before is None or (final.seq, _falling(final.hash)) > (before.seq, _falling(before.hash)):
            finals[origin] = final


def _falling(hash_there: bytes) -> int:
    return -int.from_bytes(hash_there, "big")
