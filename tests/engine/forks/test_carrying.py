"""Whoever goes over to another history brings along what its log has beyond that and is of no history that falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.engine.conflicts import Conflicts
from tests.engine.forks.test_forks import forked, heal, keys

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)
    monkeypatch.setattr("peerd.engine.forks.carrying.RUNS_AT_ONCE", 2)


async def test_what_was_overwritten_is_not_back_when_it_comes_later(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Each of the two has heard of something that the other has not, and had written upon it. Whoever goes over brings
    that along.
    """
    laptop, third, fourth = (make(name) for name in ("laptop", "third", "fourth"))
    await desk.admit(laptop, third, fourth)
    laptop = await forked(desk, laptop, third, fourth)
    for one, other in ((third, desk), (fourth, laptop)):
        await one.put(f"of {one.name}", {"text": "old", "more": 1})
        await one.put(f"gone with {one.name}", {"n": 1})
        await one.tell(other)
        await other.patch(f"of {one.name}", set={"text": "new"})
        await other.delete(f"gone with {one.name}")
    await heal(until, wire, desk, laptop)
    for one in (third, fourth):  # neither of them was there
        assert one.clock_now()[one.space.commits.own_origin or b""] == 2
        for device in (desk, laptop):
            assert device.clock_now()[one.space.commits.own_origin or b""] == 2
    await heal(until, wire, desk, laptop, third, fourth)
    for device in (desk, laptop, third, fourth):
        assert await keys(device) == {"common", "edited", "first", "second", "third", "of third", "of fourth"}
        for one in (third, fourth):
            assert await device.value(f"of {one.name}") == {"text": "new", "more": 1}
            listed = await Conflicts(device.space).list(collection=None, key=f"of {one.name}", limit=10, cursor=None)
            assert not listed.conflicts


async def test_what_saw_a_history_that_falls_is_not_brought_along(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Its author writes it again: under its own origin nobody else may take it."""
    laptop, third, fourth = (make(name) for name in ("laptop", "third", "fourth"))
    await desk.admit(laptop, third, fourth)
    laptop = await forked(desk, laptop, third, fourth)
    origins = {}
    for one, before in ((third, desk), (fourth, laptop)):
        await one.put(f"before {one.name}", {"n": 1})
        await before.tell(one)
        await one.put(f"after {one.name}", {"n": 2})
        await one.tell(before)
        origins[one] = one.space.commits.own_origin or b""
    await heal(until, wire, desk, laptop)
    fell = third if (desk.folder / "set-aside").exists() else fourth
    for device in (desk, laptop):
        assert device.clock_now()[origins[fell]] == 1
        assert device.clock_now()[origins[fourth if fell is third else third]] == 2
    await heal(until, wire, desk, laptop, third, fourth)
    for device in (desk, laptop, third, fourth):
        assert device.clock_now()[origins[fell]] == 1
        expected = {f"{when} {one.name}" for when in ("before", "after") for one in (third, fourth)}
        assert await keys(device) == {"common", "edited", "first", "second", "third", *expected}
