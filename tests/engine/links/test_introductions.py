"""How often a device that is refused shows who it is."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from peerd.core.stored import Address
from peerd.engine.links.introductions import AGAIN_S
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
        assert scene.network.dials - dials > 300
        assert 2 <= len(when_s) <= 600 / AGAIN_S
        assert min(two - one for one, two in pairwise(when_s)) >= AGAIN_S
