"""The streams of a process that was started without some of them, as by `peerd 2>&-` or a supervisor that closes them.

Python has None in their place then, and the system gives their numbers to whatever is opened next: what a library
writes to "stderr" would go into a database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal, TextIO

_STDERR = 2


def fill_in() -> None:
    """Let what is missing of stdin, stdout and stderr lead nowhere. Before anything else is opened."""
    lowest_free = os.open(os.devnull, os.O_RDWR)
    while lowest_free < _STDERR:
        lowest_free = os.open(os.devnull, os.O_RDWR)
    if lowest_free > _STDERR:
        os.close(lowest_free)
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")


def _nowhere(mode: Literal["r", "w"]) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8", errors="backslashreplace")
