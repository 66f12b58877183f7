"""What a link is told while it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from peerd.engine.links.link_tasks import LinkTasks
from tests.engine.forks.test_forks import forked

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until, Wire

STEPS = 12  # of the loop, in which a link ends
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::pytest.PytestUnraisableExceptionWarning")


async def test_what_begins_while_they_end_ends_at_once_and_spoils_nothing() -> None:
    begun: list[str] = []
    tasks = LinkTasks()

    async def work() -> str:
        begun.append("too late")
        return "done"

    async def last() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            late.append(tasks.create_task(work(), name="late"))
            await asyncio.sleep(0)  # the group waits for us, and not for that

    async def fails() -> None:
        raise ValueError

    async def all_of_them() -> None:
        async with tasks:
            tasks.create_task(last(), name="last")
            await asyncio.sleep(0)
            tasks.create_task(fails(), name="fails")

    late: list[asyncio.Task[str]] = []
    with pytest.raises(ExceptionGroup) as caught:
        await all_of_them()
    assert [type(one) for one in caught.value.exceptions] == [ValueError]
    late.append(tasks.create_task(work(), name="later still"))
    await asyncio.wait(late)
    assert all(one.cancelled() for one in late)
    assert begun == []


async def test_a_session_may_begin_at_any_step_of_the_end_of_its_link(
    two: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    desk, laptop = two
    late = 0
    for steps in range(STEPS):
        near, _ = wire.connect(desk, laptop)
        await until(lambda: desk.switchboard.sessions(desk.space))
        desk.space.trouble = ("out-of-order", "it is out of order")
        desk.switchboard.share()
        assert not desk.switchboard.sessions(desk.space)
        await until(lambda: not laptop.switchboard.sessions(laptop.space))
        await near.close(1000, "over")
        for _ in range(steps):
            await asyncio.sleep(0)
        desk.space.trouble = None
        desk.switchboard.share()
        late += bool(desk.switchboard.sessions(desk.space))
        await until(lambda: not desk.switchboard.links and not laptop.switchboard.links)
    assert late


async def test_a_change_of_members_at_any_step_of_the_end_of_a_link_that_talks_of_a_fork(
    two: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerd.engine.forks.fork_talk.ForkTalk.goes_over", None)
    desk, laptop = two
    laptop = await forked(desk, laptop)
    for steps in range(STEPS):
        near, _ = wire.connect(desk, laptop)
        await until(lambda: any(one.forks.is_over for one in desk.switchboard.sessions(desk.space)))
        (session,) = desk.switchboard.sessions(desk.space)
        await near.close(1000, "over")
        for _ in range(steps):
            await asyncio.sleep(0)
        session.roster_changed()
        await until(lambda: not desk.switchboard.links and not laptop.switchboard.links)
