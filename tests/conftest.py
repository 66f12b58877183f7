"""Guards round every test: no task and no thread stays behind, and every log event keeps to the closed list."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from peerd import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

GRACE_S = 5.0

# What tests have in common says what it found, too, where it asserts something.
pytest.register_assert_rewrite("tests.support", "tests.soak", "tests.hostile")

# Tests that find daemons by mDNS on this very machine: side by side they would find each other's. One worker has them.
ONE_AFTER_THE_OTHER = ("discovery", "recipes", "test_daemon.py")

# A busy machine is no failure; a failing example is printed so that it can be played again. `make fuzz` plays more.
settings.register_profile(
    "peerd", deadline=None, print_blob=True, max_examples=int(os.environ.get("PEERD_RUNS", "100"))
)
settings.load_profile("peerd")


class Shared(LoadScopeScheduling):  # type: ignore[misc] # it comes without types
    """How `make test` shares the tests among its workers: file by file, and those first that have the most."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "alone" if Path(file).parts[1] in ONE_AFTER_THE_OTHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shared:
    return Shared(config, log)


def pytest_collection_finish() -> None:
    """The tests themselves stay to the end: nobody need look for cycles among them, as peerd does after each link."""
    gc.collect()
    gc.freeze()


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
