"""An event loop whose clock jumps: when nothing is ready, it is at once the time of the next timer.

A history of an hour takes as long as its work. Nothing here waits for anything outside, so a history is a function of
its seed: tasks have numbers for hashes, because a set of tasks would otherwise be walked in the order of addresses.

Whatever a simulated device starts carries its *life* in its context, one per start of its process. Ending a life ends
exactly that: its tasks, its timers, what it had scheduled.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import selectors
import socket
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

LIFE: contextvars.ContextVar[object | None] = contextvars.ContextVar("life", default=None)
_ROUNDS = 200
_TURN_S = 1e-8  # every turn takes a moment, so that who waits for a moment is not asked again in the same one


class Standstill(AssertionError):
    """Everybody waits, and nothing will ever happen."""


class _Task(asyncio.Task[T]):
    """A task with a number."""

    number = count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._hash = next(_Task.number)
        context = kwargs.get("context")
        self.life = LIFE.get() if context is None else context.get(LIFE)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other


class _Jump(selectors.BaseSelector):
    """Waits for nothing: time is what passes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, number, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Standstill("all tasks wait and there is no timer")
        self.now_s += max(0.0, timeout) + _TURN_S
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above. `problems` are the exceptions that nobody asked for."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = _TURN_S
        self.problems: list[dict[str, Any]] = []
        self.set_task_factory(_make_task)  # type: ignore[arg-type] # the protocol wants a name for each argument
        self.set_exception_handler(lambda _loop, context: self.problems.append(context))

    def time(self) -> float:
        return self._jump.now_s

    def forget_timers(self, life: object) -> None:
        """Cancel whatever that life has scheduled."""
        for handle in list(self._scheduled):  # type: ignore[attr-defined] # asyncio has no other way
            if handle._context.get(LIFE) is life:
                handle.cancel()

    def create_connection(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("a simulated device reached for the network")

    def getaddrinfo(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("a simulated device reached for the network")

    def sock_connect(self, _sock: socket.socket, _address: Any) -> Any:
        raise AssertionError("a simulated device reached for the network")


def _make_task(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], **kwargs: Any) -> _Task[T]:
    return _Task(coro, loop=loop, **kwargs)


def loop_here() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def tasks_of(life: object | None) -> list[asyncio.Task[Any]]:
    """The tasks of a life, in the order in which they began."""
    found = [task for task in asyncio.all_tasks() if isinstance(task, _Task) and task.life is life]
    return sorted(found, key=hash)


async def within(life: object, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` as part of a life, in a task of its own; if the life ends, CancelledError."""
    context = contextvars.copy_context()
    context.run(LIFE.set, life)

    async def body() -> T:
        return await work()

    return await loop_here().create_task(body(), context=context)


def call_within(life: object, work: Callable[[], T]) -> T:
    """The same for what does not wait."""
    context = contextvars.copy_context()
    context.run(LIFE.set, life)
    return context.run(work)


async def end_life(life: object) -> None:
    """Stop everything of a life where it stands."""
    for _ in range(_ROUNDS):
        loop_here().forget_timers(life)
        tasks = [task for task in tasks_of(life) if not task.done()]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    raise AssertionError(f"tasks that do not end: {[task.get_coro() for task in tasks_of(life)]}")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a whole simulation; fails if it left a task or an exception behind."""
    _Task.number = count(1)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        try:
            result = runner.run(_and_nothing_left(work))
        except BaseException as problem:
            for one in loop.problems[:2]:
                problem.add_note(
                    f"nobody asked for {one}\n" + "".join(traceback.format_exception(one.get("exception")))
                )
            raise
        assert not loop.problems, f"exceptions that nobody asked for: {loop.problems}"
    return result


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in a virtual loop of its own."""

    @functools.wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return sync


async def _and_nothing_left(work: Coroutine[Any, Any, T]) -> T:
    try:
        result = await work
    except BaseException:
        await _drop_all()
        raise
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    left = _others()
    await _drop_all()
    assert not left, f"tasks left behind: {[task.get_coro() for task in left]}"
    return result


def _others() -> list[asyncio.Task[Any]]:
    return sorted((task for task in asyncio.all_tasks() if task is not asyncio.current_task()), key=hash)


async def _drop_all() -> None:
    for _ in range(_ROUNDS):
        for task in (left := _others()):
            task.cancel()
        if not left:
            return
        await asyncio.sleep(0)
