"""Taking in an old copy that was set aside: what only it has, what it deleted, and crashes between."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.stored import Recopy
from peerd.engine.conflicts import Conflicts
from peerd.engine.forks import recopying
from peerd.engine.forks.forks import ForkSeen
from peerd.errors import DiskFull, StoreDamaged, StoreError, UserError
from peerd.store.asides import Beside
from tests.engine.forks.test_forks import past_of, set_back
from tests.engine.snapshots.test_snapshots import each, made

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Two = tuple["Device", "Device"]


async def let_in_again(desk: Device, laptop: Device) -> None:
    """The laptop was removed and is admitted again: it has a new copy, with everything of the desk's."""
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    await desk.tell(laptop)


async def agree(*devices: Device) -> None:
    for device in devices:
        await device.tell(*(other for other in devices if other is not device))
    first = devices[0]
    for device in devices:
        assert device.clock_now() == first.clock_now()
        assert device.space.copy.digest == first.space.copy.digest


async def conflicts(device: Device) -> list[Any]:
    listed = await Conflicts(device.space).list(collection=None, key=None, limit=10, cursor=None)
    return list(listed.conflicts)


async def keys(device: Device) -> set[str]:
    page = await device.records.list("notes", "", 100, None)
    return {record.key for record in page.records}


async def test_what_nobody_had_received_comes_back(two: Two) -> None:
    """New records, edits and deletes; a value on both sides becomes a conflict, an edit survives a delete."""
    desk, laptop = two
    for name in ("same", "edited", "deleted", "both", "kept"):
        await desk.put(name, {"text": "old", "more": 1})
    await desk.tell(laptop)
    await laptop.put("new", {"text": "only here"})
    await laptop.patch("edited", set={"text": "mine"})
    await laptop.delete("deleted")
    await laptop.patch("both", set={"text": "mine"})
    await laptop.delete("kept")
    await let_in_again(desk, laptop)
    await desk.patch("both", set={"text": "theirs"})
    await desk.patch("kept", set={"text": "still wanted"})
    await desk.tell(laptop)
    (found,) = await laptop.space.recopying.found()
    assert (found.differing, found.unreadable, found.aside.records) == (5, 0, 4)

    done = await laptop.service.recopy("home", "latest")
    assert (done.records, done.unreadable) == (5, 0)
    await agree(laptop, desk)
    for device in two:
        assert await keys(device) == {"same", "edited", "both", "new", "kept"}
        assert await device.value("edited") == {"text": "mine", "more": 1}
        assert (await device.value("kept"))["text"] == "still wanted"
        listed = {(one.key, one.kind): [value.value for value in one.values] for one in await conflicts(device)}
        assert set(listed["both", "field"]) == {"mine", "theirs"}
    assert Path(done.aside).parent.name == "set-aside"
    assert await laptop.space.recopying.found() == []


async def test_what_is_written_again_keeps_its_time(two: Two) -> None:
    """An old value does not win because it was brought back lately."""
    desk, laptop = two
    await desk.put("a", {"text": "old"})
    await desk.tell(laptop)
    await laptop.patch("a", set={"text": "earlier"})
    laptop.clock.pass_s(60)
    await desk.patch("a", set={"text": "later"})
    await let_in_again(desk, laptop)
    laptop.clock.pass_s(60)
    await laptop.space.recopying.take_in("latest")
    await agree(laptop, desk)
    assert [await device.value("a") for device in two] == [{"text": "later"}] * 2
    assert len(await conflicts(laptop)) == 1


async def test_a_crash_in_between_loses_nothing_and_doubles_nothing(
    two: Two, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped after some lots; the next start goes on by itself."""
    desk, laptop = two
    for number in range(30):
        await laptop.put(f"{number:02}", {"n": number})
    await let_in_again(desk, laptop)
    monkeypatch.setattr("peerd.store.asides.ROWS_AT_ONCE", 7)
    written = laptop.space.recopying._write
    lots = 0

    async def failing(*some: Any) -> int:
        nonlocal lots
        lots += 1
        count = await written(*some)
        if lots == 2:
            raise StoreError("the power went", code="store-failed")
        return count

    monkeypatch.setattr(laptop.space.recopying, "_write", failing)
    with pytest.raises(StoreError, match="the power went"):
        await laptop.space.recopying.take_in("latest")
    assert len(await keys(laptop)) == 14
    (notice,) = laptop.space.recopying.notices()
    assert notice.reason == "an old copy of this space is being taken in, and gets no further: the power went"
    laptop = await laptop.reopen()
    await until(lambda: laptop.space.recopying.pending is None)
    assert len(await keys(laptop)) == 30
    assert sum(laptop.clock_now().values()) == 30 // 7 + 1
    await agree(laptop, desk)


async def test_a_disk_that_is_full_for_a_while_stops_it_for_a_while(
    two: Two, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the same old copy is being taken in, and no other one; then it goes on by itself."""
    monkeypatch.setattr(recopying, "AGAIN_S", 0.01)
    desk, laptop = two
    for number in range(30):
        await laptop.put(f"{number:02}", {"n": number})
    await let_in_again(desk, laptop)
    monkeypatch.setattr("peerd.store.asides.ROWS_AT_ONCE", 7)
    write_so, full = laptop.space.commits.write_so, [True] * 3

    async def failing(decide: Any) -> None:
        if len(await keys(laptop)) == 14 and full:
            full.pop()
            raise DiskFull("no space left")
        await write_so(decide)

    monkeypatch.setattr(laptop.space.commits, "write_so", failing)
    with pytest.raises(DiskFull):
        await laptop.space.recopying.take_in("latest")
    with pytest.raises(UserError):
        laptop.space.recopying.check_free()
    await until(lambda: laptop.space.recopying.pending is None)
    assert len(await keys(laptop)) == 30
    assert sum(laptop.clock_now().values()) == 30 // 7 + 1
    await agree(laptop, desk)


async def test_one_that_our_disk_has_stopped_keeps_no_space_from_closing(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    await laptop.put("one", {"n": 1})
    await let_in_again(desk, laptop)

    async def failing(_decide: Any) -> None:
        raise DiskFull("no space left")

    monkeypatch.setattr(laptop.space.commits, "write_so", failing)
    with pytest.raises(DiskFull):
        await laptop.space.recopying.take_in("latest")
    async with asyncio.timeout(5):
        await laptop.close()


async def test_a_damaged_old_copy_deletes_nothing(two: Two) -> None:
    """It may have lost what it lacks. What can be read of it is taken in."""
    desk, laptop = two
    for name in ("a", "b"):
        await desk.put(name, {"text": "old"})
    await desk.tell(laptop)
    await laptop.put("c", {"text": "mine"})
    await laptop.put("d", {"text": "broken"})
    await let_in_again(desk, laptop)
    (path,) = laptop.space.store.asides.offered()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM record WHERE key = 'a'")
        connection.execute("UPDATE record SET body = x'00' WHERE key = 'd'")
    connection.close()
    (view,) = (await laptop.service.asides("home")).asides
    assert (view.damaged, view.unreadable, view.differing) == (True, 1, 1)
    done = await laptop.service.recopy("home", path.name)
    assert (done.records, done.unreadable) == (1, 1)
    assert await keys(laptop) == {"a", "b", "c"}


async def test_an_old_copy_that_cannot_be_read_is_said_to_be_so(two: Two, until: Until) -> None:
    """It hides no other one, and nothing goes on for ever."""
    desk, laptop = two
    await laptop.put("a", {"text": "mine"})
    await let_in_again(desk, laptop)
    (good,) = laptop.space.store.asides.offered()
    bad = good.with_name(good.name.replace(".aside-1", ".aside-2"))
    bad.write_bytes(good.read_bytes()[:4096] + b"x" * 100_000)
    readable, broken = (await laptop.service.asides("home")).asides
    assert (readable.differing, readable.cause) == (1, "")
    assert (broken.damaged, broken.differing) == (True, 0)
    assert "is damaged" in broken.cause
    await until(lambda: laptop.space.recopying.notices()[0].differing == 1)
    _, notice = laptop.space.recopying.notices()
    assert "cannot be read" in notice.reason
    assert ".recover" in notice.next_step
    with pytest.raises(StoreDamaged, match="is damaged") as refused:
        await laptop.service.recopy("home", bad.name)
    assert "rebuild" not in refused.value.next_step
    assert (await laptop.service.recopy("home", good.name)).records == 1


async def test_an_old_copy_that_breaks_off_is_given_up(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it is taken in, and another one may follow."""
    desk, laptop = two
    for number in range(10):
        await laptop.put(f"{number:02}", {"n": number})
    await let_in_again(desk, laptop)
    monkeypatch.setattr("peerd.store.asides.ROWS_AT_ONCE", 4)
    page, pages = Beside.page, 0

    async def failing(beside: Beside, after: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise StoreDamaged("a page of it is damaged", next_step="keep it")
        return await page(beside, after)

    with monkeypatch.context() as patch:
        patch.setattr(Beside, "page", failing)
        with pytest.raises(StoreDamaged):
            await laptop.space.recopying.take_in("latest")
    assert len(await keys(laptop)) == 4
    laptop = await laptop.reopen()
    assert laptop.space.recopying.pending is None
    assert (await laptop.space.recopying.take_in("latest")).records == 6


async def test_what_stopped_one_old_copy_is_not_said_of_the_next(
    two: Two, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    await laptop.put("a", {"text": "mine"})
    await let_in_again(desk, laptop)
    recopying_, page = laptop.space.recopying, Beside.page
    going_on = asyncio.Event()
    problems: list[StoreError] = [StoreDamaged("that one is damaged", next_step="keep it")]

    async def failing(beside: Beside, after: Any) -> Any:
        if problems:
            raise problems.pop()
        await going_on.wait()
        return await page(beside, after)

    monkeypatch.setattr(Beside, "page", failing)
    with pytest.raises(StoreDamaged):
        await recopying_.take_in("latest")
    taking = asyncio.create_task(recopying_.take_in("latest"))
    await until(lambda: recopying_.pending is not None)
    (notice,) = recopying_.notices()
    assert (notice.reason, notice.next_step) == ("an old copy of this space is being taken in", "It goes on by itself.")
    going_on.set()
    assert (await taking).records == 1


async def test_it_is_offered_until_it_is_taken_in(two: Two, until: Until) -> None:
    """With how many records it is about, once that is known; not if there is nothing in it."""
    desk, laptop = two
    await laptop.put("a", {"text": "mine"})
    await let_in_again(desk, laptop)
    assert laptop.space.recopying.notices()[0].differing is None
    await until(lambda: laptop.space.recopying.notices()[0].differing == 1)
    (notice,) = (await laptop.statuses.spaces.view(laptop.space)).asides
    assert notice.reason == "an old copy of this space was set aside: 1 record of it may hold what is missing here"
    assert f"peerctl recopy home --aside {notice.name}" in notice.next_step
    await laptop.tell(desk)
    await laptop.space.recopying.take_in("latest")
    assert laptop.space.recopying.notices() == []


async def test_what_an_empty_copy_lacks_is_counted_again_when_it_is_filled(two: Two, wire: Wire, until: Until) -> None:
    """Who looks at once after joining is not told that everything is missing."""
    desk, laptop = two
    for number in range(5):
        await desk.put(f"{number}", {"text": "theirs"})
    await desk.tell(laptop)
    await laptop.put("a", {"text": "mine"})
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    await until(lambda: laptop.space.recopying.notices()[0].differing == 6)
    wire.connect(desk, laptop)
    await until(lambda: laptop.space.is_filled)
    await until(lambda: laptop.space.recopying.notices()[0].differing == 1)


async def test_what_is_no_old_copy_of_this_space_is_refused(two: Two, tmp_path: Path) -> None:
    desk, laptop = two
    with pytest.raises(UserError) as refused:
        await laptop.space.recopying.take_in("latest")
    assert refused.value.code == "no-aside"
    await desk.spaces.found("other")
    other = next(one for one in desk.spaces.by_id.values() if one.name == "other")
    foreign = tmp_path / "foreign"
    shutil.copy(desk.folder / "spaces" / f"{other.id.hex()}.db", foreign)
    application, empty = tmp_path / "app.db", tmp_path / "empty"
    with closing(sqlite3.connect(application)) as connection, connection:
        connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)")
    empty.touch()
    for path in (foreign, application, empty):
        with pytest.raises(UserError, match="no copy of this space") as refused:
            await laptop.space.recopying.take_in(str(path))
        assert refused.value.code == "no-aside"
        assert "--list" in refused.value.next_step
        assert laptop.space.recopying.pending is None


async def test_an_old_copy_that_is_gone_is_given_up(two: Two, until: Until) -> None:
    """An earlier life had begun with it; nothing goes on for ever, and another one may follow."""
    desk, laptop = two
    await laptop.put("a", {"text": "mine"})
    await let_in_again(desk, laptop)
    (path,) = laptop.space.store.asides.offered()
    await laptop.space.store.save_recopy(Recopy(str(path), removes=True))
    gone = path.rename(path.with_suffix(".moved"))
    laptop = await laptop.reopen()
    await until(lambda: laptop.space.recopying.pending is None)
    gone.rename(path)
    laptop = await laptop.reopen()
    assert laptop.space.recopying.pending is None
    assert (await laptop.space.recopying.take_in("latest")).records == 1


async def test_one_at_a_time(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, laptop = two
    await laptop.put("a", {"text": "mine"})
    await let_in_again(desk, laptop)
    monkeypatch.setattr(recopying, "CHANGES_AT_ONCE", 1)
    async with laptop.space.recopying._turn:
        with pytest.raises(UserError) as refused:
            await laptop.space.recopying.take_in("latest")
    assert refused.value.code == "recopy-running"
    assert (await laptop.space.recopying.take_in("latest")).records == 1


async def test_no_third_history_takes_its_place_while_an_old_copy_is_taken_in(
    desk: Device, make: MakeDevice, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far the old copy has the same history was found out of the one beside it: of a third it says nothing."""
    attic, shelf, phone = make("attic"), make("shelf"), make("phone")
    await desk.admit(attic, shelf, phone)
    await shelf.put("common", {"n": 0})
    await shelf.tell(desk, attic, phone)
    past, shelf = await past_of(shelf)
    await shelf.put("twice", {"n": 1})
    await shelf.delete("twice")
    await shelf.tell(desk, attic)
    shelf = await set_back(shelf, past)
    await shelf.put("twice", {"n": 2})
    await shelf.put("more", {"n": 2})
    await shelf.tell(phone)
    await desk.put("mine", {"n": 3})
    (origin,) = shelf.clock_now()
    page, goes_on = Beside.page, asyncio.Event()

    async def waiting(beside: Beside, after: Any) -> Any:
        await goes_on.wait()
        return await page(beside, after)

    monkeypatch.setattr(Beside, "page", waiting)
    snapshots, parts = desk.space.snapshots, await made(phone)
    desk.space.forks.saw(ForkSeen(desk.id, origin, 3, b"", b""))
    assert await snapshots.take_in(b"1" * 16, each(await made(attic)), replaces=True)
    await asyncio.sleep(0.05)
    with suppress(StoreError):
        await snapshots.take_in(b"2" * 16, each(parts), replaces=True)
    goes_on.set()
    await until(lambda: desk.space.recopying.pending is None)
    await snapshots.put_whole_in_place(replaces=True)
    await until(lambda: desk.space.recopying.pending is None)
    assert await keys(desk) == {"common", "twice", "more", "mine"}
    assert await desk.value("twice") == {"n": 2}
