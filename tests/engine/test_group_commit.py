"""Writers that come together: one commit for all of them, and an answer for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerd.errors import DiskFull, UserError
from peerd.protocol.control.messages import ChangeRequest
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_writers_that_come_together_share_a_commit() -> None:
    async with Scene(1) as scene:
        await scene.put(0, "first", a=1)
        await asyncio.gather(*(scene.put(0, f"{number}", a=number) for number in range(50)))
        store = scene.space(0).store
        runs = [row.run for row in (await scene.do(0, lambda: store.runs_after(0, 1 << 30))).rows]
        assert sum(len(run.entries) for run in runs) == 51
        assert len(runs) <= 4


@in_virtual_time
async def test_a_commit_that_fails_answers_all_its_writers_and_uses_no_number() -> None:
    async with Scene(1) as scene:
        await scene.put(0, "first", a=1)
        before = scene.space(0).copy
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        answers = await asyncio.gather(
            *(scene.put(0, f"{number}", a=number) for number in range(20)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {DiskFull}
        assert scene.space(0).copy is before
        device.fault_now = lambda: None
        written = await scene.put(0, "second", a=2)
        assert written.dot is not None
        assert written.dot.endswith(":2")
        assert {record.key for record in (await scene.list(0)).records} == {"first", "second"}


@in_virtual_time
async def test_a_first_commit_that_fails_uses_up_no_origin() -> None:
    async with Scene(1) as scene:
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        with pytest.raises(DiskFull):
            await scene.put(0, "lost", a=1)
        device.fault_now = lambda: None
        written = await scene.put(0, "first", a=1)
        assert written.dot is not None
        assert written.dot.endswith(":1")
        assert len(scene.space(0).copy.origins) == 1


@in_virtual_time
async def test_one_refused_writer_does_not_disturb_the_others() -> None:
    async with Scene(1) as scene:
        await scene.put(0, "there", a=1)
        delete = ChangeRequest(kind="delete", collection="notes", key="nowhere", must_exist=True)
        good, bad, last = await asyncio.gather(
            scene.put(0, "good", a=1), scene.write(0, delete), scene.put(0, "last", a=1), return_exceptions=True
        )
        assert isinstance(bad, UserError)
        assert bad.code == "record-not-found"
        assert not isinstance(good, BaseException)
        assert not isinstance(last, BaseException)


@pytest.mark.parametrize("moment_s", [0.0, 0.0002, 0.0005, 0.001, 0.002])
@in_virtual_time
async def test_a_writer_that_goes_away_tears_nothing(moment_s: float) -> None:
    """Its transaction is there whole, or not at all; the others are answered."""
    async with Scene(1) as scene:
        changes = [ChangeRequest(kind="put", collection="notes", key=key, value={"a": 1}) for key in "xyz"]
        gone = asyncio.create_task(scene.write(0, *changes))
        other = asyncio.create_task(scene.put(0, "other", a=1))
        await asyncio.sleep(moment_s)
        gone.cancel()
        await asyncio.wait([gone, other])
        assert (await other).dot is not None
        keys = {record.key for record in (await scene.list(0)).records}
        assert keys in ({"other"}, {"other", "x", "y", "z"})
        await scene.put(0, "after", a=1)
        device = scene.devices[0]
        await device.crash()
        await device.start()
        assert {record.key for record in (await scene.list(0)).records} == {*keys, "after"}


@in_virtual_time
async def test_stopping_refuses_writes_that_have_not_begun_and_finishes_the_one_that_has() -> None:
    async with Scene(1) as scene:
        space = scene.space(0)

        async def stop_while_writing() -> list[Any]:
            first = asyncio.create_task(scene.devices[0].running.service.write("home", [change("first")]))
            for _ in range(100):
                if space.commits._works._lock.locked():  # the first is being committed
                    break
                await asyncio.sleep(0)
            second = asyncio.create_task(scene.devices[0].running.service.write("home", [change("second")]))
            await asyncio.sleep(0)
            await space.commits.close()
            late = asyncio.create_task(scene.devices[0].running.service.write("home", [change("late")]))
            return list(await asyncio.gather(first, second, late, return_exceptions=True))

        def change(key: str) -> ChangeRequest:
            return ChangeRequest(kind="put", collection="notes", key=key, value={"a": 1})

        first, *refused = await scene.do(0, stop_while_writing)
        assert not isinstance(first, BaseException)
        for one in refused:
            assert isinstance(one, UserError)
            assert (one.code, one.status) == ("stopping", 503)
        await scene.do(0, space.commits.close)
        device = scene.devices[0]
        await device.stop()
        await device.start()
        assert {record.key for record in (await scene.list(0)).records} == {"first"}
