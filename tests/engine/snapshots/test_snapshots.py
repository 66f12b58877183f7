"""Snapshots between devices with real databases: nothing of either side is lost, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from peerd.core import digest
from peerd.core.batch import Fork
from peerd.core.record_form import digest_of
from peerd.core.snapshots.parts import PART_BYTES, Begin, encode
from peerd.core.snapshots.stored import Phase
from peerd.core.stored import StoredPeer
from peerd.engine.conflicts import Conflicts
from peerd.engine.feed import Feed
from peerd.engine.snapshots import exchange as snapshot_exchange
from peerd.engine.snapshots.exchange import SnapshotExchange
from peerd.engine.snapshots.making import Served
from peerd.engine.snapshots.snapshots import ABANDONED_MS
from peerd.engine.upkeep import small_steps
from peerd.errors import RemoteProtocolError, StoreDamaged, StoreError
from peerd.protocol.control.messages import CollectionChange
from peerd.protocol.session import Phase as SessionPhase
from peerd.store import snapshot_reading, snapshots, switching, trimming
from tests.engine.conftest import Device, MakeDevice, Until, Wire

ONE, TWO = b"snapshot one    ", b"snapshot two    "


async def made(device: Device) -> list[bytes]:
    """All parts of a snapshot."""
    outgoing = device.space.snapshots.serving.begin_outgoing()
    async with aclosing(outgoing.parts()) as parts:
        found = [part async for part in parts]
    assert outgoing.clock == device.clock_now()
    return found


async def made_while(device: Device, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """The same, and after every part something happens."""
    async with aclosing(device.space.snapshots.serving.begin_outgoing().parts()) as parts:
        async for _ in parts:
            await meanwhile()


async def each(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def take(device: Device, parts: Sequence[bytes], snapshot: bytes = ONE) -> bool:
    return await device.space.snapshots.take_in(snapshot, each(parts))


async def send(sender: Device, receiver: Device) -> None:
    await receiver.space.learn(sender.space.roster.statements)
    assert await take(receiver, await made(sender))


async def cleared(device: Device, until: Until) -> None:
    clearing = device.space.snapshots._clearing
    await until(lambda: clearing._task is None or clearing._task.done())
    assert await device.space.store.snapshots.incoming() is None


async def conflicts(device: Device) -> list[Any]:
    listed = await Conflicts(device.space).list(collection=None, key=None, limit=10, cursor=None)
    return list(listed.conflicts)


def query(device: Device, sql: str) -> list[Any]:
    """What the database says, looked at from outside."""
    (path,) = (device.folder / "spaces").glob("*.db")
    with sqlite3.connect(path) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


async def check(device: Device) -> None:
    """Digest and counts are those of the rows."""

    def recomputed(transaction: Any) -> tuple[bytes, dict[str, int]]:
        connection, refs = transaction._connection, transaction._refs
        names = {number: name for name, number in refs.number_of.items()}
        steps, visible = [], dict.fromkeys(refs.number_of, 0)
        for collection, key, flags, stamps, body in connection.execute(
            "SELECT collection, key, flags, stamps, body FROM record"
        ):
            steps.append(digest_of(names[collection], key, refs.decode_stamps(stamps), body))
            visible[names[collection]] += not flags & 1
        return digest.moved(digest.EMPTY, steps), {name: count for name, count in visible.items() if count}

    sums, visible = await device.space.store.read(recomputed)
    assert sums == device.space.copy.digest
    assert {one.name: one.records for one in await device.space.store.collections()} == visible
    assert device.space.copy.visible == sum(visible.values())


async def agree(*devices: Device) -> None:
    """Equal clocks, equal digests."""
    first = devices[0]
    for device in devices:
        await check(device)
        assert device.clock_now() == first.clock_now()
        assert device.space.copy.digest == first.space.copy.digest


async def meet(one: Device, other: Device) -> None:
    await one.tell(other)
    await other.tell(one)


# ---- a newcomer


async def test_an_empty_copy_becomes_the_same(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    for number in range(300):
        await desk.put(f"{number:03}", {"n": number, "text": "x" * 3000}, collection=f"c{number % 3}")
    await desk.delete("004", collection="c1")
    parts = await made(desk)
    assert max(map(len, parts)) <= PART_BYTES
    assert len(parts) > 4
    assert await take(laptop, parts)
    await agree(desk, laptop)
    assert (await laptop.value("005", "c2"))["n"] == 5
    assert laptop.space.copy.horizon() == desk.clock_now()
    await cleared(laptop, until)
    assert query(laptop, "SELECT name FROM sqlite_schema WHERE name IN ('former_record', 'incoming_record')") == []
    assert query(laptop, "SELECT count(*) FROM record") == [(299,)]


async def test_life_goes_on_afterwards(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    await send(desk, laptop)
    await laptop.patch("one", set={"b": 2})
    await desk.put("two", {"a": 1})
    await meet(desk, laptop)
    await agree(desk, laptop)
    assert await desk.value("one") == {"a": 1, "b": 2}
    again = await laptop.reopen()
    await agree(desk, again)
    await again.put("three", {"a": 3})
    await meet(desk, again)
    await agree(desk, again)


async def test_a_snapshot_of_an_empty_copy_changes_nothing(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await laptop.put("one", {"a": 1})
    await send(desk, laptop)
    assert await laptop.value("one") == {"a": 1}
    await laptop.tell(desk)
    await agree(desk, laptop)


async def test_what_waited_for_what_a_snapshot_brought_is_applied(two: tuple[Device, Device], make: MakeDevice) -> None:
    """A run of the phone, which had seen the desk's, came before those."""
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await desk.put("one", {"a": 1})
    parts = await made(desk)
    await desk.tell(phone)
    await phone.patch("one", set={"b": 2})
    await laptop.space.learn(desk.space.roster.statements)
    origin = phone.space.commits.own_origin
    assert origin is not None
    runs = [row.run for row in (await phone.space.store.runs_after(0, 1 << 20)).rows if row.run.origin == origin]
    await laptop.space.commits.take([phone.space.copy.origins[origin].announcement], runs)
    assert len(laptop.space.commits.staging) == 1
    assert await take(laptop, parts)
    assert await laptop.value("one") == {"a": 1, "b": 2}
    assert len(laptop.space.commits.staging) == 0
    await agree(laptop, phone)


async def test_a_third_device_passes_on_what_it_took_in(two: tuple[Device, Device], make: MakeDevice) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await desk.put("one", {"a": 1})
    await send(desk, laptop)
    await laptop.put("two", {"a": 2})
    await send(laptop, phone)
    await agree(laptop, phone)
    await phone.put("three", {"a": 3})
    await phone.tell(laptop)
    await laptop.tell(desk)
    await agree(desk, laptop, phone)


# ---- a returning device


async def test_unsent_edits_and_deletes_of_both_sides_meet(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    for key in ("kept", "edited", "gone here", "gone there", "both"):
        await desk.put(key, {"a": 1, "b": 1})
    await desk.tell(laptop)
    await laptop.patch("edited", set={"a": "laptop"})
    await laptop.patch("both", set={"a": "laptop"})
    await laptop.delete("gone here")
    await laptop.put("new here", {"a": 1})
    await desk.patch("edited", set={"b": "desk"})
    await desk.patch("both", set={"a": "desk"})
    await desk.delete("gone there")
    await desk.put("new there", {"a": 1})
    await send(desk, laptop)
    await check(laptop)
    assert await laptop.value("edited") == {"a": "laptop", "b": "desk"}
    assert await laptop.value("new there") == {"a": 1}
    assert query(laptop, "SELECT count(*) FROM record WHERE key LIKE 'gone%'") == [(0,)]
    await laptop.tell(desk)
    await agree(desk, laptop)
    (conflict,) = await conflicts(desk)
    assert conflict.key == "both"
    await cleared(laptop, until)
    shown = query(laptop, "SELECT key FROM history WHERE by_seq = 0 ORDER BY key")
    assert shown == [("edited",), ("gone there",)]


async def test_an_edit_that_met_a_delete_in_the_snapshot_is_restored(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1, "b": 2})
    await desk.tell(laptop)
    await laptop.patch("one", set={"a": "edited"})
    await desk.delete("one")
    await send(desk, laptop)
    await until(lambda: laptop.space._parked_task is None or laptop.space._parked_task.done())
    assert await laptop.value("one") == {"a": "edited", "b": 2}
    await laptop.tell(desk)
    await agree(desk, laptop)
    (conflict,) = await conflicts(desk)
    assert (conflict.kind, conflict.deleted_by) == ("restored", None)


async def test_the_settings_of_collections_come_along(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await laptop.records.set_collection("notes", CollectionChange(policy="max"))
    await laptop.tell(desk)
    await desk.put("one", {})
    await desk.records.set_collection("notes", CollectionChange(policy="newest"))
    await send(desk, laptop)
    assert laptop.space.commits.rules.of("notes").policy == "newest"


async def test_own_writes_that_the_snapshot_knows_better_end_the_own_origin(
    two: tuple[Device, Device], make: MakeDevice
) -> None:
    """The laptop went back in time; the desk has more of its origin than it has itself."""
    desk, laptop = two
    await laptop.put("one", {"a": 1})
    before = laptop.space.commits.own_origin
    await laptop.tell(desk)
    (path,) = (laptop.folder / "spaces").glob("*.db")
    mark = laptop.folder / "marks" / f"{path.stem}.mark"
    laptop = await laptop.reopen()
    await laptop.spaces.close()
    laptop.spaces.by_id.clear()
    files = {file: file.read_bytes() for file in (path, mark)}  # the whole machine goes back
    await laptop.spaces.open_all()
    await laptop.put("two", {"a": 2})
    await laptop.tell(desk)
    await laptop.spaces.close()
    laptop.spaces.by_id.clear()
    for file, data in files.items():
        file.write_bytes(data)
    await laptop.spaces.open_all()
    assert laptop.space.commits.own_origin == before
    await send(desk, laptop)
    assert laptop.space.commits.own_origin is None
    assert await laptop.value("two") == {"a": 2}
    await laptop.put("three", {"a": 3})
    assert laptop.space.commits.own_origin != before
    await laptop.tell(desk)
    await agree(desk, laptop)


# ---- while life goes on


async def test_what_is_written_while_it_is_made_is_in_it(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    for number in range(60):
        await desk.put(f"{number:02}", {"text": "x" * 20_000})
    outgoing = desk.space.snapshots.serving.begin_outgoing()
    parts = []
    async with aclosing(outgoing.parts()) as coming:
        async for part in coming:
            parts.append(part)
            if len(parts) in {4, 5}:
                assert desk.space.snapshots.pinned() is not None
                await desk.put(f"00 {len(parts)}", {"a": len(parts)})
                await desk.patch("01", set={"a": len(parts)})
                await desk.put(f"99 {len(parts)}", {"a": 1}, collection=f"later-{len(parts)}")
                if len(parts) == 4:
                    await desk.delete("02")
                    await desk.delete("59")
    assert desk.space.snapshots.pinned() is None
    assert outgoing.clock == desk.clock_now()
    assert outgoing.records == desk.space.copy.visible
    assert await take(laptop, parts)
    await agree(desk, laptop)


async def test_a_new_device_that_writes_while_it_is_made_is_in_it(two: tuple[Device, Device], make: MakeDevice) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    for number in range(60):
        await desk.put(f"{number:02}", {"text": "x" * 20_000})
    parts = []
    async with aclosing(desk.space.snapshots.serving.begin_outgoing().parts()) as coming:
        async for part in coming:
            parts.append(part)
            if len(parts) == 4:
                await phone.put("55 phone", {"a": 1})
                await phone.tell(desk)
    await laptop.space.learn(desk.space.roster.statements)
    assert await take(laptop, parts)
    await agree(desk, laptop)


@pytest.mark.parametrize("few", [1, 500])
async def test_what_is_written_while_it_is_merged_stays(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(switching, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(switching, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(snapshots, "FEW_TOUCHED", few)
    desk, laptop = two
    for number in range(50):
        await desk.put(f"{number:02}", {"a": 1, "b": 1})
    await desk.tell(laptop)
    for number in range(50):
        await desk.patch(f"{number:02}", set={"b": 2})
        if number % 5 == 1:
            await desk.delete(f"{number:02}")
    parts = await made(desk)
    merge_after = switching.merge_after
    number = 0
    calls: list[asyncio.Task[Any]] = []
    loop = asyncio.get_running_loop()

    def write_between(site: Any, cursor: Any) -> Any:
        nonlocal number
        keys = (f"{number:02}", f"{49 - number:02}")
        calls.extend(loop.create_task(laptop.patch(key, set={"a": f"merged {number}"})) for key in keys)
        calls.append(loop.create_task(laptop.put(f"new {number}", {"a": number})))
        number += 1
        return merge_after(site, cursor)

    monkeypatch.setattr(switching, "merge_after", write_between)
    assert await take(laptop, parts)
    await asyncio.gather(*calls, return_exceptions=True)
    await laptop.space.commits.restore_parked()
    await check(laptop)
    await meet(laptop, desk)
    await meet(laptop, desk)
    await agree(laptop, desk)
    for made_key in range(number):
        assert await desk.value(f"new {made_key}") == {"a": made_key}
    assert number > 5


# ---- cut, refused, damaged


async def test_a_cut_one_goes_on_where_it_stopped(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    for number in range(8):
        await desk.put(f"{number:03}", {"text": "x" * 150_000})
    await desk.put("large", {"text": "x" * 900_000})
    parts = await made(desk)
    assert len(parts) > 8
    for reached in range(1, len(parts)):
        await laptop.put(f"meanwhile {reached}", {"a": reached})
        begin = await laptop.space.snapshots.wanted(ONE)
        assert begin <= reached - 1
        assert not await take(laptop, parts[begin:reached])
        laptop = await laptop.reopen()
    assert laptop.space.copy.visible == len(parts) - 1, "what has come is not shown"
    assert await take(laptop, parts[await laptop.space.snapshots.wanted(ONE) :])
    await laptop.tell(desk)
    await agree(desk, laptop)


async def test_cancelled_anywhere_it_goes_on(make: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real threads: what was begun is done even if nobody waits for it, and the next attempt finds it."""
    monkeypatch.setattr(switching, "ROWS_AT_ONCE", 3)
    desk, laptop = make("desk", threaded=True), make("laptop", threaded=True)
    await desk.spaces.found("home")
    await desk.admit(laptop)
    for number in range(12):
        await desk.put(f"{number:02}", {"text": "x" * 250_000, "n": 1})
    await desk.tell(laptop)
    for number in range(12):
        await desk.patch(f"{number:02}", set={"n": 2})
        await laptop.patch(f"{number:02}", set={"m": 2})
    parts = await made(desk)
    turns, done = 0, False
    while not done:
        begin = await laptop.space.snapshots.wanted(ONE)
        task = asyncio.create_task(take(laptop, parts[begin:]))
        turns += 1
        for _ in range(turns):
            await asyncio.sleep(0.0005 * turns)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome is True or isinstance(outcome, asyncio.CancelledError)
        done = laptop.space.copy.horizon() != {}
    assert turns > 3
    await check(laptop)
    await laptop.tell(desk)
    await agree(desk, laptop)


async def test_whoever_is_cancelled_leaves_the_reading_to_the_next(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    rows, go = desk.space.store.snapshots.rows, asyncio.Event()

    async def slow(*asked: Any) -> Any:
        await go.wait()
        return await rows(*asked)

    monkeypatch.setattr(desk.space.store.snapshots, "rows", slow)
    served = await desk.space.snapshots.serving.serve(laptop.id, ONE, 0)
    parts = [await served.part(0)]
    task = asyncio.create_task(_rest(served))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = await desk.space.snapshots.serving.serve(laptop.id, served.id, 1)
    assert again is served
    go.set()
    while (part := parts[-1]) is not None and not part[1]:
        parts.append(await again.part(len(parts)))
    assert await take(laptop, [part[0] for part in parts if part is not None])
    await check(laptop)
    await desk.space.snapshots.serving.end_serving(laptop.id)


async def test_one_that_is_given_up_while_it_is_read_holds_nothing(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.space.store.snapshots, "rows", never)
    served = await desk.space.snapshots.serving.serve(laptop.id, ONE, 0)
    assert await served.part(0)
    await desk.space.snapshots.serving.end_serving(laptop.id)
    assert desk.space.snapshots.pinned() is None


async def _rest(served: Served) -> None:
    number = 1
    while await served.part(number):
        number += 1


async def test_another_one_begins_anew(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    parts = await made(desk)
    assert not await take(laptop, parts[:-1])
    assert await laptop.space.snapshots.wanted(ONE) == len(parts) - 1
    assert await laptop.space.snapshots.wanted(TWO) == 0
    await desk.put("two", {"a": 1})
    assert await take(laptop, await made(desk), TWO)
    await agree(desk, laptop)
    await cleared(laptop, until)


async def test_one_that_is_of_no_use_leaves_nothing(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    await desk.tell(laptop)
    before = laptop.space.copy
    parts = await made(desk)
    wrong = {
        "malformed": [parts[0], b"\x00"],
        "snapshot-refused": encode(Begin(b"another space!!!")),
        "needs-newer": encode(Begin(desk.space.id, level=9)),
        "snapshot-damaged": [parts[0], parts[1], parts[2], parts[-1]],
    }
    for code, broken in wrong.items():
        with pytest.raises(RemoteProtocolError) as caught:
            await take(laptop, broken)
        assert caught.value.code == code
        await cleared(laptop, until)
        assert await laptop.space.snapshots.wanted(ONE) == 0
    with pytest.raises(RemoteProtocolError, match="elsewhere"):
        await laptop.space.snapshots.take_in(ONE, each(parts), {b"o" * 16: 1})
    assert laptop.space.copy == before
    assert await take(laptop, parts)


async def test_another_history_is_refused(two: tuple[Device, Device], until: Until) -> None:
    """The laptop was put back and wrote on under its old origin; the desk has the other writes."""
    desk, laptop = two
    await laptop.put("one", {"a": 1})
    await laptop.tell(desk)
    origin = laptop.space.commits.own_origin
    assert origin is not None
    parts = await made(desk)
    ref = query(laptop, "SELECT ref FROM origin WHERE seq = 1")[0][0]
    (path,) = (laptop.folder / "spaces").glob("*.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE origin SET head = ? WHERE ref = ?", (bytes(32), ref))
    connection.close()
    with pytest.raises(Fork):
        await take(laptop, parts)
    await cleared(laptop, until)
    assert await laptop.value("one") == {"a": 1}


async def test_another_history_further_back_is_refused(two: tuple[Device, Device]) -> None:
    """Neither head tells it, the ends of earlier runs do: of the log, and of what is no longer in it."""
    desk, laptop = two
    await laptop.put("one", {"a": 1})
    await laptop.tell(desk)
    await desk.put("two", {"a": 1})
    await laptop.put("three", {"a": 1})
    for table in ("run", "run_end"):
        (path,) = (laptop.folder / "spaces").glob("*.db")
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE run SET head = ? WHERE last = 1", (bytes(32),))
            if table == "run_end":
                connection.execute(
                    "INSERT INTO run_end (origin, seq, hash8)"
                    " SELECT origin, last, substr(head, 1, 8) FROM run WHERE last = 1"
                )
                connection.execute("DELETE FROM run WHERE last = 1")
        connection.close()
        with pytest.raises(Fork) as caught:
            await take(laptop, await made(desk))
        assert caught.value.seq == 1


async def test_what_a_removed_member_wrote_too_late_is_refused(
    two: tuple[Device, Device], make: MakeDevice, until: Until
) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await phone.put("late", {"a": 1})
    await phone.tell(desk)
    parts = await made(desk)
    await laptop.space.learn(desk.space.roster.statements)
    await laptop.spaces.remove(laptop.space, phone.id)
    with pytest.raises(RemoteProtocolError) as caught:
        await take(laptop, parts)
    assert caught.value.code == "snapshot-refused"
    await cleared(laptop, until)
    assert phone.clock_now().keys().isdisjoint(laptop.clock_now())


async def test_a_removal_that_is_learnt_before_the_switch_counts(
    two: tuple[Device, Device], make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await phone.put("late", {"a": 1})
    await phone.tell(desk)
    parts = await made(desk)
    await laptop.space.learn(desk.space.roster.statements)
    store = laptop.space.store.snapshots
    merge = store.merge

    async def merge_and_remove(standing: Any, doubts: Any) -> Any:
        merged = await merge(standing, doubts)
        await laptop.spaces.remove(laptop.space, phone.id)
        return merged

    monkeypatch.setattr(store, "merge", merge_and_remove)
    with pytest.raises(RemoteProtocolError) as caught:
        await take(laptop, parts)
    assert caught.value.code == "snapshot-refused"
    assert phone.clock_now().keys().isdisjoint(laptop.clock_now())
    await check(laptop)


async def test_an_author_that_the_roster_does_not_know_is_refused(two: tuple[Device, Device], make: MakeDevice) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await phone.put("one", {"a": 1})
    await phone.tell(desk)
    with pytest.raises(RemoteProtocolError) as caught:
        await take(laptop, await made(desk))
    assert caught.value.code == "unknown-author"


async def test_a_full_disk_keeps_what_came(two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    parts = await made(desk)
    assert not await take(laptop, parts[:2])
    with monkeypatch.context() as full:
        full.setattr(laptop.space.store, "room_bytes", lambda: (1 << 20, 1 << 40))
        with pytest.raises(StoreError, match="free"):
            await take(laptop, parts[2:])
    assert await take(laptop, parts[2:])
    await agree(desk, laptop)


# ---- what a damaged copy does not serve


def damage(device: Device, sql: str) -> None:
    (path,) = (device.folder / "spaces").glob("*.db")
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql).rowcount == 1
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE record SET body = x'920181a16103' WHERE key = 'two'",
        "UPDATE record SET stamps = x'c1' WHERE key = 'two'",
        "UPDATE record SET share = share + 1 WHERE key = 'two'",
        "DELETE FROM record WHERE key = 'two'",
    ],
)
async def test_a_damaged_copy_serves_none(two: tuple[Device, Device], sql: str) -> None:
    desk, _ = two
    for key in ("one", "two", "three"):
        await desk.put(key, {"a": 1})
    damage(desk, sql)
    with pytest.raises(StoreDamaged):
        await made(desk)


async def test_a_lost_record_is_noticed_while_others_are_written(two: tuple[Device, Device]) -> None:
    desk, _ = two
    for key in ("one", "two", "three"):
        await desk.put(key, {"a": 1})
    damage(desk, "DELETE FROM record WHERE key = 'two'")
    with pytest.raises(StoreDamaged):
        await made_while(desk, lambda: desk.put("three", {"a": 2}))
    assert desk.space.snapshots.pinned() is None


async def test_a_copy_that_is_replaced_begins_its_own_again(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    for number in range(60):
        await desk.put(f"{number:02}", {"text": "x" * 20_000})
    await desk.tell(laptop)
    await desk.put("more", {"a": 1})
    theirs = await made(desk)

    async def switch() -> None:
        if laptop.space.copy.horizon() == {}:
            await take(laptop, theirs)

    with pytest.raises(StoreError) as caught:
        await made_while(laptop, switch)
    assert caught.value.code == "snapshot-gone"
    assert await take(desk, await made(laptop))
    await agree(desk, laptop)


async def test_of_a_copy_that_gave_way_to_another_history_no_more_parts_are_sent(
    two: tuple[Device, Device], make: MakeDevice
) -> None:
    """They are kept for whoever was cut off, and the links are, when that happens."""
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await attic.put("one", {"a": 1})
    await desk.put("two", {"a": 2})
    serving = desk.space.snapshots.serving
    served = await serving.serve(laptop.id, bytes(16), 0)
    while not (await served.part(served._next) or (b"", True))[1]:
        pass
    assert await desk.space.snapshots.take_in(ONE, each(await made(attic)), replaces=True)
    assert laptop.id not in serving.served
    assert (await serving.serve(laptop.id, served.id, 1)).id != served.id


async def test_a_log_that_is_trimmed_meanwhile_ends_it(two: tuple[Device, Device]) -> None:
    desk, _ = two
    for number in range(60):
        await desk.put(f"{number:02}", {"text": "x" * 20_000})

    async def trim() -> None:
        if desk.space.copy.visible == 60:
            await desk.put("61", {})
            damage(desk, "DELETE FROM run WHERE position = 61")

    with pytest.raises(StoreError) as caught:
        await made_while(desk, trim)
    assert caught.value.code == "snapshot-gone"


# ---- who looks on


async def test_a_feed_begins_again_with_the_whole_state(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    await desk.tell(laptop)
    await laptop.put("two", {"a": 2})
    feed = await Feed(laptop.space).open("now", follow=True)
    (current,) = await anext(feed)
    await desk.delete("one")
    await send(desk, laptop)
    told = [event async for event in _until_current(feed)]
    assert [(event.kind, event.key) for event in told] == [("reset", None), ("put", "two"), ("current", None)]
    again = await Feed(laptop.space).open(current.token, follow=False)
    assert [event.kind async for batch in again for event in batch] == ["reset", "put", "current"]
    await laptop.put("three", {"a": 3})
    follow = await Feed(laptop.space).open(told[-1].token, follow=False)
    assert [event.key async for batch in follow for event in batch] == ["three", None]
    await feed.aclose()


async def _until_current(feed: Any) -> AsyncIterator[Any]:
    async for batch in feed:
        for event in batch:
            yield event
            if event.kind == "current":
                return


async def test_what_is_left_from_an_earlier_life_is_cleared_away(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(small_steps, "FIRST_SIZE", 3)
    monkeypatch.setattr(small_steps, "MAX_SIZE", 3)
    desk, laptop = two
    for number in range(20):
        await desk.put(f"{number:02}", {"a": 1})
    await desk.tell(laptop)
    await laptop.put("own", {"a": 1})
    for number in range(20):
        await desk.put(f"{number:02}", {"a": 2})
    parts = await made(desk)
    with monkeypatch.context() as stopped:
        stopped.setattr(laptop.space.snapshots._clearing, "begin", lambda: None)
        assert await take(laptop, parts)
    found = await laptop.space.store.snapshots.incoming()
    assert found is not None
    assert found.phase is Phase.CLEARING
    rows = (await laptop.space.store.runs_after(0, 1 << 20)).rows
    assert [row.run.origin for row in rows] == [laptop.space.commits.own_origin], (
        "what lies below the horizon is not told"
    )
    assert len(query(laptop, "SELECT 1 FROM run")) == 21
    laptop = await laptop.reopen()
    await cleared(laptop, until)
    assert query(laptop, "SELECT count(*) FROM run") == [(1,)]
    assert query(laptop, "SELECT count(*) FROM history WHERE by_seq = 0") == [(20,)]
    assert len(query(laptop, "SELECT 1 FROM run_end")) >= 40
    assert query(laptop, "SELECT name FROM sqlite_schema WHERE name LIKE 'former%'") == []
    await laptop.tell(desk)
    await agree(desk, laptop)


async def test_of_what_a_snapshot_replaced_so_many_ends_stay(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """No more than for a log that is trimmed, and among them where the other one was last known to stand."""
    monkeypatch.setattr(small_steps, "FIRST_SIZE", 3)
    monkeypatch.setattr(small_steps, "MAX_SIZE", 3)
    monkeypatch.setattr(trimming, "ENDS_PER_ORIGIN", 8)
    desk, laptop = two
    for number in range(40):
        await desk.put(f"{number:02}", {"a": 1})
    await desk.tell(laptop)
    await laptop.space.store.save_peer(StoredPeer(desk.id, acks=dict.fromkeys(desk.clock_now(), 7)))
    desk.space.presence.note_acks(laptop.id, laptop.clock_now())
    await desk.put("more", {"a": 2})
    monkeypatch.setattr(snapshot_reading, "ENDS_PER_ORIGIN", 2)
    assert await take(laptop, await made(desk))
    await cleared(laptop, until)
    assert query(laptop, "SELECT count(*) FROM run") == [(0,)]
    ends = [seq for (seq,) in query(laptop, "SELECT seq FROM run_end ORDER BY seq")]
    assert len(ends) <= 8 + 2 + 2
    assert 7 in ends
    assert ends[-1] == 41


async def test_indexes_take_turns(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    for number in range(3):
        await desk.put("one", {"a": number})
        assert await take(laptop, await made(desk), bytes([number]) * 16)
        await cleared(laptop, until)
        laptop = await laptop.reopen()
        await agree(desk, laptop)
        suffix = "" if number % 2 else "_2"
        assert query(
            laptop, "SELECT name FROM sqlite_schema WHERE tbl_name = 'record' AND type = 'index' ORDER BY 1"
        ) == [
            (f"record_by_key{suffix}",),
            (f"record_flagged{suffix}",),
        ]


async def test_one_that_nobody_goes_on_with_is_forgotten(two: tuple[Device, Device], until: Until) -> None:
    desk, laptop = two
    await desk.put("one", {"a": 1})
    parts = await made(desk)
    assert not await take(laptop, parts[:-1])
    await laptop.housekeeping.tidy(ABANDONED_MS - 1)
    assert await laptop.space.snapshots.wanted(ONE)
    await laptop.housekeeping.tidy(2)
    await cleared(laptop, until)


# ---- on a link


def session(device: Device, other: Device) -> Any:
    link = device.switchboard.links.get(other.id)
    return None if link is None else link.sessions.get(device.space.id)


async def test_who_is_behind_the_log_waits_and_goes_on(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop's log begins at a snapshot; the phone lacks what was before. It goes on when that came otherwise."""
    monkeypatch.setattr(SnapshotExchange, "fetch", lambda _: None)
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await desk.put("one", {"a": 1})
    await send(desk, laptop)
    await laptop.put("two", {"a": 2})
    await phone.put("three", {"a": 3})
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).machine.phase is SessionPhase.BEHIND)
    await until(lambda: phone.clock_now().items() <= laptop.clock_now().items())
    status = (await phone.statuses.status()).spaces[0]
    (peer,) = [peer for peer in status.peers if peer.name == "laptop"]
    assert (peer.state, "horizon" in peer.reason) == ("blocked", True)
    notice = session(laptop, phone).machine.notice
    assert notice.code == "horizon"
    await send(laptop, phone)
    await until(lambda: session(phone, laptop).in_sync and session(laptop, phone).in_sync)
    await agree(laptop, phone)
    await laptop.put("four", {"a": 4})
    await until(lambda: phone.clock_now() == laptop.clock_now())


async def test_a_link_to_whom_the_log_no_longer_reaches_is_begun_anew(
    two: tuple[Device, Device], make: MakeDevice, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await laptop.space.learn(desk.space.roster.statements)
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await desk.put("one", {"a": 1})
    assert await take(laptop, await made(desk))
    await until(lambda: session(laptop, phone) is None and session(phone, laptop) is None)
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await agree(desk, laptop, phone)


@pytest.fixture
async def horizon(two: tuple[Device, Device], make: MakeDevice) -> tuple[Device, Device]:
    """The laptop, whose log begins at a snapshot of 20 parts and more, and a phone with something of its own."""
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    for number in range(20):
        await desk.put(f"{number:03}", {"text": "x" * 300_000})
    await desk.patch("003", set={"a": 1})
    await send(desk, laptop)
    await phone.put("own", {"a": 3})
    return laptop, phone


async def test_a_snapshot_comes_over_the_link_and_the_session_goes_on(
    horizon: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    laptop, phone = horizon
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync and session(laptop, phone).in_sync)
    await agree(laptop, phone)
    assert phone.space.copy.horizon()
    assert laptop.space.snapshots.pinned() is None
    await laptop.put("live", {"a": 4})
    await phone.put("live too", {"a": 4})
    await until(lambda: phone.clock_now() == laptop.clock_now())
    await laptop.space.snapshots.forget_abandoned()
    assert laptop.space.snapshots.serving.served
    await laptop.space.snapshots.forget_abandoned()
    assert not laptop.space.snapshots.serving.served


async def test_a_snapshot_that_is_on_its_way_is_no_trouble(
    horizon: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the maker prepares it nothing of it has come; whoever waits for the space goes on waiting."""
    laptop, phone = horizon
    ready, serving = asyncio.Event(), laptop.space.snapshots.serving
    serve, asked = serving.serve, []

    async def slow(*which: Any) -> Served:
        asked.append(which)
        await ready.wait()
        return await serve(*which)

    monkeypatch.setattr(serving, "serve", slow)
    wire.connect(laptop, phone)
    await until(lambda: asked)
    view = (await phone.statuses.status()).spaces[0]
    (peer,) = [peer for peer in view.peers if peer.name == "laptop"]
    assert (view.state, view.reason) == ("syncing", "")
    assert peer.state == "syncing"
    assert peer.reason == "a snapshot was asked for, since its log no longer reaches back to what this device has"
    there = laptop.statuses.peers.of(laptop.space)
    (peer,) = [peer for peer in there if peer.name == "phone"]
    assert laptop.statuses.spaces.state_of(laptop.space, there, ()) == ("syncing", "", "")
    assert (peer.state, peer.next_step) == ("syncing", "")
    assert peer.reason == "it lacks what the log here no longer has: it takes in a snapshot first"
    ready.set()
    await until(lambda: session(phone, laptop).in_sync)


@pytest.mark.parametrize("restarted", [False, True])
async def test_one_that_was_cut_goes_on_over_the_next_link(
    horizon: tuple[Device, Device],
    wire: Wire,
    until: Until,
    restarted: bool,  # noqa: FBT001 - a parameter
) -> None:
    laptop, phone = horizon
    store = phone.space.store.snapshots
    take_part, taken = store.take, []
    near, _ = wire.connect(laptop, phone)

    async def cut_at_the_seventh(standing: Any, decide: Any, parts: int) -> Any:
        taken.append(parts)
        standing = await take_part(standing, decide, parts)
        if parts == 7:
            await near.close(1000, "cut")
        return standing

    store.take = cut_at_the_seventh  # type: ignore[method-assign] # to cut the link at the right moment
    await until(lambda: 7 in taken and session(phone, laptop) is None and session(laptop, phone) is None)
    assert await phone.space.snapshots.wanted(await phone.space.snapshots.begun() or b"") >= 7
    if restarted:
        laptop = await laptop.reopen()
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await agree(laptop, phone)
    assert (taken.count(1) > 1) is restarted, "whoever was restarted makes another one"


async def test_who_asks_on_after_long_is_told_that_it_is_gone_and_begins_anew(
    horizon: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk was full for an hour, and the maker let go of what nobody asked for."""
    monkeypatch.setattr(snapshot_exchange, "AGAIN_S", 0.01)
    laptop, phone = horizon
    store = phone.space.store.snapshots
    take_part, taken = store.take, []

    async def slow_at_the_seventh(standing: Any, decide: Any, parts: int) -> Any:
        if parts == 7 and 7 not in taken:
            await laptop.space.snapshots.serving.end_serving(phone.id)
        taken.append(parts)
        return await take_part(standing, decide, parts)

    store.take = slow_at_the_seventh  # type: ignore[method-assign] # to let go of it at the right moment
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await agree(laptop, phone)
    assert taken.count(1) > 1


async def test_one_that_was_cut_when_it_was_whole_is_put_in_place_over_the_next_link(
    horizon: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    """There is no further part to ask for."""
    laptop, phone = horizon
    store, merge = phone.space.store.snapshots, phone.space.store.snapshots.merge
    cuts: list[bool] = []
    near, _ = wire.connect(laptop, phone)

    async def cut(standing: Any, doubts: Any) -> Any:
        if not cuts:
            cuts.append(standing.is_whole)
            await near.close(1000, "cut")
            await asyncio.Event().wait()
        return await merge(standing, doubts)

    store.merge = cut  # type: ignore[method-assign] # to cut the link at the right moment
    await until(lambda: cuts == [True] and session(phone, laptop) is None and session(laptop, phone) is None)
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await agree(laptop, phone)


async def test_who_cannot_make_one_says_so(horizon: tuple[Device, Device], wire: Wire, until: Until) -> None:
    laptop, phone = horizon
    damage(laptop, "UPDATE record SET share = share + 1 WHERE key = '003'")
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).machine.phase is SessionPhase.BEHIND)
    await until(
        lambda: laptop.space.snapshots.serving.served == {} and phone.clock_now().items() <= laptop.clock_now().items()
    )
    assert session(phone, laptop).machine.phase is SessionPhase.BEHIND
    assert phone.space.copy.visible == 1


async def test_one_that_is_of_no_use_is_asked_for_again(
    horizon: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_exchange, "AGAIN_S", 0.0)
    laptop, phone = horizon
    take_in, tried = phone.space.snapshots.take_in, []

    async def refuse_once(*arguments: Any, **more: Any) -> bool:
        tried.append(1)
        if len(tried) == 1:
            raise RemoteProtocolError("of no use", code="snapshot-damaged")
        return await take_in(*arguments, **more)

    monkeypatch.setattr(phone.space.snapshots, "take_in", refuse_once)
    wire.connect(laptop, phone)
    await until(lambda: session(phone, laptop) and session(phone, laptop).in_sync)
    await agree(laptop, phone)
    assert len(tried) == 2
