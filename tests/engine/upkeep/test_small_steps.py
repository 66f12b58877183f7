"""Steps that fit, with room for others between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from peerd.engine.upkeep.small_steps import AIM_S, FIRST_SIZE, MAX_SIZE, SmallSteps
from peerd.errors import StoreError

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands


async def sizes(desk: Device, clock: Hands, each_s: float, left: int) -> list[int]:
    """What steps are asked to do, when each row takes so long."""
    asked: list[int] = []

    async def step(size: int) -> int:
        nonlocal left
        done = min(size, left)
        left -= done
        clock.run_s += done * each_s
        if done:
            asked.append(size)
        return done

    total = left
    assert await SmallSteps(desk.space.commits.tend, clock).do(step) == total
    return asked


async def test_a_step_becomes_as_large_as_fits(desk: Device, clock: Hands) -> None:
    asked = await sizes(desk, clock, 0.00001, 50_000)
    assert asked[0] == FIRST_SIZE
    assert AIM_S / 2 <= asked[-1] * 0.00001 <= 2 * AIM_S


async def test_a_step_becomes_as_small_as_it_must(desk: Device, clock: Hands) -> None:
    asked = await sizes(desk, clock, 0.002, 200)
    assert asked[-1] * 0.002 <= AIM_S
    assert asked[-1] >= 1


async def test_there_is_a_largest_step(desk: Device, clock: Hands) -> None:
    assert max(await sizes(desk, clock, 0.0, 100_000)) == MAX_SIZE


async def test_writers_get_their_turn_between(desk: Device, clock: Hands) -> None:
    """Whoever waits for a commit has to wait for one step only."""
    done = 0

    async def step(_: int) -> int:
        nonlocal done
        done += 1
        return int(done < 200)

    tending = asyncio.create_task(SmallSteps(desk.space.commits.tend, clock).do(step))
    seen = []
    for number in range(10):
        await desk.put("a", {"x": number})
        seen.append(done)
    assert seen[-1] < 200
    await tending


async def test_what_a_step_raises_ends_the_work(desk: Device, clock: Hands) -> None:
    async def step(_: int) -> int:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        await SmallSteps(desk.space.commits.tend, clock).do(step)
    await desk.put("a", {})
