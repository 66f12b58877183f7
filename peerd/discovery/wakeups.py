"""Notices that this process stood still: the machine was suspended, or somebody stopped it (SIGSTOP, a debugger, a
paused virtual machine). Links that looked alive may be dead; whoever is told dials again.

Three clocks tell which it was. Between two readings
    boottime runs ahead of monotonic                 the machine was suspended for the difference
    monotonic runs ahead of the tick                 the process did not run for the difference
    the wall clock runs ahead of boottime            a virtual machine was paused, or the clock was set
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_S: Final = 5.0
LEAST_SUSPEND_S: Final = 2.0
LEAST_STALL_S: Final = 10.0


class Clocks(Protocol):
    """What is read here (`peerd.clock.Clock`)."""

    def wall_ms(self) -> int: ...
    def monotonic_s(self) -> float: ...
    def boottime_s(self) -> float: ...


class Reading(msgspec.Struct, frozen=True):
    wall_s: float
    monotonic_s: float
    boottime_s: float


class StallDetector:
    """Pure: feed it a reading about every `tick_s`."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._last: Reading | None = None

    def feed(self, reading: Reading) -> float | None:
        """For how many seconds the process stood still since the last reading, or None if it did not."""
        last, self._last = self._last, reading
        if last is None:
            return None
        monotonic_s = reading.monotonic_s - last.monotonic_s
        boottime_s = reading.boottime_s - last.boottime_s
        suspended_s = boottime_s - monotonic_s
        stalled_s = monotonic_s - self._tick_s
        jumped_s = reading.wall_s - last.wall_s - boottime_s
        gap_s = 0.0
        if suspended_s >= LEAST_SUSPEND_S:
            gap_s += suspended_s
        if stalled_s >= LEAST_STALL_S:
            gap_s += stalled_s
        if jumped_s >= LEAST_STALL_S:
            gap_s += jumped_s
        return gap_s or None


async def watch_wakeups(clocks: Clocks, on_wake: Callable[[float], object], tick_s: float = TICK_S) -> None:
    """Call `on_wake(gap_s)` within a tick of every standstill, until cancelled. A tick below `TICK_S` is refused."""
    if tick_s < TICK_S:
        raise ValueError(f"an idle daemon does not tick more often than every {TICK_S} s")
    detector = StallDetector(tick_s)
    while True:
        gap_s = detector.feed(_read(clocks))
        if gap_s is not None:
            on_wake(gap_s)
        await asyncio.sleep(tick_s)


def _read(clocks: Clocks) -> Reading:
    return Reading(clocks.wall_ms() / 1000, clocks.monotonic_s(), clocks.boottime_s())
