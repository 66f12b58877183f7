"""What the machine gives too little of: said with what to do, logged once, and over by itself."""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from peerd import strain
from peerd.core.slowness import Slowness
from peerd.strain import Strain


class Hands:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def causes(one: Strain) -> list[str]:
    assert all(step for _, step in one.problems())
    return [cause for cause, _ in one.problems()]


def test_few_descriptors_are_told_and_then_none(hands: Hands, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Strain(hands, list)
    assert one.problems() == []
    opened = one.files().open
    assert opened is not None
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 3, limit))
    assert causes(one) == [f"only 3 of {opened + 3:,} file descriptors are left"]

    def refuse(_: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.listdir", refuse)
    (cause,) = causes(one)
    assert cause.startswith(f"no file descriptors are left (limit {opened + 3:,})")


def test_a_slow_disk_is_that_of_the_slowest_space(hands: Hands) -> None:
    fast, slow = (Slowness(least_s=1.0, long_s=5.0) for _ in range(2))
    one = Strain(hands, lambda: [fast, slow])
    slow.took(99.0, 6.25)
    assert causes(one) == ["the disk takes 6.2 s for a write, 1 time in the last hour"]
    assert one.slowest_write_s() == 6.25
    hands.now_s += 300
    assert one.problems() == []


async def ticked(one: Strain, hands: Hands, took_s: float, *, stopped: bool = False) -> None:
    """One round of its watch, which the loop comes back from after so long."""
    watching = asyncio.create_task(one.watch())
    await asyncio.sleep(0)
    hands.now_s += took_s
    if stopped:
        one.continued()
    rounds = one.rounds
    for _ in range(100):
        if one.rounds == rounds:
            await asyncio.sleep(0)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strain, "TICK_S", 0.0)


@pytest.mark.usefixtures("quick")
async def test_a_loop_that_stands_still_is_told_and_logged_once(hands: Hands) -> None:
    one = Strain(hands, list)
    with capture_logs() as logged:
        for took_s in (1.0, 12.0, 0.0):
            await ticked(one, hands, took_s)
        (cause,) = causes(one)
        assert cause.endswith("loop stood still for 12.0 s, 1 time in the last hour")
        hands.now_s += 300
        await ticked(one, hands, 0.0)
    assert one.problems() == []
    assert one.stalled().times == 1
    assert [(line["event"], line["code"]) for line in logged] == [
        ("machine falls short", "machine-busy"),
        ("machine does its part again", "machine-busy"),
    ]


@pytest.mark.usefixtures("quick")
async def test_a_process_that_was_stopped_is_not_a_busy_one(hands: Hands) -> None:
    one = Strain(hands, list)
    await ticked(one, hands, 60.0, stopped=True)
    assert one.stalled().times == 0
    await ticked(one, hands, 60.0)
    assert one.stalled().times == 1
