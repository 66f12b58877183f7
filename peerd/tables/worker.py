"""A thread of its own for one application's file, since SQLite waits for locks and disks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """Functions run one at a time, in the order of the calls."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[[], T]) -> T:
        """Run all of `function`. Once called it runs to its end, even if the caller is cancelled."""
        done = asyncio.get_running_loop().run_in_executor(self._executor, function)
        done.add_done_callback(_heard)
        return await asyncio.shield(done)

    def close(self) -> None:
        """Take nothing more; what was called is done."""
        self._executor.shutdown(wait=False)


def _heard(done: asyncio.Future[T]) -> None:
    if not done.cancelled():
        done.exception()  # whoever asked has heard of it, or is gone
