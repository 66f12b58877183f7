"""Edit against delete: who gives a parked record its birth back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerd.protocol.control.messages import CollectionChange
from tests.engine.snapshots.test_snapshots import made, take

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire


async def meet(one: Any, other: Any) -> None:
    for _ in range(3):
        await one.tell(other)
        await other.tell(one)


async def test_whoever_edited_restores_in_the_same_commit(two: Any) -> None:
    """The edit of a record that another deleted brings it back, with the fields that nobody edited from its image."""
    desk, laptop = two
    await desk.put("milk", {"text": "milk", "done": False})
    await desk.tell(laptop)
    await desk.delete("milk")
    await laptop.patch("milk", set={"done": True})
    await desk.tell(laptop)
    assert await laptop.value("milk") == {"text": "milk", "done": True}
    await meet(desk, laptop)
    assert await desk.value("milk") == {"text": "milk", "done": True}
    assert desk.space.copy.digest == laptop.space.copy.digest


async def test_without_the_author_the_smallest_member_with_an_image_restores(two: Any, make: Any) -> None:
    """The author is no member any more; of those that are, one restores, and it comes out the same everywhere."""
    desk, laptop = two
    shelf = make("shelf")
    await desk.admit(shelf)
    await desk.tell(laptop)
    await desk.put("milk", {"text": "milk", "done": False})
    await desk.tell(laptop, shelf)
    await laptop.patch("milk", set={"done": True})
    await laptop.tell(shelf)
    await desk.delete("milk")
    await desk.spaces.remove(desk.space, laptop.id)
    await meet(shelf, desk)
    for device in (desk, shelf):
        device.space.presence.note_seen((shelf if device is desk else desk).id)
        await device.space.commits.restore_parked()
    await meet(shelf, desk)
    assert await desk.value("milk") == {"text": "milk", "done": True}
    assert desk.space.copy.digest == shelf.space.copy.digest


async def test_where_deletes_win_the_record_stays_deleted(two: Any) -> None:
    """The policy of the collection decides, for all devices."""
    desk, laptop = two
    await desk.records.set_collection("notes", CollectionChange(delete_wins=True))
    await desk.put("milk", {"text": "milk"})
    await desk.tell(laptop)
    await desk.delete("milk")
    await laptop.patch("milk", set={"text": "oat milk"})
    await meet(desk, laptop)
    for device in (desk, laptop):
        page = await device.space.store.page("notes", "", None, 10)
        assert page.records == []
        assert await device.space.store.flagged(None, 10) == []


async def test_who_holds_no_image_says_so_and_leaves_it_to_others(desk: Any) -> None:
    """The doorbell names the record."""
    rung: list[Any] = []
    desk.space.on_commit.append(rung.append)
    await desk.park("milk")
    assert rung[-1].lacking == [("notes", "milk")]


async def parked_without_its_author(desk: Device, laptop: Device) -> None:
    """The desk edited what the laptop deleted, and lost its copy: what it has now came without images."""
    await desk.put("milk", {"text": "milk", "done": False})
    await desk.tell(laptop)
    await desk.patch("milk", set={"done": True})
    await laptop.delete("milk")
    laptop.space.presence.note_seen(desk.id)
    await desk.tell(laptop)
    assert [name for name, _ in await laptop.space.store.flagged(None, 10)] == [("notes", "milk")]
    await desk.spaces.rebuild("home")
    assert await take(desk, await made(laptop))


async def is_shown(*devices: Device) -> bool:
    expected = {"text": "milk", "done": True}
    return all([(await device.records.read("notes", "milk")).value == expected for device in devices])


async def test_whoever_comes_later_hears_too_who_holds_no_image(
    two: tuple[Device, Device], wire: Wire, until: Until
) -> None:
    """The desk found the record parked while nobody was linked with it."""
    desk, laptop = two
    await parked_without_its_author(desk, laptop)
    await asyncio.sleep(0.1)
    wire.connect(desk, laptop)
    await until(lambda: desk.space.copy.visible == laptop.space.copy.visible == 1)
    assert await is_shown(desk, laptop)


async def test_what_nobody_can_restore_is_said_once_by_each(
    desk: Device, make: MakeDevice, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, shelf = make("laptop"), make("shelf")
    await desk.admit(laptop, shelf)
    everybody = [desk, laptop, shelf]
    for device in everybody:
        await device.park("milk", device.name)
    await meet(desk, laptop)
    await meet(desk, shelf)
    await meet(desk, laptop)
    heard: list[bytes] = []
    for device in everybody:
        restores = device.space.commits.restores

        def hearing(theirs: bytes, names: Any, lacks: Any = restores.lacks) -> None:
            heard.append(theirs)
            lacks(theirs, names)

        monkeypatch.setattr(restores, "lacks", hearing)
    for one, other in ((desk, laptop), (desk, shelf), (laptop, shelf)):
        wire.connect(one, other)
    await asyncio.sleep(0.5)
    assert sorted(heard) == sorted(2 * [device.id for device in everybody])
