"""Time and chance, touched in one place: everything else gets them as arguments.

The quality of the wall clock (`tq`) travels with every transaction and breaks ties between concurrent writes
only:

    2   the kernel says that something keeps the clock: a stated error below 16 s
    1   not that, but a peer agreed with it lately (`set_agreed`)
    0   neither

The kernel's word is `adjtimex`, read the way systemd-timedated reads it: the maximum error counts, the flag
STA_UNSYNC does not, since it may be set only to keep the kernel off the hardware clock. A sandbox may forbid
even reading; then systemd-timesyncd's mark of a completed synchronisation is taken instead.
"""

from __future__ import annotations

import ctypes
import os
import random
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMESYNCD_MARK: Final = Path("/run/systemd/timesync/synchronized")
_WORST_ERROR_US: Final = 16_000_000


class _Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h> up to what is read here, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    )


class Clock:
    """The machine's clocks and its chance. Reading any of them neither blocks nor fails."""

    def __init__(self) -> None:
        self._agreed = False
        self._chance = random.SystemRandom()

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC. May jump either way."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since some start; never goes back and stands still while the machine is suspended."""
        return time.monotonic()

    def boottime_s(self) -> float:
        """As `monotonic_s`, but time in suspend counts: the two drift apart by exactly that."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def quality(self) -> int:
        """How far `wall_ms` can be trusted: 0, 1 or 2 as in the table above."""
        if kernel_is_synchronised():
            return 2
        return 1 if self._agreed else 0

    def set_agreed(self, agreed: bool) -> None:  # noqa: FBT001 - the word is the method's name
        """Say whether some peer's clock agreed with ours lately; what lately means is the caller's rule."""
        self._agreed = agreed

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes fit for keys and nonces."""
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`, for spreading timers."""
        return self._chance.uniform(low, high)


def kernel_is_synchronised() -> bool:
    """Whether the kernel, or where that is forbidden systemd-timesyncd, says the wall clock is kept."""
    error_us = _kernel_error_us()
    if error_us is None:
        return _TIMESYNCD_MARK.exists()
    return error_us < _WORST_ERROR_US


def _kernel_error_us() -> int | None:
    adjtimex = _adjtimex()
    reading = _Timex(modes=0)
    if adjtimex is None or adjtimex(ctypes.byref(reading)) < 0:
        return None
    return int(reading.maxerror)


@cache
def _adjtimex() -> Callable[[object], int] | None:
    try:
        return ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError):
        return None
