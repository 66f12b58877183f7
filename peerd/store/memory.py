"""Memory that was freed and that the C library keeps for what comes next."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give it back to the system, if it is glibc that keeps it (malloc_trim(3)). It takes some milliseconds, in which
    other threads run.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
