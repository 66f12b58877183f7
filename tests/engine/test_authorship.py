"""Under which origin a device writes: one life of a copy, one origin, bound to one admission."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerd.errors import UserError
from tests.engine.forks.test_forks import past_of, set_back


async def test_an_origin_goes_on_over_a_restart(desk: Any) -> None:
    """The same copy writes under the same origin, with the next number."""
    await desk.put("one", {"n": 1})
    before = desk.space.commits.own_origin
    desk = await desk.reopen()
    await desk.put("two", {"n": 2})
    assert desk.space.commits.own_origin == before
    assert desk.clock_now() == {before: 2}


async def test_a_copy_that_went_back_in_time_takes_a_new_origin_before_it_writes(desk: Any) -> None:
    """Nothing is ever written twice under one number."""
    await desk.put("one", {"n": 1})
    before = desk.space.commits.own_origin
    desk.space.commits.take_new_origin()
    await desk.put("two", {"n": 2})
    assert desk.space.commits.own_origin not in {None, before}
    assert desk.clock_now() == {before: 1, desk.space.commits.own_origin: 1}


async def test_a_removed_device_writes_nothing(two: Any) -> None:
    """It is told so, and its copy stays readable."""
    desk, laptop = two
    await laptop.put("mine", {"n": 1})
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(laptop)
    with pytest.raises(UserError) as refused:
        await laptop.put("more", {"n": 2})
    assert (refused.value.code, refused.value.status) == ("removed", 403)
    assert await laptop.value("mine") == {"n": 1}


async def test_a_failed_first_commit_does_not_waste_the_origin(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The origin that was drawn for it is the one that the next write uses."""

    async def fail(*_: object, **__: object) -> None:
        raise OSError("no disk")

    transact = desk.space.store.transact
    drawn: list[bytes | None] = []

    async def fail_after_deciding(decide: Any, *more: Any) -> None:
        await transact(lambda transaction: (None, decide(transaction)[1]), *more)
        drawn.append(desk.space.commits.own_origin)
        await fail()

    monkeypatch.setattr(desk.space.store, "transact", fail_after_deciding)
    with pytest.raises(OSError, match="no disk"):
        await desk.put("one", {"n": 1})
    monkeypatch.setattr(desk.space.store, "transact", transact)
    await desk.put("one", {"n": 1})
    assert desk.clock_now() == {drawn[0]: 1}


async def test_that_a_copy_went_back_in_time_is_known_in_its_next_life(
    desk: Any, make: Any, until: Any, wire: Any
) -> None:
    """By then it has all that one member knew, and nothing tells that another one knows more."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    await laptop.put("one", {"n": 1})
    origin = laptop.space.commits.own_origin
    past, laptop = await past_of(laptop)
    await laptop.put("two", {"n": 2})
    await laptop.tell(desk)
    await laptop.put("three", {"n": 3})
    await laptop.tell(attic)
    laptop = await set_back(laptop, past)
    wire.connect(desk, laptop)
    await until(lambda: laptop.clock_now() == {origin: 2})
    laptop = await laptop.reopen()
    await laptop.put("four", {"n": 4})
    assert laptop.clock_now()[origin] == 2
    wire.connect(attic, laptop)
    await until(lambda: laptop.clock_now() == attic.clock_now())
    assert laptop.clock_now() == {origin: 3, laptop.space.commits.own_origin: 1}
    before = laptop.space.commits.own_origin
    laptop = await laptop.reopen()
    await laptop.put("five", {"n": 5})
    assert laptop.space.commits.own_origin == before, "it goes on"


async def test_who_is_brought_what_it_wrote_went_back_in_time(
    desk: Any, make: Any, until: Any, wire: Any, clock: Any
) -> None:
    """Though nobody knew more when they met: it came to them only later."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    await laptop.put("one", {"n": 1})
    await laptop.tell(desk)
    origin = laptop.space.commits.own_origin
    past, laptop = await past_of(laptop)
    await laptop.put("two", {"n": 2})
    await laptop.tell(attic)
    laptop = await set_back(laptop, past)
    wire.connect(desk, laptop)
    await until(lambda: all(one.in_sync for one in desk.switchboard.sessions(desk.space)))
    await attic.tell(desk)
    await asyncio.sleep(0.05)
    clock.pass_s(1)
    await until(lambda: laptop.clock_now() == {origin: 2})
    await until(lambda: all(one.in_sync for one in desk.switchboard.sessions(desk.space)))
    assert laptop.space.commits.own_origin is None
    laptop = await laptop.reopen()
    await laptop.put("three", {"n": 3})
    assert laptop.clock_now() == {origin: 2, laptop.space.commits.own_origin: 1}
