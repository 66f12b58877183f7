"""File work that may never come back: the loop goes on, and so does the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from peerd.errors import RelayTrouble
from peerd.relay.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("the folder", patience_s=30.0)
    yield worker
    worker.close()


async def test_functions_run_in_order_and_off_the_loop(worker: Worker) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(worker.run(lambda: work(1)), worker.run(lambda: work(2)))
    assert done == [1, 2]
    assert len({*threads, threading.get_ident()}) == 2


async def test_errors_come_to_the_caller(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: "goes on") == "goes on"


async def test_a_cancelled_call_is_done_all_the_same(worker: Worker) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    call = asyncio.create_task(worker.run(work))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    may_end.set()
    assert await worker.run(lambda: "next") == "next"
    assert ended.is_set()


async def test_who_does_not_come_back_is_not_waited_for() -> None:
    """Nor is anything queued behind it: it is said at once, until it does come back."""
    worker, may_end, queued = Worker("the folder", patience_s=0.01), threading.Event(), threading.Event()
    try:
        for function in (may_end.wait, queued.set):
            with pytest.raises(RelayTrouble, match="the folder does not answer") as refused:
                await worker.run(function)
            assert refused.value.code == "relay-unreachable"
        worker._patience_s = 30.0
        late = set(worker._late)
        may_end.set()
        await asyncio.wait(late)
        assert await worker.run(lambda: "goes on") == "goes on"
        assert not queued.is_set()
    finally:
        may_end.set()
        worker.close()


def test_its_thread_does_not_keep_the_process() -> None:
    async def story() -> None:
        worker = Worker("the folder")
        thread = await worker.run(threading.current_thread)
        assert thread.daemon
        worker.close()

    asyncio.run(story())


async def test_nothing_is_taken_after_the_end_and_what_was_taken_is_done(worker: Worker) -> None:
    call = asyncio.create_task(worker.run(lambda: "done"))
    await asyncio.sleep(0)
    worker.close()
    assert await call == "done"
    with pytest.raises(RelayTrouble, match="not used any more"):
        await worker.run(lambda: "not done")


async def test_who_never_ran_anything_has_no_thread() -> None:
    before = threading.active_count()
    Worker("the folder").close()
    assert threading.active_count() == before
