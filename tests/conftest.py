"""Guards round every test: no task and no thread stays behind, and every log event keeps to the closed list."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from peerd import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

GRACE_S = 5.0

# A busy machine is no failure; a failing example is printed so that it can be played again. `make fuzz` plays more.
settings.register_profile(
    "peerd", deadline=None, print_blob=True, max_examples=int(os.environ.get("PEERD_RUNS", "100"))
)
settings.load_profile("peerd")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever a test starts, it ends: threads get a moment to finish, then the test fails and names them."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(GRACE_S)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"threads left behind: {alive}"


@pytest.fixture(autouse=True)
def no_task_left(request: pytest.FixtureRequest, no_thread_left: None) -> None:
    """The same for the tasks of an event loop, where the test has one."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_loop_guard")


@pytest.fixture
async def _loop_guard() -> AsyncIterator[None]:
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _done, left = await asyncio.wait(left, timeout=GRACE_S)
    assert not left, f"tasks left behind: {[task.get_coro() for task in left]}"


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[io.StringIO]:
    """Strict logging into memory, everything from debug up; an unknown key fails the test that logs it."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream, strict=True)
    yield stream
    logs.configure("error", "json", strict=True)


@pytest.fixture
def log_events(log_lines: io.StringIO) -> Callable[[], list[dict[str, Any]]]:
    """Call it for the events that were logged so far, as maps."""
    return lambda: [json.loads(line) for line in log_lines.getvalue().splitlines()]
