from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerd import supervise
from peerd.supervise import State, Supervisor, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeClock:
    """Time moves when told; delays that were asked for are kept and cost nothing."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[tuple[float, float]] = []

    def monotonic_s(self) -> float:
        return self.now_s

    def uniform(self, low: float, high: float, /) -> float:
        self.asked.append((low, high))
        return 0.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def forever() -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition is whatever a test looks at
            await asyncio.sleep(0)


async def test_a_restarted_task_is_started_again_later_each_time(clock: FakeClock) -> None:
    starts = 0

    async def flaky() -> None:
        nonlocal starts
        starts += 1
        if starts <= 8:
            raise OSError("no route")
        await forever()

    supervisor = Supervisor(clock)
    supervisor.add("flaky", flaky)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: starts == 9)
    report = supervisor.reports()["flaky"]
    assert (report.state, report.failures, report.cause) == (State.RUNNING, 8, "no route")
    assert [high for _low, high in clock.asked] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert all(low == high / 2 for low, high in clock.asked)
    supervisor.stop()
    await running


async def test_a_task_that_ran_well_for_a_while_is_started_again_soon(clock: FakeClock) -> None:
    starts = 0

    async def flaky() -> None:
        nonlocal starts
        starts += 1
        if starts == 3:
            clock.now_s += 61
        if starts == 5:
            await forever()
        raise OSError("no route")

    supervisor = Supervisor(clock)
    supervisor.add("flaky", flaky)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: starts == 5)
    assert [high for _low, high in clock.asked] == [1, 2, 1, 2]
    supervisor.stop()
    await running


async def test_a_failure_is_logged_with_its_cause(
    clock: FakeClock, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    failed = False

    async def flaky() -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise OSError("no route")

    supervisor = Supervisor(clock)
    supervisor.add("mdns", flaky)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["mdns"].state is State.FINISHED)
    supervisor.stop()
    await running
    (event,) = log_events()
    assert (event["event"], event["key"], event["count"], event["cause"]) == ("task failed", "mdns", 1, "no route")
    assert "Traceback" in event["exception"]


async def test_a_task_that_waits_for_its_restart_says_so(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise OSError("no route")

    monkeypatch.setattr(clock, "uniform", lambda _low, _high: 3600.0)
    supervisor = Supervisor(clock)
    supervisor.add("flaky", fail)
    assert supervisor.reports()["flaky"].state is State.WAITING
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["flaky"].failures == 1)
    assert supervisor.reports()["flaky"].state is State.WAITING
    supervisor.stop()
    await running
    assert supervisor.reports()["flaky"].state is State.STOPPED


async def test_an_essential_tasks_failure_ends_everything(clock: FakeClock) -> None:
    release = asyncio.Event()

    async def fail() -> None:
        await release.wait()
        raise OSError("disk gone")

    supervisor = Supervisor(clock)
    supervisor.add("other", forever)
    supervisor.add("store", fail, essential=True)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["other"].state is State.RUNNING)
    release.set()
    with pytest.raises(TaskFailedError, match="store: disk gone") as caught:
        await running
    assert isinstance(caught.value.__cause__, OSError)
    assert {name: report.state for name, report in supervisor.reports().items()} == {
        "other": State.STOPPED,
        "store": State.FAILED,
    }


async def test_an_essential_task_must_not_simply_return(clock: FakeClock) -> None:
    async def leave() -> None:
        pass

    supervisor = Supervisor(clock)
    supervisor.add("store", leave, essential=True)
    with pytest.raises(TaskFailedError, match="store: ended by itself"):
        await supervisor.run()


async def test_the_first_failure_is_the_one_reported(clock: FakeClock) -> None:
    async def fail() -> None:
        raise OSError("first")

    async def fail_too() -> None:
        raise OSError("second")

    supervisor = Supervisor(clock)
    supervisor.add("a", fail, essential=True)
    supervisor.add("b", fail_too, essential=True)
    with pytest.raises(TaskFailedError, match="a: first"):
        await supervisor.run()


async def test_stopping_goes_backwards_one_after_the_other(clock: FakeClock) -> None:
    """Whoever was added later may use what was added earlier, so it ends first and completely."""
    told: list[str] = []

    def work(name: str) -> Callable[[], Any]:
        async def run() -> None:
            try:
                await forever()
            finally:
                told.append(f"{name} ends")
                await asyncio.sleep(0)
                told.append(f"{name} ended")

        return run

    supervisor = Supervisor(clock)
    for name in ("store", "links", "control"):
        supervisor.add(name, work(name))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: all(report.state is State.RUNNING for report in supervisor.reports().values()))
    supervisor.stop()
    supervisor.stop()
    await running
    names = ("control", "links", "store")
    assert told == [f"{name} {what}" for name in names for what in ("ends", "ended")]


async def test_what_does_not_stop_in_time_is_left_and_named(
    clock: FakeClock, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """The time is for all together: behind a stubborn task the others still get to end."""
    release = asyncio.Event()
    ended = False

    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            clock.now_s += 5
            await release.wait()

    async def orderly() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            ended = True

    supervisor = Supervisor(clock, stop_within_s=0.01)
    supervisor.add("orderly", orderly)
    supervisor.add("stubborn", stubborn)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["stubborn"].state is State.RUNNING)
    await asyncio.sleep(0)
    supervisor.stop()
    await running
    assert ended
    assert [(event["event"], event["key"]) for event in log_events()] == [("task did not stop", "stubborn")]
    release.set()


async def test_a_failure_while_stopping_is_logged_and_the_rest_still_stops(
    clock: FakeClock, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    async def clumsy() -> None:
        try:
            await forever()
        finally:
            raise OSError("goodbye failed")

    supervisor = Supervisor(clock)
    supervisor.add("other", forever)
    supervisor.add("clumsy", clumsy)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["clumsy"].state is State.RUNNING)
    supervisor.stop()
    await running
    assert [event["event"] for event in log_events()] == ["task failed while stopping"]
    assert {report.state for report in supervisor.reports().values()} == {State.STOPPED}


async def test_an_essential_task_may_return_once_it_is_told_to_stop(clock: FakeClock) -> None:
    async def polite() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            return

    supervisor = Supervisor(clock)
    supervisor.add("store", polite, essential=True)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["store"].state is State.RUNNING)
    supervisor.stop()
    await running
    assert supervisor.reports()["store"].state is State.STOPPED


async def test_cancelling_the_supervisor_stops_its_tasks(clock: FakeClock) -> None:
    supervisor = Supervisor(clock)
    supervisor.add("other", forever)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.reports()["other"].state is State.RUNNING)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert supervisor.reports()["other"].state is State.STOPPED


def test_a_name_is_used_once(clock: FakeClock) -> None:
    supervisor = Supervisor(clock)
    supervisor.add("store", forever)
    with pytest.raises(ValueError, match="two tasks named store"):
        supervisor.add("store", forever)


def test_the_stop_fits_the_promise() -> None:
    """SIGTERM to exit within 5 s is promised; systemd kills after TimeoutStopSec, which must be more."""
    assert supervise.STOP_WITHIN_S <= 5
