"""Works on a copy: in turn, each to its end, and none when it is closed."""

from __future__ import annotations

import asyncio

import pytest

from peerd.engine.works import Works
from peerd.errors import StoreError


class Work:
    """It goes on when `gate` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.is_done = False

    async def __call__(self) -> None:
        self.has_begun.set()
        await self.gate.wait()
        self.is_done = True


async def test_a_work_goes_on_when_its_caller_is_gone_and_the_next_one_waits_for_it() -> None:
    works, first, second = Works(), Work(), Work()
    second.gate.set()
    caller = asyncio.create_task(works.do(first))
    await first.has_begun.wait()
    after = asyncio.create_task(works.do(second))
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert not second.has_begun.is_set()
    first.gate.set()
    await after
    assert (first.is_done, second.is_done) == (True, True)


async def test_who_is_still_there_hears_what_went_wrong() -> None:
    works = Works()

    async def fails() -> None:
        raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone"):
        await works.do(fails)
    done = Work()
    done.gate.set()
    await works.do(done)
    assert done.is_done


async def test_closing_waits_for_what_has_begun_and_refuses_the_rest() -> None:
    works, begun, queued, late = Works(), Work(), Work(), Work()
    first = asyncio.create_task(works.do(begun))
    await begun.has_begun.wait()
    second = asyncio.create_task(works.do(queued))
    await asyncio.sleep(0)
    closing = asyncio.create_task(works.close())
    await asyncio.sleep(0)
    assert not closing.done()
    begun.gate.set()
    await closing
    await first
    for refused in (second, works.do(late)):
        with pytest.raises(StoreError) as caught:
            await refused
        assert caught.value.code == "stopping"
    assert (begun.is_done, queued.has_begun.is_set(), late.has_begun.is_set()) == (True, False, False)
    await works.close()
