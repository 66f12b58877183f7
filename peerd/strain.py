"""What the machine gives too little of: file descriptors, a disk that writes in time, a processor for our loop.

Nothing is asked more often than every two seconds: how many descriptors are open is counted then, what writes take is
measured where they are made, and a loop that stood still is one whose timer comes late. A process that was stopped
(SIGSTOP, a debugger) is not a busy one: the system says so with SIGCONT when it goes on. While the machine is suspended
the clock of timers stands.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from peerd import logs
from peerd.core.slowness import Slow, Slowness
from peerd.errors import MORE_FILES

log = logs.get(__name__)

TICK_S: Final = 2.0
LEAST_STALL_S: Final = 2.0
LONG_STALL_S: Final = 10.0
_FEWEST: Final = 10  # descriptors that should be left, or the share below
_SHARE: Final = 20
_SIGNAL_TURNS: Final = 3  # of the loop, until a signal is heard that came before the timer
_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})

_FILES_STEP: Final = f"{MORE_FILES} It goes on by itself when some are free; /proc/PID/fd shows what is open."
_DISK_STEP: Final = (
    "Look what else writes to that disk (`iotop`), and for errors in the kernel's log; or move device.state_dir to a "
    "faster one. Nothing is lost: what is not written yet was not acknowledged."
)
_BUSY_STEP: Final = (
    "Look what takes the processor or the memory (`top`). While it stands still, links may break and applications wait."
)


class Clock(Protocol):
    def monotonic_s(self) -> float: ...


class Files(NamedTuple):
    """How many descriptors are open (None: not even that can be counted), and how many may be."""

    open: int | None
    limit: int


class Strain:
    """`writes()` gives what is kept of the commits of each space. `rounds` counts the looks that `watch` took."""

    def __init__(self, clock: Clock, writes: Callable[[], Iterable[Slowness]]) -> None:
        self.stalls = Slowness(least_s=LEAST_STALL_S, long_s=LONG_STALL_S)
        self._clock = clock
        self._writes = writes
        self.rounds = 0
        self._was_stopped = False
        self._told: dict[str, str] = {}

    def continued(self) -> None:
        """The process had been stopped, and goes on (SIGCONT)."""
        self._was_stopped = True

    async def watch(self) -> None:
        """Measure the loop, and log what comes and goes, until cancelled."""
        while True:
            due_s = self._clock.monotonic_s() + TICK_S
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic_s()
            for _ in range(_SIGNAL_TURNS):
                await asyncio.sleep(0)
            if not self._was_stopped:
                self.stalls.took(now_s, now_s - due_s)
            self._was_stopped = False
            self.rounds += 1
            self._log()

    def _log(self) -> None:
        now = {code: cause for code, cause, _ in self._found()}
        for code in now.keys() - self._told.keys():
            log.warning("machine falls short", code=code, cause=now[code])
        for code in self._told.keys() - now.keys():
            log.info("machine does its part again", code=code)
        self._told = now

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong, each with what to do."""
        return [(cause, step) for _, cause, step in self._found()]

    def _found(self) -> Iterable[tuple[str, str, str]]:
        """Code, cause and next step."""
        files = self.files()
        if files.open is None or files.limit - files.open <= 0:
            text = f"no file descriptors are left (limit {files.limit:,}): no file is opened, no other device let in"
            yield "too-many-files", text, _FILES_STEP
        elif (left := files.limit - files.open) < max(_FEWEST, files.limit // _SHARE):
            yield "too-many-files", f"only {left} of {files.limit:,} file descriptors are left", _FILES_STEP
        now_s = self._clock.monotonic_s()
        slow = max((one for one in (writes.standing(now_s) for writes in self._writes()) if one), default=None)
        if slow is not None:
            yield "disk-slow", f"the disk takes {slow.longest_s:.1f} s for a write, {_times(slow)}", _DISK_STEP
        stall = self.stalls.standing(now_s)
        if stall is not None:
            text = f"the machine is too busy: peerd's loop stood still for {stall.longest_s:.1f} s, {_times(stall)}"
            yield "machine-busy", text, _BUSY_STEP

    def files(self) -> Files:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            return Files(len(os.listdir("/proc/self/fd")) - 1, limit)  # noqa: PTH208 - one of them is ours
        except OSError as problem:
            return Files(None if problem.errno in _NONE_LEFT else 0, limit)

    def slowest_write_s(self) -> float:
        """Of those of the last hour that took too long; 0 if none did."""
        now_s = self._clock.monotonic_s()
        return max((one.lately(now_s).longest_s for one in self._writes()), default=0.0)

    def stalled(self) -> Slow:
        """How often the loop stood still in the last hour, and the longest time."""
        return self.stalls.lately(self._clock.monotonic_s())


def _times(slow: Slow) -> str:
    return f"{slow.times} time{'s' * (slow.times != 1)} in the last hour"
