"""Runs that wait: applied when their time has come, dropped when worthless, never in anybody's way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from peerd.core.chain import Run
from peerd.core.stored import StagedRun
from peerd.engine import staging
from peerd.errors import LinkLost

DAY_MS = 24 * 3600 * 1000


async def runs_of(device: Any) -> list[Run]:
    slice_ = await device.space.store.runs_after(0, 1 << 20)
    return [row.run for row in slice_.rows]


def announced(device: Any) -> list[Any]:
    return [at.announcement for at in device.space.copy.origins.values()]


async def test_a_run_that_comes_too_early_waits_and_is_applied_in_its_turn(two: Any) -> None:
    """What comes before what it depends on is kept, survives a restart, and is used up by what it waited for."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    first, second = await runs_of(desk)
    await laptop.space.commits.take(announced(desk), [second])
    assert laptop.space.copy.clock() == {}
    assert len(laptop.space.commits.staging) == 1
    laptop = await laptop.reopen()
    assert len(laptop.space.commits.staging) == 1
    await laptop.space.commits.take(announced(desk), [first])
    assert await laptop.value("two") == {"n": 2}
    assert len(laptop.space.commits.staging) == 0
    laptop = await laptop.reopen()
    assert len(laptop.space.commits.staging) == 0


async def test_a_forged_run_that_waits_stops_nobody_else(two: Any) -> None:
    """Its signature can only be checked when its turn comes; then it is dropped, and the honest one is taken."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    first, second = await runs_of(desk)
    forged = msgspec.structs.replace(second, signature=bytes(64))
    await laptop.space.commits.take(announced(desk), [forged])
    assert len(laptop.space.commits.staging) == 1
    await laptop.space.commits.take(announced(desk), [first])
    assert len(laptop.space.commits.staging) == 0
    await laptop.space.commits.take(announced(desk), [second])
    assert await laptop.value("two") == {"n": 2}


async def test_more_than_the_bound_is_not_kept(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is brought again by another link; the link is told to end."""
    desk, laptop = two
    for number in range(4):
        await desk.put(f"note {number}", {"text": "x" * 400})
    runs = await runs_of(desk)
    monkeypatch.setattr(staging, "STAGING_BYTES", runs[1].size_bytes + runs[2].size_bytes)
    with pytest.raises(LinkLost) as lost:
        await laptop.space.commits.take(announced(desk), runs[1:])
    assert lost.value.code == "staging-full"
    assert len(laptop.space.commits.staging) < 3
    await laptop.space.commits.take(announced(desk), runs)
    assert laptop.space.copy.clock() == desk.space.copy.clock()


async def test_what_waited_for_long_goes_and_is_taken_when_it_comes_again(two: Any) -> None:
    """By the age of the database, over restarts; what it waited for turns up after all."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    first, second = await runs_of(desk)
    await laptop.housekeeping.tidy(5 * DAY_MS)
    await laptop.space.commits.take(announced(desk), [second])
    await laptop.housekeeping.tidy(59 * DAY_MS)
    laptop = await laptop.reopen()
    await laptop.housekeeping.tidy(0)
    assert len(laptop.space.commits.staging) == 1
    await laptop.housekeeping.tidy(2 * DAY_MS)
    assert len(laptop.space.commits.staging) == 0
    laptop = await laptop.reopen()
    assert len(laptop.space.commits.staging) == 0
    await laptop.space.commits.take(announced(desk), [first])
    assert laptop.space.copy.clock() != desk.space.copy.clock()
    await laptop.space.commits.take(announced(desk), [second])
    assert laptop.space.copy.clock() == desk.space.copy.clock()


async def test_what_comes_again_while_it_waits_is_kept_once_and_waits_no_longer(two: Any) -> None:
    """As a relay gives it; a forged one in the same place is another one."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    _, second = await runs_of(desk)
    await laptop.space.commits.take(announced(desk), [second])
    await laptop.housekeeping.tidy(40 * DAY_MS)
    await laptop.space.commits.take(announced(desk), [second])
    assert len(laptop.space.commits.staging) == 1
    forged = msgspec.structs.replace(second, signature=bytes(64))
    await laptop.space.commits.take(announced(desk), [forged])
    assert len(laptop.space.commits.staging) == 2
    await laptop.housekeeping.tidy(21 * DAY_MS)
    assert [one.run for one in laptop.space.commits.staging.runs.values()] == [forged]
    laptop = await laptop.reopen()
    assert [one.run for one in laptop.space.commits.staging.runs.values()] == [forged]


async def test_what_came_another_way_meanwhile_waits_no_longer(two: Any) -> None:
    """With a snapshot, whose clock covers it."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    await desk.put("two", {"n": 2})
    _, second = await runs_of(desk)
    waiting = staging.Staging([StagedRun(1, second, 0)])
    assert waiting.stale(laptop.space.copy, 0) == set()
    assert waiting.stale(desk.space.copy, 0) == {1}
