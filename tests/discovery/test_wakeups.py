"""Standstills: which of the three clocks shows which of them, and a real process that is stopped."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from peerd.clock import Clock
from peerd.discovery import wakeups as module
from peerd.discovery.wakeups import Reading, StallDetector, watch_wakeups


def gaps(*steps: tuple[float, float, float]) -> list[float | None]:
    """What a detector with ticks of 5 s says after steps of (wall, monotonic, boottime) seconds."""
    detector = StallDetector(5.0)
    wall_s, monotonic_s, boottime_s = 1.7e9, 100.0, 200.0
    said = [detector.feed(Reading(wall_s, monotonic_s, boottime_s))]
    for step in steps:
        wall_s, monotonic_s, boottime_s = wall_s + step[0], monotonic_s + step[1], boottime_s + step[2]
        said.append(detector.feed(Reading(wall_s, monotonic_s, boottime_s)))
    return [None if gap_s is None else round(gap_s, 3) for gap_s in said]


def test_an_ordinary_life_is_silent() -> None:
    """Ticks come a little late, clocks are slewed a little."""
    assert gaps((5, 5, 5), (5.2, 5.1, 5.1), (9, 9, 9), (4.9, 5, 5)) == [None] * 5


def test_a_suspend_is_told_with_its_length() -> None:
    """The monotonic clock stood, the other two went on; the tick after is ordinary again."""
    assert gaps((3605, 5, 3605), (5, 5, 5)) == [None, 3600, None]
    assert gaps((8, 5, 8)) == [None, 3]


def test_a_stopped_process_is_told() -> None:
    """SIGSTOP: all clocks went on, only the ticks did not come."""
    assert gaps((65, 65, 65), (5, 5, 5)) == [None, 60, None]


def test_a_paused_virtual_machine_is_told_when_its_clock_is_put_right() -> None:
    """Its own clocks saw nothing; the wall clock jumps ahead."""
    assert gaps((5, 5, 5), (905, 5, 5)) == [None, None, 900]


def test_a_wall_clock_that_is_put_back_is_no_standstill() -> None:
    """Nor one that is moved a little."""
    assert gaps((-86400, 5, 5), (9, 5, 5)) == [None, None, None]


def test_suspend_and_stall_add_up() -> None:
    """A machine that is slow to come back."""
    assert gaps((125, 25, 125)) == [None, 120]


def test_any_readings_give_none_or_a_positive_gap() -> None:
    """Clocks of odd machines may do anything."""
    chance = random.Random(2)
    detector = StallDetector()
    for _ in range(5000):
        gap_s = detector.feed(Reading(*(chance.uniform(-1e6, 1e6) for _ in range(3))))
        assert gap_s is None or gap_s > 0


async def test_nobody_ticks_faster_than_allowed() -> None:
    """An idle laptop is not woken for this."""
    with pytest.raises(ValueError, match="more often"):
        await watch_wakeups(Clock(), lambda _: None, tick_s=1.0)


async def test_the_watch_tells_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every standstill is told; a real clock in between tells nothing."""
    monkeypatch.setattr(module, "TICK_S", 0.01)

    class Sleepy(Clock):
        slept_s = 0.0

        def boottime_s(self) -> float:
            return super().boottime_s() + self.slept_s

        def wall_ms(self) -> int:
            return super().wall_ms() + int(self.slept_s * 1000)

    clock = Sleepy()
    told: asyncio.Queue[float] = asyncio.Queue()
    task: asyncio.Task[Any] = asyncio.create_task(watch_wakeups(clock, told.put_nowait, tick_s=0.01))
    for slept_s in (100.0, 50.0):
        await asyncio.sleep(0.05)
        assert told.empty()
        clock.slept_s += slept_s
        assert round(await asyncio.wait_for(told.get(), 10)) == slept_s
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


STOPPED = """
import asyncio, sys
from peerd.clock import Clock
from peerd.discovery import wakeups
wakeups.TICK_S, wakeups.LEAST_STALL_S = 0.1, 1.0
async def main():
    watching = asyncio.create_task(
        wakeups.watch_wakeups(Clock(), lambda gap_s: print(gap_s, flush=True), tick_s=0.1)
    )
    await asyncio.sleep(0.3)
    print("ready", flush=True)
    await asyncio.wait_for(watching, 30)
asyncio.run(main())
"""


def test_a_real_process_notices_that_it_was_stopped() -> None:
    """SIGSTOP and SIGCONT, as a debugger or a container that is frozen would do."""
    # Standstills of the test machine before "ready" would be told too; they are read over.
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any(line == "ready\n" for line in process.stdout)
            process.send_signal(signal.SIGSTOP)
            time.sleep(2.0)  # the standstill itself
            process.send_signal(signal.SIGCONT)
            assert float(process.stdout.readline()) >= 1.0
        finally:
            process.kill()
