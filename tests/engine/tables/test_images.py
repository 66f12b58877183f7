"""What changed since a position, as images."""

from __future__ import annotations

import pytest

from peerd.core.record_form import bucket_of
from peerd.engine.tables import images as table_images
from peerd.engine.tables.images import Changed, TableImages
from peerd.protocol.control.messages import ChangeRequest
from tests.engine.conftest import Device
from tests.engine.repair.test_repairs import meddle


def put(key: str, value: int = 1) -> ChangeRequest:
    return ChangeRequest(kind="put", collection="tasks", key=key, value={"n": value})


async def test_the_log_names_each_changed_record_of_the_bound_collections_once(desk: Device) -> None:
    images = TableImages(desk.space, ["tasks"])
    await desk.write(put("a"), put("b"))
    await desk.put("other", {"n": 1}, "notes")
    await desk.write(put("a", 2))
    assert await images.changed_after(0) == Changed([("tasks", "a"), ("tasks", "b")], 3)
    assert await images.changed_after(1) == Changed([("tasks", "a")], 3)
    assert await images.changed_after(3) == Changed([], 3)


async def test_whole_runs_come_about_a_thousand_rows_at_a_time(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is larger comes alone."""
    monkeypatch.setattr(table_images, "ROWS_AT_ONCE", 3)
    images = TableImages(desk.space, ["tasks"])
    for keys in ("ab", "cd", "efghi", "j"):
        await desk.write(*map(put, keys))
    found = []
    position = 0
    while (changed := await images.changed_after(position)) and changed.names:
        found.append("".join(key for _, key in changed.names))
        position = changed.position
    assert found == ["ab", "cd", "efghi", "j"]


async def test_a_position_that_the_log_does_not_have_says_so(desk: Device) -> None:
    images = TableImages(desk.space, ["tasks"])
    await desk.write(put("a"))
    assert await images.changed_after(2) is None


async def test_images_show_what_is_and_that_nothing_is(desk: Device) -> None:
    images = TableImages(desk.space, ["tasks"])
    await desk.write(put("a"))
    a, gone = await images.images([("tasks", "a"), ("tasks", "gone")])
    assert a.fields is not None
    assert gone.fields is None


async def test_pages_hold_everything_and_gone_finds_the_rest(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_images, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(table_images, "PAGE_ROWS", 2)
    images = TableImages(desk.space, ["tasks"])
    await desk.write(*map(put, "abcde"))
    assert await pages_of(images) == [["a", "b"], ["c", "d"], ["e"]]
    gone = [[image.key for image in some] async for some in images.gone("tasks", ["a", "x", "b", "y", "z"])]
    assert gone == [["x"], ["y"], ["z"]]


async def pages_of(images: TableImages) -> list[list[str]]:
    return [[image.key for image in page] async for page in images.pages("tasks")]


async def test_all_of_a_collection_comes_as_it_arrived_and_a_small_one_by_its_keys(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_images, "PAGE_ROWS", 2)
    images = TableImages(desk.space, ["tasks"])
    assert await pages_of(images) == []
    for key in "dbca":
        await desk.write(put(key))
    await desk.write(put("b", 2))
    await desk.put("other", {"n": 1}, "notes")
    await desk.delete("c", "tasks")
    assert await pages_of(images) == [["d", "b"], ["a"]]
    for number in range(30):
        await desk.put(f"{number}", {"n": 1}, "notes")
    assert await pages_of(images) == [["a", "b"], ["d"]]


async def test_what_a_damaged_copy_may_have_lost_stays_in_the_file(desk: Device) -> None:
    """Neither its row, if the record is gone, nor what it shows, if the record looks as if a delete had met an edit."""
    images = TableImages(desk.space, ["tasks"])
    await desk.write(put("lost"), put("part"))
    for sql in (
        "UPDATE origin SET horizon = seq",
        "DELETE FROM run",
        "DELETE FROM record WHERE key IN ('lost', 'part')",
    ):
        meddle(desk, sql)
    desk = await desk.reopen()
    images = TableImages(desk.space, ["tasks"])
    await desk.space.scrub.round()
    buckets = {bucket_of("tasks", key) for key in ("lost", "part")}
    assert set(desk.space.damage.owed_buckets()) == buckets
    other = next(key for key in map(str, range(99)) if bucket_of("tasks", key) not in buckets)
    assert [[one.key for one in page] async for page in images.gone("tasks", ["lost", "part", other])] == [[other]]
    await desk.park("part", collection="tasks")
    assert [one.key for one in await images.images([("tasks", "part"), ("tasks", other)])] == [other]
    await desk.space.damage.agreed(desk.id)
    assert [[one.key for one in page] async for page in images.gone("tasks", ["lost"])] == [["lost"]]
    await desk.close()
