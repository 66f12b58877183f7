"""How much of the time a bound file may be locked by us: three hundredths, and a store of it for what comes in between.

Whoever writes to a file at a random moment meets our lock about as often as that. It is enough for an edit each second
that locks the file for 30 ms, as without a WAL on a slow disk: what somebody does in a quiet file goes out at once.
Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

SHARE = 0.03
STORE_S = 0.3


class Budget:
    """Begins full."""

    def __init__(self) -> None:
        self._left_s = STORE_S
        self._at_s = 0.0

    def spend(self, now_s: float, seconds: float) -> None:
        """The file was locked for so long. More than there is may be spent: then it is missing later."""
        self._left_s = min(STORE_S, self._left_s + max(0.0, now_s - self._at_s) * SHARE) - seconds
        self._at_s = now_s

    @property
    def ready_s(self) -> float:
        """When there is something to spend; in the past if there is."""
        return self._at_s - self._left_s / SHARE
