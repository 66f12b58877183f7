"""Heads of devices that were removed: looked at for a while, for what their rosters say and nothing else.

Two members may remove each other, each without knowing of the other removal. One of them stays (`core.roster.removal`),
and whoever heard of the wrong removal first learns that only from the head of the one that stays, or of somebody who
knows. So such heads are looked at for HEEDED_S of running (`running_time`: who was off has not looked) after the
removal was first seen here, of the HEEDED devices that were removed last; one that told nothing new is looked at again
rarer and rarer, however often it is written.
"""

from __future__ import annotations

from peerd.core.backoff import doubling_s
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import Moment, Standing
from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.running_time import RunningTime

HEEDED_S = 60 * DAY_S
_LONGEST_S = HOUR_S / 2  # between two looks at one of them


class FormerHeads:
    """`devices` are those whose heads are worth a look."""

    def __init__(self, memory: Memory, ran: RunningTime, settings: CourierSettings) -> None:
        self.devices: list[bytes] = []
        self._memory = memory
        self._ran = ran
        self._first_s = settings.poll_min_s
        self._looked: dict[bytes, tuple[int, float]] = {}  # how often, and until when not again

    def update(self, standing: Standing, moment: Moment) -> None:
        """Who is removed may have changed, and so has the time."""
        known, at_s = self._memory.removed, int(self._ran.at(moment.now_s))
        self._memory.removed = {device: min(known.get(device, at_s), at_s) for device in standing.removed}
        since = self._memory.removed
        self.devices = [device for device in standing.removed if at_s - since[device] < HEEDED_S]
        self._looked = {device: looked for device, looked in self._looked.items() if device in since}

    def worth(self, device: bytes, now_s: float) -> bool:
        """Is its head, which changed, worth a look now? That of a member always is."""
        return device not in self.devices or self._looked.get(device, (0, 0.0))[1] <= now_s

    def told_nothing(self, device: bytes, now_s: float) -> None:
        """Its head was looked at, and it stays removed."""
        times, _ = self._looked.get(device, (0, 0.0))
        self._looked[device] = times + 1, now_s + doubling_s(self._first_s, _LONGEST_S, times)

    def look_now(self) -> None:
        """Somebody waits."""
        self._looked = {device: (times, 0.0) for device, (times, _) in self._looked.items()}
