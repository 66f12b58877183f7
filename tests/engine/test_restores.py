"""Edit against delete: who gives a parked record its birth back."""

from __future__ import annotations

from typing import Any

from peerd.protocol.control.messages import CollectionChange


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
