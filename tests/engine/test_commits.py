"""The commit door: durable before it is answered, whole whatever happens to whoever asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_a_session_that_ends_in_the_middle_of_a_commit_leaves_the_copy_as_the_disk_has_it(tmp_path: Path) -> None:
    """The transaction is written even if nobody waits for it any more; what is in memory has to know of it."""
    async with Scene(tmp_path, 2) as scene:
        await scene.put(0, "one", a=1)
        log = scene.space(0).store
        rows = (await scene.do(0, lambda: log.runs_after(0, 1 << 20))).rows
        announcements = [at.announcement for at in scene.space(0).copy.origins.values()]
        receiver = scene.space(1)

        async def take() -> None:
            await receiver.commits.take(announcements, [row.run for row in rows])

        async def cut_short() -> None:
            task = asyncio.create_task(take())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        await scene.do(1, cut_short)
        await scene.do(1, take)
        await asyncio.sleep(1)
        on_disk = await scene.do(1, lambda: receiver.store.runs_after(0, 1 << 20))
        assert [row.run for row in on_disk.rows] == [row.run for row in rows], "applied once"
        assert receiver.copy == scene.space(0).copy
