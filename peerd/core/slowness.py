"""What took too long lately, and whether that is worth a word: pure, times are seconds of a monotonic clock.

One hiccup is none: a disk that wakes up, a machine that was busy once. It is told when several came within an hour, or
one was very long, and no longer once nothing took too long for a while.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WINDOW_S: Final = 3600.0
_KEPT: Final = 1_000


class Slow(NamedTuple):
    """How long the longest took, and how many there were, in the last hour."""

    longest_s: float
    times: int


class Slowness:
    """From `least_s` on something took too long; from `long_s` on once is enough, otherwise `many` times. After
    `fresh_s` without it is over. One thread tells, others may ask.
    """

    def __init__(self, *, least_s: float, long_s: float, many: int = 3, fresh_s: float = 300.0) -> None:
        self.least_s, self.long_s, self.many, self.fresh_s = least_s, long_s, many, fresh_s
        self._spells: tuple[tuple[float, float], ...] = ()  # when it ended, and what it took
        self._since_s: float | None = None

    def begins(self, now_s: float) -> None:
        """Something that may take long has begun; `took` ends it."""
        self._since_s = now_s

    def took(self, now_s: float, seconds: float) -> bool:
        """It took so long, and is over now. True if that was too long."""
        self._since_s = None
        if seconds < self.least_s:
            return False
        self._spells = (*self._recent(now_s), (now_s, seconds))[-_KEPT:]
        return True

    def _recent(self, now_s: float) -> tuple[tuple[float, float], ...]:
        return tuple(one for one in self._spells if now_s - one[0] < WINDOW_S)

    def lately(self, now_s: float) -> Slow:
        """What there was in the last hour, also if it is not worth a word; what goes on counts."""
        spells, since_s = self._recent(now_s), self._since_s
        lengths = [seconds for _, seconds in spells]
        if since_s is not None and now_s - since_s >= self.least_s:
            lengths.append(now_s - since_s)
        return Slow(max(lengths, default=0.0), len(lengths))

    def standing(self, now_s: float) -> Slow | None:
        """The same, while it is worth a word."""
        slow, spells, since_s = self.lately(now_s), self._spells, self._since_s
        goes_on = since_s is not None and now_s - since_s >= self.least_s
        is_fresh = goes_on or (bool(spells) and now_s - spells[-1][0] < self.fresh_s)
        return slow if is_fresh and (slow.times >= self.many or slow.longest_s >= self.long_s) else None
