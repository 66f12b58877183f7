"""A thread of its own for a folder that may not answer: a network file system can keep a call for ever.

The thread is a daemon's: a call that never comes back must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from peerd.errors import RelayTrouble

T = TypeVar("T")

PATIENCE_S = 60.0


class Worker:
    """Functions run one at a time, in the order of the calls."""

    def __init__(self, name: str, patience_s: float = PATIENCE_S) -> None:
        self._name = name
        self._patience_s = patience_s
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._late: set[asyncio.Future[Any]] = set()  # nobody waits for them any more, and they have not come back

    async def run(self, function: Callable[[], T]) -> T:
        """Run all of `function`. Once it has begun it runs to its end, even if the caller is cancelled.

        Raises RelayTrouble "relay-unreachable" when it takes too long, and at once while such a one has not come back.
        """
        if self._closed:
            raise RelayTrouble(f"{self._name} is not used any more.")
        if self._late:
            raise self._no_answer()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_heard)
        self._jobs.put((function, done))
        await asyncio.wait([done], timeout=self._patience_s)
        if not done.done():
            self._late.add(done)
            done.add_done_callback(self._late.discard)
            raise self._no_answer()
        return done.result()

    def close(self) -> None:
        """Take nothing more; what was called is done."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, done = job
            try:
                result = function()
            except BaseException as problem:  # noqa: BLE001 - it is the caller's, whatever it is
                _tell(done, done.set_exception, problem)
            else:
                _tell(done, done.set_result, result)

    def _no_answer(self) -> RelayTrouble:
        return RelayTrouble(
            f"{self._name} does not answer.",
            code="relay-unreachable",
            next_step="Look at what carries it: a network file system whose server is gone waits for ever.",
        )


def _tell(done: asyncio.Future[Any], how: Callable[[Any], None], what: object) -> None:
    def tell() -> None:
        if not done.done():
            how(what)

    with suppress(RuntimeError):  # the loop is gone, and so is whoever asked
        done.get_loop().call_soon_threadsafe(tell)


def _heard(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()  # whoever asked has heard of it, or is gone
