"""How old a database is: the time for which a running daemon had it open. Whatever is kept for some days, and whoever
counts as present for some, is measured by it.

No jump of a wall clock may make everything old at once, so the age grows by the time that passed while running, as a
clock says that cannot jump. What passed while the daemon was off, or the machine asleep, counts too once the kernel
says that its clock is synchronised, and said so before: the age then catches up with the time between these two
moments. A jump between two such moments of one life of the daemon is none of time's: there the clock that also counts
sleep is the bound.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

SYNCHRONISED = 2  # the quality of such a clock


class Synced(Struct, frozen=True):
    """A moment at which the wall clock was synchronised, and how old the database was then."""

    age_ms: int
    wall_ms: int


class Age(Struct, frozen=True):
    ms: int = 0
    synced: Synced | None = None


class Passed(NamedTuple):
    """`elapsed_ms` of running since the last look; the wall clock now and its quality; and, if the last synchronised
    moment was in this life of the daemon, what passed since then with sleep counted.
    """

    elapsed_ms: int
    wall_ms: int
    quality: int
    since_synced_ms: int | None = None


def older(age: Age, passed: Passed) -> Age:
    """The age now; it never falls."""
    ms = age.ms + max(0, passed.elapsed_ms)
    if passed.quality < SYNCHRONISED:
        return Age(ms, age.synced)
    if age.synced is not None:
        between_ms = passed.wall_ms - age.synced.wall_ms
        if passed.since_synced_ms is not None:
            between_ms = min(between_ms, passed.since_synced_ms)
        ms = max(ms, age.synced.age_ms + between_ms)
    return Age(ms, Synced(ms, passed.wall_ms))
