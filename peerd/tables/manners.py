"""How our transactions keep out of an application's way: one that sets no busy timeout is refused at once by any lock.

Before a lock is taken, /proc/locks tells whether anybody else is in a transaction, and a short one is waited for.
SQLite waits for a lock only briefly, since without a WAL a commit of ours that waits for readers holds off everybody; a
transaction that meets somebody is rolled back and tried again, for as long as a program with a busy timeout would.
How long ours were in the way of others is summed up, so that they can be made rarer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from peerd.tables.opening import BUSY_TIMEOUT_MS
from peerd.tables.readers import Readers

T = TypeVar("T")

PATIENCE_S = BUSY_TIMEOUT_MS / 1000
WAIT_S = 0.250  # for others to end what they are at
LOOK_S = 0.001
HOLD_MS = 20  # while a lock of ours waits for another
REST_S = 0.005


class Manners:
    """Of one connection, in the thread that uses it. `held_s` only grows; it may be read from any thread."""

    def __init__(self, connection: apsw.Connection, readers: Readers) -> None:
        self.held_s = 0.0
        self._connection, self._readers = connection, readers
        self._since_s: float | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Do `work`, which writes nothing if SQLite refuses it a lock.

        Raises:
            apsw.BusyError: others kept the file for two seconds.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            self._wait()
            self._connection.set_busy_timeout(HOLD_MS)
            self.take()
            try:
                return work()
            except apsw.BusyError:
                if time.monotonic() >= give_up_s:
                    raise
            finally:
                self.let_go()
                self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            time.sleep(REST_S)

    def take(self) -> None:
        """Only from now on `work` is in the way of others: until now it waited."""
        self._since_s = time.monotonic()

    def let_go(self) -> None:
        """What `work` does from now on is in nobody's way."""
        if self._since_s is not None:
            self.held_s += time.monotonic() - self._since_s
            self._since_s = None

    def _wait(self) -> None:
        until_s = time.monotonic() + WAIT_S
        while self._readers.any() and time.monotonic() < until_s:
            time.sleep(LOOK_S)
