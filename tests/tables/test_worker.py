"""One thread, one function at a time, each to its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from peerd.tables.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test")
    yield worker
    worker.close()


async def test_functions_run_in_their_order_in_a_thread_of_their_own(worker: Worker) -> None:
    done: list[int] = []
    threads = await asyncio.gather(*(worker.run(partial(note, done, number)) for number in range(9)))
    assert done == list(range(9))
    assert set(threads) != {threading.current_thread().name}
    assert len(set(threads)) == 1


def note(done: list[int], number: int) -> str:
    done.append(number)
    return threading.current_thread().name


async def test_what_was_called_is_done_even_if_nobody_waits(worker: Worker) -> None:
    """What has begun, and what waits behind it."""
    go_on = threading.Event()
    done: list[str] = []

    def work(name: str) -> None:
        go_on.wait()
        done.append(name)

    tasks = [asyncio.create_task(worker.run(partial(work, name))) for name in ("first", "second")]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    go_on.set()
    await worker.run(lambda: None)
    assert done == ["first", "second"]


async def test_an_error_reaches_whoever_asked(worker: Worker) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await worker.run(fail)
