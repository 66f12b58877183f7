"""The store as a whole: one owner, whole transactions whatever happens to the caller, the same over both runners."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from peerd.core.batch import Batch
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.values import unpack
from peerd.core.writes import Writes, finish
from peerd.errors import StoreBusy, StoreError
from peerd.store.space import SpaceStore
from tests.store.copies import SPACE, Copy, MakeCopy, patch, put


async def test_everything_is_there_after_a_restart(copy: Copy) -> None:
    """State, records, counts and log agree with what was written before."""
    await copy.write([put("todo", "a", title="x", n=1)], [put("note", "b", title="y")])
    await copy.write([patch("todo", "a", title="z")])
    before, records = copy.state, await copy.store.page("todo", "", None, 10)
    opened = await copy.reopen()
    assert opened.state == before
    assert (opened.space, opened.name, opened.own_origin) == (SPACE, "home", copy.origin)
    after = await copy.store.page("todo", "", None, 10)
    assert [(key, record.fields) for key, record in after.records] == [
        (key, record.fields) for key, record in records.records
    ]
    assert (await copy.reopen()).copy_id == opened.copy_id


async def test_a_decision_to_do_nothing_writes_nothing(copy: Copy) -> None:
    """No run, no origin, and its result is given all the same; what else would be asked is not."""
    before = copy.path.with_name("space.db-wal").stat().st_size

    def never() -> Any:
        raise AssertionError

    assert await copy.store.transact(lambda _: (None, "answer"), own_origin=never, unstaged=never) == "answer"
    assert copy.path.with_name("space.db-wal").stat().st_size == before


async def test_a_decision_that_raises_writes_nothing(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error comes out as it is, also when it comes after the writes were made; the next one goes on."""

    def fail(_: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await copy.store.transact(fail)
    await copy.write([put("todo", "a", n=1)])
    state, written = copy.state, []
    original = copy.store.transact

    async def late(inside: Any, own_origin: Any) -> Any:
        def broken() -> Any:
            written.append(1)
            raise KeyError("late")

        return await original(inside, own_origin, broken)

    monkeypatch.setattr(copy.store, "transact", late)
    with pytest.raises(KeyError, match="late"):
        await copy.write([put("new collection", "b", n=1)])
    assert written
    monkeypatch.setattr(copy.store, "transact", original)
    assert (await copy.store.collections())[0].name == "todo"
    await copy.write([put("other collection", "c", n=1)])
    opened = await copy.reopen()
    assert opened.state.seq(copy.origin) == state.seq(copy.origin) + 1
    assert [count.name for count in await copy.store.collections()] == ["other collection", "todo"]


async def test_a_decision_on_an_older_state_is_refused(copy: Copy) -> None:
    """A caller that lost track would give a sequence number twice: nothing is written, and it is told."""
    await copy.write([put("todo", "a", n=1)])
    older = copy.state
    await copy.write([put("todo", "b", n=1)])
    newer, copy.state = copy.state, older
    with pytest.raises(StoreError, match="older than what is stored") as raised:
        await copy.write([put("todo", "c", n=1)])
    assert raised.value.code == "store-stale"
    assert (await copy.reopen()).state == newer
    await copy.write([put("todo", "c", n=1)])
    assert len((await copy.store.runs_after(0, 1 << 20)).rows) == 3


async def test_numbers_of_a_failed_transaction_are_given_again(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An origin and a collection that were rolled back leave nothing behind that a later one could be taken for."""
    copy, theirs = await make_copy("ours"), await make_copy("theirs", device=b"E" * 32)
    await theirs.write([put("lost", "x", n=1)])
    (row,) = (await theirs.store.runs_after(0, 1 << 20)).rows
    announcement = theirs.state.origins[theirs.origin].announcement
    original = copy.store.transact

    async def failing(inside: Any, **_: Any) -> Any:
        def fail() -> Any:
            raise KeyError("rolled back")

        return await original(inside, unstaged=fail)

    monkeypatch.setattr(copy.store, "transact", failing)
    with pytest.raises(KeyError):
        await copy.take(announcement, row.run)
    monkeypatch.setattr(copy.store, "transact", original)
    await copy.write([put("kept", "a", n=1)])
    stored = await copy.record("kept", "a")
    assert stored.record.births == {(copy.origin, 1)}
    await copy.take(announcement, row.run)
    assert (await copy.record("lost", "x")).record.births == {(theirs.origin, 1)}
    assert (await copy.record("kept", "a")).record.births == {(copy.origin, 1)}
    assert (await copy.reopen()).state.clock() == {copy.origin: 1, theirs.origin: 1}


@pytest.mark.parametrize("awaits", range(1, 12))
async def test_a_cancelled_transaction_is_whole(copy: Copy, awaits: int) -> None:
    """Cancelled at any await, it has happened entirely or not at all, and the next one is not disturbed."""
    await copy.write([put("todo", "before", n=1)])
    task = asyncio.ensure_future(copy.write([put("todo", "a", n=1), put("todo", "b", n=1)]))
    for _ in range(awaits):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    opened = await copy.reopen()
    keys = [key for key, _ in (await copy.store.page("todo", "", None, 10)).records]
    assert keys in (["before"], ["a", "b", "before"])
    assert opened.state.visible == len(keys) == (await copy.store.collections())[0].records
    assert opened.state.seq(copy.origin) == len((await copy.store.runs_after(0, 1 << 20)).rows)
    assert opened.own_origin == copy.origin
    await copy.write([put("todo", "after", n=1)])
    assert (await copy.reopen()).state == copy.state


@pytest.mark.parametrize("threaded", [True])
async def test_a_transaction_that_was_called_is_done_though_its_caller_is_gone(
    make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled inside the decision, with the writer's thread in the middle of it."""
    copy = await make_copy()
    inside, go_on = threading.Event(), threading.Event()
    original = copy.store.transact

    async def slow(decide: Any, **rest: Any) -> Any:
        def slowly(transaction: Any) -> Any:
            inside.set()
            assert go_on.wait(10)
            return decide(transaction)

        return await original(slowly, **rest)

    monkeypatch.setattr(copy.store, "transact", slow)
    task = asyncio.ensure_future(copy.write([put("todo", "a", n=1)]))
    await asyncio.to_thread(inside.wait, 10)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    closing = asyncio.ensure_future(copy.store.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    opened = await copy.open()
    assert opened.state.visible == 1
    assert opened.own_origin == copy.origin
    assert opened.origin_note == ""


@pytest.mark.parametrize("threaded", [True])
async def test_readers_see_a_transaction_whole_or_not_at_all(make_copy: MakeCopy) -> None:
    """A read that began before a commit does not see it, and does not hold it up."""
    copy = await make_copy()
    await copy.write([put("todo", "a", n=1)])
    inside, go_on = threading.Event(), threading.Event()

    def slowly(transaction: Any) -> Any:
        before = transaction.records([("todo", "b")])
        inside.set()
        assert go_on.wait(10)
        return before, transaction.records([("todo", "b")])

    reading = asyncio.ensure_future(copy.store.read(slowly))
    await asyncio.to_thread(inside.wait, 10)
    await copy.write([put("todo", "b", n=1)])
    go_on.set()
    assert await reading == ({}, {})
    assert await copy.record("todo", "b")


async def test_a_second_owner_is_refused_with_a_sentence(copy: Copy) -> None:
    """Two daemons on one state directory would give the same sequence numbers twice."""
    with pytest.raises(StoreBusy, match="Another peerd") as raised:
        await SpaceStore.open(copy.path, copy.device, copy.mark_path, copy.chance.randbytes, lambda: 0)
    assert "state directory" in raised.value.next_step
    await copy.store.close()
    await copy.open()


async def test_a_second_database_is_not_made_over_the_first(copy: Copy) -> None:
    """Creating refuses, and what is there stays."""
    await copy.write([put("todo", "a", n=1)])
    await copy.store.close()
    with pytest.raises(StoreError, match="exists already") as raised:
        await copy.create()
    assert raised.value.code == "store-exists"
    assert (await copy.open()).state.visible == 1


async def test_what_is_closed_says_so(copy: Copy) -> None:
    """Closing twice is one closing; a call after it is refused as an error of the store."""
    await copy.store.close()
    await copy.store.close()
    for call in (copy.store.read(lambda _: 1), copy.store.transact(lambda _: (None, 1))):
        with pytest.raises(StoreError, match="is closed") as raised:
            await call
        assert raised.value.code == "store-closed"
    await copy.open()


async def test_a_cancelled_close_still_closes(copy: Copy) -> None:
    """The mark is clean and the lock is free, though nobody waited."""
    await copy.write([put("todo", "a", n=1)])
    task = asyncio.ensure_future(copy.store.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await copy.store.close()
    assert b'"clean":true' in copy.mark_path.read_bytes()
    assert (await copy.open()).own_origin == copy.origin


async def test_the_size_counts_the_wal(copy: Copy) -> None:
    """What the database takes on the disk grows with what is written, before any checkpoint."""
    before = await copy.store.size_bytes()
    await copy.write([put("todo", "a", text="x" * 100_000)])
    assert await copy.store.size_bytes() >= before + 100_000


async def test_restores_name_the_delete_they_answer(copy: Copy) -> None:
    """Known or not, the origin of that delete survives the stored form."""
    await copy.write([patch("todo", "a", n=1), patch("todo", "b", n=1)])
    answers = {"a": Dot(copy.origin, 1), "b": Dot(b"?" * 16, 3)}

    def decide(transaction: Any) -> tuple[Writes | None, CopyState]:
        batch = Batch(copy.state, transaction, lambda *_: None, lambda *_: True)
        batch.load([("todo", key) for key in answers])
        batch.write(
            copy.author(), [Change(Kind.RESTORE, "todo", key, answers=dot) for key, dot in answers.items()], 9, 1
        )
        writes = finish(batch)
        return writes, writes.state

    copy.state = await copy.store.transact(decide)
    await copy.reopen()
    for key, dot in answers.items():
        record = (await copy.record("todo", key)).record
        (birth,) = record.births
        assert record.stamps[birth].answers == dot
        assert record.stamps[birth].restored
    assert [name[1] for name, _ in await copy.store.flagged(None, 10)] == ["a", "b"]


async def test_many_collections_and_origins_keep_apart(make_copy: MakeCopy) -> None:
    """A longer history of three devices: every copy that has everything shows the same."""
    copies = [await make_copy(f"copy {number}", device=bytes([number]) * 32) for number in range(3)]
    for round_ in range(4):
        for number, copy in enumerate(copies):
            await copy.write([put(f"c{number}", f"{round_}", by=number), patch("shared", "x", by=number)])
    for reader in copies:
        for writer in copies:
            if reader is not writer:
                runs = (await writer.store.runs_after(0, 1 << 20, covered=reader.state.clock())).rows
                announcements = {row.run.origin: writer.state.origins[row.run.origin].announcement for row in runs}
                for row in runs:
                    await reader.take(announcements[row.run.origin], row.run)
    assert len({copy.state.digest for copy in copies}) == 1
    for copy in copies:
        assert (await copy.reopen()).state == copy.state
        assert [count.records for count in await copy.store.collections()] == [4, 4, 4]
        record = (await copy.record("shared", "x")).record
        assert sorted(unpack(value) for value in record.fields["by"].values()) == [0, 1, 2]
