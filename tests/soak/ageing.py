"""Daemons whose days are short: what to run first in their process (`Device.meddle`)."""

from __future__ import annotations

DAY_S = 24 * 3600.0

_AGEING = """
import asyncio, time
from peerd import clock, daemon
from peerd.engine.upkeep import housekeeping

SCALE, BEGAN_S = {scale!r}, {began_s!r}

def wall_ms(self):
    return round((BEGAN_S + (time.time() - BEGAN_S) * SCALE) * 1000)

elapsed_ms = housekeeping.Housekeeping._elapsed_ms

def more_elapsed_ms(self):
    return round(elapsed_ms(self) * SCALE)

async def never_woken(*_):
    await asyncio.Event().wait()

daemon.watch_wakeups = never_woken  # or each second would be a week of sleep
clock.Clock.wall_ms = wall_ms
clock.Clock.quality = lambda self: 2
housekeeping.LOOK_S = housekeeping.EVERY_S = {every_s!r}
housekeeping.Housekeeping._elapsed_ms = more_elapsed_ms
"""


def ageing(scale: float, began_s: float, every_s: float) -> str:
    """The wall clock, which is said to be kept by the kernel, and what housekeeping calls the time that passed run
    `scale` times as fast since `began_s` (seconds since 1970); housekeeping comes every `every_s` real seconds. The
    timers of links stay as they are: the network is as slow as ever.
    """
    return _AGEING.format(scale=scale, began_s=began_s, every_s=every_s)
