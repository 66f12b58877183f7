"""The commit door: durable before it is answered, whole whatever happens to whoever asked."""

from __future__ import annotations

import asyncio

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
from peerd.errors import UserError
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


BOUND = StoredBinding(b"b" * 16, "todo", "/home/ada/todo.db", BindingPlan("todo", ()))


async def test_a_note_is_durable_with_its_transaction_and_only_if_there_is_one(desk: Device) -> None:
    """What changes nothing is answered all the same, and the note before stays."""
    space = desk.space
    await space.store.bindings.save(BOUND)
    put = Intent(Kind.PUT, "notes", "one", {"a": pack(1)})
    written = await space.commits.write([put], Note(BOUND.id, b"first"))
    (stored,) = await space.store.bindings.load()
    assert (stored.note, stored.dot) == (b"first", written.dot)
    again = await space.commits.write([put], Note(BOUND.id, b"second"))
    assert again.dot is None
    (stored,) = await space.store.bindings.load()
    assert stored.note == b"first"


async def test_a_refused_transaction_leaves_no_note(desk: Device) -> None:
    await desk.space.store.bindings.save(BOUND)
    with pytest.raises(UserError, match="no record"):
        await desk.space.commits.write([Intent(Kind.PATCH, "notes", "one", {"a": pack(1)})], Note(BOUND.id, b"x"))
    (stored,) = await desk.space.store.bindings.load()
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
