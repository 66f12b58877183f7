"""How long something has lasted, by the time for which this device ran: over restarts, whatever a wall clock says.

A device that runs for minutes at a time has to notice what has lasted for hours, and one whose clock jumps must not
take a minute for a year. So such times are kept on a scale of their own, in the courier's memory: it goes on where it
stood when the memory was written last, and what passed since then is not counted.
"""

from __future__ import annotations

from peerd.protocol.relay.memory import Memory

_STEP_S = 60  # the memory is not written anew for less


class RunningTime:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._before_s = memory.ran_s
        self._started_s: float | None = None

    def at(self, now_s: float) -> float:
        """The moment `now_s` on the scale that goes on over restarts, in seconds."""
        if self._started_s is None:
            self._started_s = now_s
        return self._before_s + now_s - self._started_s

    def keep(self, now_s: float) -> None:
        """There are times on this scale that must outlive us: remember how late it is."""
        at_s = self.at(now_s)
        if at_s - self._memory.ran_s >= _STEP_S:
            self._memory.ran_s = int(at_s)
