"""When a container may be asked again. One gate for all spaces and operations of a container.

A wait that the service asks for may be a day and more, and counts over restarts: it stands in a file, with the moment
at which it was asked for, so that a clock that jumps never makes it longer. A wait of our own (the service is ill and
does not say for how long) is short and only in memory; it is exponential, 2 s to 15 min with full jitter (Brooker,
"Exponential Backoff and Jitter", 2015).
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Protocol

import msgspec

from peerd import logs

FIRST_S = 2.0
LONGEST_S = 900.0
OBEYED_S = 7 * 86_400.0  # Apple's own example asks for 30.6 hours; a number beyond this one is a mistake of somebody's

_MAX_FILE_BYTES = 4096
_log = logs.get(__name__)


class Times(Protocol):
    """What is needed of the clock; `engine.ports.Times` has it."""

    def wall_ms(self) -> int: ...
    def boottime_s(self) -> float: ...
    def uniform(self, low: float, high: float) -> float: ...


class _Kept(msgspec.Struct, frozen=True):
    asked_ms: int
    not_before_ms: int
    why: str = ""


class Gate:
    """Closed until a moment, and why. `file` is made when it is first needed, and its folder must exist then."""

    def __init__(self, file: Path, times: Times) -> None:
        self._file = file
        self._times = times
        self._not_before_s = -inf
        self._attempts = 0
        self.why = ""
        self._recall()

    def wait_s(self) -> float:
        """How long it stays closed, 0 when it is open. Time in suspend counts."""
        return max(0.0, self._not_before_s - self._times.boottime_s())

    def asked(self, wait_s: float, why: str) -> float:
        """The service wants us to stay away for so long. Never shortens a wait. Gives the whole wait."""
        wait_s = min(max(wait_s, 0.0), OBEYED_S)
        if wait_s > self.wait_s():
            self._close(wait_s, why)
            now_ms = self._times.wall_ms()
            self._keep(_Kept(now_ms, now_ms + int(wait_s * 1000), why))
        return self.wait_s()

    def ill(self, why: str) -> float:
        """The service failed, and said nothing of when to come back. Gives the whole wait."""
        self._attempts = min(self._attempts + 1, 16)
        ceiling = min(LONGEST_S, FIRST_S * 2.0 ** (self._attempts - 1))
        wait_s = self._times.uniform(0.0, ceiling)
        if wait_s > self.wait_s():
            self._close(wait_s, why)
        return self.wait_s()

    def well(self) -> None:
        """It answered as it should."""
        self._attempts = 0

    def _close(self, wait_s: float, why: str) -> None:
        self._not_before_s = self._times.boottime_s() + wait_s
        self.why = why

    # --- the file: small and rarely written. Without fsync: losing it costs one request too many ---------------------

    def _keep(self, kept: _Kept) -> None:
        new = self._file.with_name(self._file.name + ".new")
        try:
            new.write_bytes(msgspec.json.encode(kept))
            new.replace(self._file)
        except OSError as error:
            _log.warning("a wait of the relay cannot be kept", path=str(self._file), cause=error.strerror)
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def _recall(self) -> None:
        try:
            with self._file.open("rb") as opened:
                kept = msgspec.json.decode(opened.read(_MAX_FILE_BYTES), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("a kept wait of the relay cannot be read", path=str(self._file), cause=str(error))
            return
        asked_for_ms = min(kept.not_before_ms - kept.asked_ms, int(OBEYED_S * 1000))
        left_s = min(kept.not_before_ms - self._times.wall_ms(), asked_for_ms) / 1000
        if left_s > 0:
            self._close(left_s, kept.why)
