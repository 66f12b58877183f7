"""How it goes with one relay: what failed last, for how long it is left alone, and since when nothing works. What has
to outlive us of that is kept in the memory.
"""

from __future__ import annotations

from peerd.protocol.relay.courier_settings import DAY_S
from peerd.protocol.relay.courier_steps import Moment
from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.pacing import Patience
from peerd.protocol.relay.running_time import RunningTime


class Health:
    """`patience` is with all of it, `full` with what adds to it, whatever keeps it from that."""

    def __init__(self, memory: Memory, ran: RunningTime) -> None:
        self.patience = Patience()
        self.full = Patience()
        self.success_ms: int | None = memory.success_ms or None
        self._memory = memory
        self._ran = ran

    @property
    def trouble(self) -> str:
        """The code of a failure that stands: the last step's, or why nothing can be left."""
        return self.patience.trouble or self.full.trouble

    def failing_s(self, moment: Moment) -> float:
        """For how long nothing has worked, or nothing could be left: of the time for which this device ran."""
        since_s = self._memory.failing_s
        return 0.0 if since_s is None else max(0.0, self._ran.at(moment.now_s) - since_s)

    def resume(self, moment: Moment) -> None:
        """A pause that the relay asked for before a restart goes on."""
        pause_s = min((self._memory.paused_until_ms - moment.wall_ms) / 1000, DAY_S)
        if pause_s > 0:
            self.patience.resume(moment.now_s + pause_s)

    def went_well(self, moment: Moment, *, durable: bool) -> None:
        """A step was done; `durable`: it added to the relay."""
        self.patience.succeeded()
        self.success_ms = moment.wall_ms
        if durable:
            self.full.succeeded()
            self._memory.success_ms = moment.wall_ms
        if not self.trouble:
            self._memory.failing_s = None

    def failed(self, trouble: str, moment: Moment, retry_s: float | None, *, lasting: bool, adding: bool) -> None:
        """A step could not be done. `adding`: that says nothing of what does not add to the relay."""
        if self._memory.failing_s is None:
            self._memory.failing_s = int(self._ran.at(moment.now_s))
        if adding:
            self.full.failed(trouble, moment, retry_s, lasting=lasting)
            return
        self.patience.failed(trouble, moment, retry_s, lasting=lasting)
        if retry_s is not None:
            self._memory.paused_until_ms = moment.wall_at(self.patience.until_s)

    def insist(self) -> None:
        """A person wants to try now."""
        self.patience.insist()
        self.full.insist()
