"""What somebody who has not proved anything yet may take: pure arithmetic, with the time as an argument.

A connection counts from the moment it is accepted until its link is authenticated or it is gone. A link that
pairs or introduces itself is upgraded but not authenticated, so it counts as long as it lasts. What is over a
limit is closed at once, before a TLS handshake is paid for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

MAX_FRAME_BYTES = 1 << 20
MAX_PAIRING_FRAME_BYTES = 16 << 10
MAX_REQUEST_BYTES = 16 << 10


@dataclass(frozen=True)
class Limits:
    """The bounds of a listener before authentication; `links_per_device` is the one that holds after it."""

    opening_s: float = 5.0
    per_address: int = 4
    in_all: int = 32
    handshakes_per_s: float = 10.0
    links_per_device: int = 8


class Gate:
    """Counts the unauthenticated connections of one listener."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._limits = limits
        self._tokens = limits.handshakes_per_s
        self._filled_at_s = now_s
        self._open: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many connections count at the moment."""
        return self._open.total()

    def enter(self, host: str, now_s: float) -> str | None:
        """Count a connection from this host at this monotonic time; or say which limit forbids it."""
        self._fill(now_s)
        if self._open.total() >= self._limits.in_all:
            return "too many connections that have not said who they are"
        if self._open[host] >= self._limits.per_address:
            return "too many connections from this address"
        if self._tokens < 1:
            return "too many handshakes a second"
        self._tokens -= 1
        self._open[host] += 1
        return None

    def leave(self, host: str) -> None:
        """A connection from this host counts no longer: it has become a link, or is gone."""
        self._open[host] -= 1
        if self._open[host] <= 0:
            del self._open[host]

    def _fill(self, now_s: float) -> None:
        rate = self._limits.handshakes_per_s
        self._tokens = min(rate, self._tokens + (now_s - self._filled_at_s) * rate)
        self._filled_at_s = now_s
