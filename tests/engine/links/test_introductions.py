"""How often a device that is refused shows who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

from peerd.core.stored import Address
from peerd.engine.links.introductions import AGAIN_S, Introductions
from peerd.net.link import INTRODUCE
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


def introductions(scene: Scene, at: int) -> list[float]:
    """When somebody introduces itself to this device, from now on: grows."""
    when_s: list[float] = []
    host = scene.network.hosts[scene.devices[at].address]
    authorise = host.authorise

    def noting(device: bytes, subprotocol: str, address: Address) -> object:
        if subprotocol == INTRODUCE:
            when_s.append(asyncio.get_running_loop().time())
        return authorise(device, subprotocol, address)

    host.authorise = noting
    return when_s


@in_virtual_time
async def test_who_was_removed_while_it_was_away_introduces_itself_once_a_minute() -> None:
    """As long as the other is in sight, and each dial is refused."""
    async with Scene(3) as scene:
        await scene.link_all()
        gone = scene.devices[1]
        await gone.stop()
        await scene.do(0, lambda: scene.devices[0].running.spaces.remove(scene.space(0), gone.id))
        await gone.start()
        when_s = introductions(scene, 0)
        dials = scene.network.dials
        for _ in range(60):
            scene.world.air.refresh()
            await asyncio.sleep(10)
        assert scene.network.dials - dials > 10 * len(when_s)
        assert 2 <= len(when_s) <= 600 / AGAIN_S
        assert min(two - one for one, two in pairwise(when_s)) >= AGAIN_S


class Runner:
    """Of a link; when it is asked whether a space is unshared, it is not, and in the next moment it is."""

    def __init__(self) -> None:
        self.changes: Callable[[], None] = lambda: None
        self.asked = 0

    @property
    def is_unshared(self) -> bool:
        self.asked += 1
        if self.asked == 1:
            asyncio.get_running_loop().call_soon(self.changes)
        return self.asked > 1


@in_virtual_time
async def test_what_is_unshared_anew_just_when_that_seemed_over_is_shown() -> None:
    async with Scene(2) as scene:
        device, other = scene.devices
        board, runner = SimpleNamespace(links={other.id: Runner()}), device.running
        link = board.links[other.id]
        runner.dialing.sighted(other.id, [other.address])
        introductions = Introductions(runner.book, board, runner.times)  # type: ignore[arg-type] # all that it looks at
        shown: list[bytes] = []

        async def introduce(theirs: bytes, _address: Address) -> bool:
            shown.append(theirs)
            return True

        introductions.introduce = introduce
        link.changes = lambda: introductions.unshared(other.id)
        introductions.unshared(other.id)
        await asyncio.sleep(5)
        assert shown == [other.id]
        await introductions.stop()
