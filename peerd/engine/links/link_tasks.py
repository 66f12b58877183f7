"""The tasks of one link: its end ends them all. What the link is told while it ends begins nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class LinkTasks(asyncio.TaskGroup):
    """A group in which whatever begins too late ends at once: who tells of a change need not know how the link is."""

    def create_task(  # type: ignore[override] # of coroutines alone, as everybody calls it
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """As of any group; but while it ends, `coro` is let go of, and the task is one that was cancelled."""
        try:
            return super().create_task(coro, name=name, context=context)
        except RuntimeError:
            coro.close()
            late: asyncio.Task[T] = asyncio.create_task(_ended(), name=name)
            late.cancel()
            return late


async def _ended() -> NoReturn:
    """It is cancelled before it begins."""
    raise asyncio.CancelledError
