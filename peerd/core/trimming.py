"""What of the log may go, and which ends of runs stay.

A run may go when everybody who counts has it and it is old enough. Who counts: the members that were heard of within
60 days, and the relays of the space unless they have failed for as long; each says by a clock what it has. Whoever does
not count holds nothing back, and takes a snapshot if it comes again. Alone, a copy goes by age only.

Runs go whole, and per origin from the front, so what is left begins at a *horizon*. Of what has gone, the ends of runs
stay for comparison with copies that stand there, as one may that was set back to a backup. There is a largest number
of them for each origin; beyond it the older half is thinned once more, but for those that members were last known to
stand at. All times are ages of the database (`daemon_time`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from peerd.core.clocks import Clock, ReadClock

ACTIVE_MS = 60 * 24 * 3600 * 1000
ENDS_PER_ORIGIN = 4_096


class Plan(Struct, frozen=True):
    """Runs may go that `clock` covers, that are older than `before_ms`, and whose position is at most `up_to`; ends at
    the positions of `standing` stay.
    """

    clock: Clock
    before_ms: int
    up_to: int
    standing: Mapping[bytes, Collection[int]] = {}


class Trimmed(Struct, frozen=True):
    """What went, and where the log of the origins begins that lost something."""

    runs: int = 0
    size_bytes: int = 0
    horizon: Clock = {}


class HeldBack(Struct, frozen=True):
    """Transactions that are old enough to go and that somebody lacks; `since_ms` is when the first of them came here,
    wall clock.
    """

    transactions: int = 0
    size_bytes: int = 0
    since_ms: int | None = None


def is_active(now_ms: int, heard_ms: int) -> bool:
    """Does somebody count who was last heard of, or admitted, at this age of the database?"""
    return now_ms - heard_ms < ACTIVE_MS


def held_by_all(clock: ReadClock, holders: Iterable[ReadClock]) -> Clock:
    """What of `clock`, our own, all of them have too."""
    common = dict(clock)
    for holder in holders:
        common = {origin: min(seq, holder.get(origin, 0)) for origin, seq in common.items()}
    return {origin: seq for origin, seq in common.items() if seq}


def standing_at(clocks: Iterable[ReadClock]) -> dict[bytes, set[int]]:
    """Where each of them stands, by origin."""
    found: dict[bytes, set[int]] = {}
    for clock in clocks:
        for origin, seq in clock.items():
            found.setdefault(origin, set()).add(seq)
    return found


def ends_too_many(seqs: Sequence[int], standing: Collection[int], limit: int) -> list[int]:
    """Of all kept ends of one origin, in order: those to drop, so that at most `limit` and those at which somebody
    stands are left. Every second of the older half goes, again and again.
    """
    left = list(seqs)
    gone: list[int] = []
    while len(left) - len(standing) > limit:
        half = len(left) // 2
        dropped = [seq for seq in left[:half:2] if seq not in standing]
        if not dropped:
            break
        gone += dropped
        left = sorted(set(left).difference(dropped))
    return gone
