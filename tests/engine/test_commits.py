"""The commit door: durable before it is answered, whole whatever happens to whoever asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerd.core.chain import Run
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.origin import Announcement
from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.changes import RowEdit
from peerd.core.tables.intents import intents_of
from peerd.core.tables.plans import BindingPlan
from peerd.core.values import pack
from peerd.errors import DiskFull, UserError
from peerd.protocol.control.messages import ChangeRequest
from tests.engine.conftest import Device
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_a_session_that_ends_in_the_middle_of_a_commit_leaves_the_copy_as_the_disk_has_it() -> None:
    """The transaction is written even if nobody waits for it any more; what is in memory has to know of it."""
    async with Scene(2) as scene:
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


async def runs_of(scene: Scene, device: int) -> tuple[list[Announcement], list[Run]]:
    space = scene.space(device)
    rows = (await scene.do(device, lambda: space.store.runs_after(0, 1 << 30))).rows
    return [at.announcement for at in space.copy.origins.values()], [row.run for row in rows]


@in_virtual_time
async def test_what_comes_in_the_wrong_order_in_one_commit_is_sorted_there() -> None:
    """Nothing would ever try again what waits for a run that came beside it."""
    async with Scene(2) as scene:
        for key in ("one", "two", "three"):
            await scene.put(0, key, a=1)
        announcements, runs = await runs_of(scene, 0)
        receiver = scene.space(1)
        await scene.do(1, lambda: receiver.commits.take(announcements, runs[::-1]))
        assert receiver.copy.clock() == scene.space(0).copy.clock()
        assert not receiver.commits.staging


@in_virtual_time
async def test_what_comes_too_early_waits_over_a_restart() -> None:
    async with Scene(2) as scene:
        for key in ("one", "two", "three"):
            await scene.put(0, key, a=1)
        announcements, runs = await runs_of(scene, 0)
        commits = scene.space(1).commits
        await scene.do(1, lambda: commits.take(announcements, runs[1:]))
        assert scene.space(1).copy.clock() == {}
        await scene.devices[1].crash()
        await scene.devices[1].start()
        again = scene.space(1).commits
        await scene.do(1, lambda: again.take(announcements, runs[:1]))
        assert scene.space(1).copy.clock() == scene.space(0).copy.clock()
        assert not again.staging


@in_virtual_time
async def test_what_waits_and_was_removed_meanwhile_is_dropped() -> None:
    """It would wait for ever, and be said to."""
    async with Scene(3) as scene:
        for key in ("one", "two"):
            await scene.put(0, key, a=1)
        announcements, runs = await runs_of(scene, 0)
        receiver = scene.space(1)
        await scene.do(1, lambda: receiver.commits.take(announcements, runs[1:]))
        assert len(receiver.commits.staging) == 1
        remover = scene.devices[1].running.spaces
        await scene.do(1, lambda: remover.remove(receiver, scene.devices[0].id))
        await scene.do(1, lambda: receiver.commits.take(announcements, runs[:1]))
        assert not receiver.commits.staging
        assert receiver.copy.clock() == {}


# ---- our own


@in_virtual_time
async def test_writers_that_come_together_share_a_commit() -> None:
    async with Scene(1) as scene:
        await scene.put(0, "first", a=1)
        await asyncio.gather(*(scene.put(0, f"{number}", a=number) for number in range(50)))
        _, runs = await runs_of(scene, 0)
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
                if space.commits._lock.locked():  # the first is being committed
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


BOUND = StoredBinding(b"b" * 16, "todo", "/home/ada/todo.db", BindingPlan("todo", ()))


async def test_a_note_is_durable_with_its_transaction_and_only_if_there_is_one(desk: Device) -> None:
    """What changes nothing is answered all the same, and the note before stays."""
    space = desk.space
    await space.store.save_binding(BOUND)
    put = Intent(Kind.PUT, "notes", "one", {"a": pack(1)})
    written = await space.commits.write([put], Note(BOUND.id, b"first"))
    (stored,) = await space.store.bindings()
    assert (stored.note, stored.dot) == (b"first", written.dot)
    again = await space.commits.write([put], Note(BOUND.id, b"second"))
    assert again.dot is None
    (stored,) = await space.store.bindings()
    assert stored.note == b"first"


async def test_a_refused_transaction_leaves_no_note(desk: Device) -> None:
    await desk.space.store.save_binding(BOUND)
    with pytest.raises(UserError, match="no record"):
        await desk.space.commits.write([Intent(Kind.PATCH, "notes", "one", {"a": pack(1)})], Note(BOUND.id, b"x"))
    (stored,) = await desk.space.store.bindings()
    assert stored.note is None


async def test_an_edit_of_a_row_beats_a_delete_that_it_had_not_seen(desk: Device) -> None:
    """The record comes back in the same transaction, with the fields that the edit does not name."""
    await desk.put("one", {"a": 1, "b": 2})
    seen = (await desk.records.load("notes", "one")).dots()
    await desk.delete("one")
    edit = RowEdit("patch", "notes", "one", {"a": pack(3)}, seen)
    await desk.space.commits.write(intents_of([edit]))
    assert await desk.value("one") == {"a": 3, "b": 2}


async def test_a_row_deleted_without_having_seen_an_edit_leaves_the_edit(desk: Device) -> None:
    await desk.put("one", {"a": 1, "b": 2})
    seen = (await desk.records.load("notes", "one")).dots()
    await desk.patch("one", set={"a": 5})
    await desk.space.commits.write(intents_of([RowEdit("delete", "notes", "one", seen=seen)]))
    assert await desk.value("one") == {"a": 5, "b": 2}
