"""One open space: what others learn of its copy, and a copy that went back in time."""

from __future__ import annotations

import asyncio

from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_a_copy_that_was_put_back_goes_on_under_a_new_origin_and_gets_its_own_writes_back() -> None:
    async with Scene(2) as scene:
        await scene.put(0, "one", a=1)
        await scene.link_all()
        device = scene.devices[0]
        await device.stop()
        scene.world.back_up(device)
        await device.start()
        await scene.put(0, "two", a=1)
        await scene.link_all()
        before = scene.space(0).commits.own_origin
        await device.crash()
        await scene.world.put_back(device)
        await device.start()
        await scene.put(0, "three", a=1)
        assert scene.space(0).commits.own_origin != before
        await scene.link_all()
        await asyncio.sleep(5)
        assert {record.key for record in (await scene.list(0)).records} == {"one", "two", "three"}
        assert scene.clocks_equal()


@in_virtual_time
async def test_a_whole_machine_that_was_set_back_is_told_so_by_its_peers() -> None:
    """Nothing on its own disk shows it; somebody else has more of its origin than it has."""
    async with Scene(2) as scene:
        await scene.put(0, "one", a=1)
        await scene.link_all()
        device = scene.devices[0]
        await device.stop()
        scene.world.back_up(device)
        await device.start()
        await scene.put(0, "two", a=1)
        await scene.link_all()
        before = scene.space(0).commits.own_origin
        await device.stop()
        device.backups.put_back(device.state, whole_machine=True)
        await device.start()
        assert scene.space(0).commits.own_origin == before, "it cannot know"
        await scene.link_all()
        await asyncio.sleep(5)
        await scene.put(0, "three", a=1)
        assert scene.space(0).commits.own_origin != before
        await asyncio.sleep(5)
        assert {record.key for record in (await scene.list(1)).records} == {"one", "two", "three"}
        assert scene.clocks_equal()


@in_virtual_time
async def test_a_machine_that_was_set_back_twice_stays_on_its_new_origin() -> None:
    """What the peers said is not forgotten at the next start."""
    async with Scene(2) as scene:
        await scene.put(0, "one", a=1)
        device = scene.devices[0]
        await device.stop()
        scene.world.back_up(device)
        await device.start()
        await scene.put(0, "two", a=1)
        await scene.link_all()
        before = scene.space(0).commits.own_origin
        await device.stop()
        device.backups.put_back(device.state, whole_machine=True)
        await device.start()
        await scene.link_all()
        await asyncio.sleep(5)
        await device.stop()
        await device.start()
        await scene.put(0, "three", a=1)
        await scene.link_all()
        await asyncio.sleep(5)
        assert {record.key for record in (await scene.list(1)).records} == {"one", "two", "three"}
        assert scene.clocks_equal()
        assert before is not None


@in_virtual_time
async def test_a_token_of_the_feed_means_nothing_to_an_older_copy_of_the_database() -> None:
    """Its positions were used again for other transactions: whoever holds the token would miss them."""
    async with Scene(1) as scene:
        await scene.put(0, "one", a=1)
        device = scene.devices[0]
        await device.stop()
        scene.world.back_up(device)
        await device.start()
        await scene.put(0, "two", a=1)
        token = await last_token(scene, None)
        await device.crash()
        await scene.world.put_back(device)
        await device.start()
        await scene.put(0, "three", a=1)
        kinds = [kind for kind, _ in await told(scene, token)]
        assert kinds[0] == "reset"


async def told(scene: Scene, since: str | None) -> list[tuple[str, str]]:
    service = scene.devices[0].running.service

    async def read() -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        async for group in await service.changes("home", since, follow=False):
            events += [(event.kind, event.token) for event in group]
        return events

    found: list[tuple[str, str]] = await scene.do(0, read)
    return found


async def last_token(scene: Scene, since: str | None) -> str:
    return (await told(scene, since))[-1][1]


@in_virtual_time
async def test_a_token_goes_on_over_restarts_and_crashes() -> None:
    async with Scene(1) as scene:
        await scene.put(0, "one", a=1)
        token = await last_token(scene, None)
        for number in range(3):
            device = scene.devices[0]
            await (device.stop() if number % 2 else device.crash())
            await device.start()
            await scene.put(0, f"{number}", a=1)
            events = await told(scene, token)
            assert [kind for kind, _ in events] == ["put", "current"]
            token = events[-1][1]


@in_virtual_time
async def test_a_settled_space_is_left_alone() -> None:
    """Linked and in sync, nobody says anything about it for an hour but whether they are there."""
    async with Scene(3) as scene:
        await scene.put(0, "one", a=1)
        await scene.link_all()
        await asyncio.sleep(60)
        scene.network.keeps_frames = True
        await asyncio.sleep(1_800)
        sizes = [len(frame) for link in scene.network.links for frame in link.frames_sent]
        assert max(sizes, default=0) < 100, "nothing but pings"
