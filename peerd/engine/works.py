"""What is done to a copy, one work after the other, and each to its end.

The store writes what it was given even if nobody waits for it any more, and what is in memory has to move with it. So
a work does not end with whoever asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from peerd.errors import StoreClosed

T = TypeVar("T")


class Works:
    """`is_closed`: what has not begun is refused."""

    def __init__(self) -> None:
        self.is_closed = False
        self._lock = asyncio.Lock()
        self._begun: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Let those end that have begun. Idempotent."""
        self.is_closed = True
        if self._begun:
            await asyncio.wait(self._begun)

    def begin(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begin `work`, for which nobody needs to wait."""
        task = asyncio.create_task(work, name=name)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has heard of it, or is gone

    async def whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` to its end, whatever becomes of the caller. Raises what it raises."""
        await asyncio.shield(self.begin(work, "commit"))

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """While nothing else is done. Raises StoreClosed "stopping" if that is over."""
        async with self._lock:
            if self.is_closed:
                raise StoreClosed("the space is being closed", code="stopping")
            yield

    async def do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` alone and whole. Raises what it raises, and StoreClosed "stopping"."""

        async def doing() -> None:
            async with self.alone():
                await work()

        await self.whole(doing())
