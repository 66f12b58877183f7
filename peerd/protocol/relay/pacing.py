"""When to look, and how long to stay away after a failure."""

from __future__ import annotations

from peerd.core.backoff import doubling_s
from peerd.protocol.relay.courier_settings import DAY_S, CourierSettings
from peerd.protocol.relay.courier_steps import Moment

NOTICE_S = 2.0  # between two looks, however often somebody says that something changed
_GROWTH = 1.5
_SPREAD = 0.2
_FIRST_S, _LONGEST_S = 2.0, 900.0
_LASTING_S = 900.0


class Polling:
    """A look after every interval: short after activity, then longer and longer, never aligned with others'."""

    def __init__(self, settings: CourierSettings) -> None:
        self.next_s = 0.0
        self._settings = settings
        self._interval_s = settings.poll_min_s
        self._last_s = float("-inf")

    def done(self, moment: Moment) -> None:
        """We looked."""
        self._last_s = moment.now_s
        self.next_s = moment.now_s + self._interval_s * (1 - _SPREAD + 2 * _SPREAD * moment.chance)
        self._interval_s = min(self._settings.poll_max_s, self._interval_s * _GROWTH)

    def lively(self, moment: Moment) -> None:
        """Something happens there, or here: more of it may."""
        self._interval_s = self._settings.poll_min_s
        self.next_s = min(self.next_s, moment.now_s + self._interval_s)

    def now(self, moment: Moment) -> None:
        """Look before anything else."""
        self.next_s = min(self.next_s, moment.now_s)

    def soon(self, moment: Moment) -> None:
        """Look as soon as is decent."""
        self.next_s = min(self.next_s, max(moment.now_s, self._last_s + NOTICE_S))


class Patience:
    """Exponential with full jitter (Brooker, "Exponential Backoff and Jitter", 2015), unless we are told how long."""

    def __init__(self) -> None:
        self.until_s = float("-inf")
        self.trouble = ""  # the code of the last failure
        self.lasting = False
        self._failures = 0
        self._told = False  # it was the relay that said how long

    def failed(self, trouble: str, moment: Moment, retry_s: float | None, *, lasting: bool) -> None:
        """`retry_s`: how long we are asked to stay away, None if nobody says; `lasting`: soon is pointless."""
        self.trouble, self.lasting, self._told = trouble, lasting, retry_s is not None
        pause_s = doubling_s(_FIRST_S, _LONGEST_S, self._failures) * max(moment.chance, 0.05)
        self._failures += 1
        if lasting:
            pause_s = _LASTING_S
        if retry_s is not None:
            pause_s = min(max(retry_s, 0.1), DAY_S) * (1 + _SPREAD * moment.chance)
        self.until_s = max(self.until_s, moment.now_s + pause_s)

    def resume(self, until_s: float) -> None:
        """A pause that the relay asked for before a restart goes on."""
        self.until_s, self._told = until_s, True

    def succeeded(self) -> None:
        self.until_s, self.trouble, self.lasting, self._failures = float("-inf"), "", False, 0

    def insist(self) -> None:
        """A person wants to try now. A pause that the relay asked for is kept all the same."""
        if not self._told:
            self.until_s = float("-inf")

    def over(self, moment: Moment) -> bool:
        return moment.now_s >= self.until_s
