"""Which link stays, who may catch up from whom, and what becomes of a link that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from peerd.engine.links import turns
from peerd.errors import StoreClosed
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_whoever_stops_says_goodbye_on_the_links_that_it_dialled(
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    """A link whose task is cancelled must not stay open on the other side, as if somebody were there."""
    async with Scene(2) as scene:
        await scene.link_all()
        one, other = (device.running.switchboard.links for device in scene.devices)
        assert one
        assert other
        dialer = 0 if next(iter(one.values())).link.dialed else 1
        await scene.devices[dialer].stop()
        await asyncio.sleep(1)
        left = scene.devices[1 - dialer].running
        assert not left.switchboard.links
        (closed,) = [
            event["cause"] for event in log_events() if event["event"] == "link closed" and "goodbye" in event["cause"]
        ]
        assert closed == "they said goodbye: leaving"


@in_virtual_time
async def test_a_device_that_is_no_longer_wanted_is_let_go() -> None:
    """Dialling gives up a device that has left; the link that it held ends on both sides."""
    async with Scene(2) as scene:
        await scene.link_all()
        dialer = next(d for d in scene.devices if next(iter(d.running.switchboard.links.values())).link.dialed)
        other = scene.devices[1 - dialer.number]
        remover, removed = dialer, other
        await remover.do(lambda: remover.running.spaces.remove(scene.space(remover.number), removed.id))
        await asyncio.sleep(10)
        assert not dialer.running.switchboard.links
        assert not other.running.switchboard.links
        assert not scene.network.links
        view = await scene.view(other.number)
        assert view.state == "removed"
        assert remover.name in view.reason


@in_virtual_time
async def test_a_space_that_is_closed_under_a_link_is_no_trouble_of_the_disk(
    monkeypatch: pytest.MonkeyPatch,
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    """Somebody has asked for it: the link begins anew, and nobody is warned."""
    async with Scene(2) as scene:
        await scene.link_all()
        commits = scene.space(1).commits
        ends = iter([StoreClosed("the space is being closed", code="stopping")])
        take = commits.take

        async def closing(*what: Any) -> None:
            for end in ends:
                raise end
            await take(*what)

        monkeypatch.setattr(commits, "take", closing)
        before = len(log_events())
        await scene.put(0, "a", text="hello")
        await scene.until(lambda: scene.clocks_equal() and bool(scene.devices[1].running.switchboard.links))
        assert next(ends, None) is None
        assert [event["event"] for event in log_events()[before:] if event["level"] != "info"] == []
        assert "link closed" in [event["event"] for event in log_events()[before:]]


def test_from_here_on_catching_up_takes_turns() -> None:
    """The number that the tests above stay clear of."""
    assert 5 < turns.FAR_BEHIND <= 5_000
