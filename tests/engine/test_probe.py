"""Links that may be dead: asked after a network change, and when the other side dials again though it has one."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from peerd.engine.links import switchboard

Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "PROBE_S", 0.05)


def linked(one: Any, other: Any) -> bool:
    return other.id in one.switchboard.links and one.id in other.switchboard.links


async def test_a_silent_link_is_dropped_after_a_network_change(
    two: tuple[Any, Any], wire: Any, until: Until, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers within the time stays. The clock moves with every look at it, as clocks do."""
    ticks = itertools.count()
    monkeypatch.setattr(clock, "monotonic_s", lambda: 1000 + next(ticks) * 1e-6)
    desk, laptop = two
    _near, far = wire.connect(desk, laptop)
    await until(lambda: linked(desk, laptop))
    before = desk.switchboard.links[laptop.id]
    await desk.switchboard.probe()
    assert desk.switchboard.links[laptop.id] is before
    far.flowing.clear()  # what laptop says does not arrive any more
    await desk.switchboard.probe()
    await until(lambda: laptop.id not in desk.switchboard.links)
    far.flowing.set()


async def test_a_link_is_doubted_when_the_other_side_dials_again(two: tuple[Any, Any], wire: Any, until: Until) -> None:
    """The old link stays by the rule, but if it is dead it goes within the time of a probe, not of TCP."""
    one, other = sorted(two, key=lambda device: device.id)
    _near, far = wire.connect(one, other)  # dialled by the smaller id: it stays when the other one dials
    await until(lambda: linked(one, other))
    far.flowing.clear()
    other.switchboard.links.clear()  # the other side has given it up
    wire.connect(other, one)
    await until(lambda: other.id not in one.switchboard.links)
    far.flowing.set()
