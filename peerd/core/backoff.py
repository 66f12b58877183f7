"""When to dial again: exponential with full jitter (Brooker, "Exponential Backoff and Jitter", 2015).

A peer that was linked or sighted lately is worth a try every second or two, since it is most likely coming back; one
that has been away longer, or refuses us, is asked less and less, up to every five minutes. A sighting starts over.
Whatever else is tried again and again without chance doubles its pauses in the same way.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 300.0
FRESH_S = 300.0  # after a loss or a sighting
FRESH_LONGEST_S = 1.5


def doubling_s(first_s: float, longest_s: float, times: int) -> float:
    """Seconds to wait after something has failed `times` times (from 0) since it went well: twice as long each time."""
    return min(longest_s, first_s * 2.0 ** min(times, 16))


def delay_s(attempt: int, away_s: float, uniform: Callable[[float, float], float]) -> float:
    """Seconds to wait before attempt number `attempt` (from 1) at a peer that was last seen `away_s` ago."""
    if away_s < FRESH_S:
        return uniform(FRESH_LONGEST_S / 3, FRESH_LONGEST_S)
    ceiling = doubling_s(FIRST_S, LONGEST_S, attempt)
    return uniform(FIRST_S, max(FIRST_S, ceiling))
