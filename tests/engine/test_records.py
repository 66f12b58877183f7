"""Records for applications: what is written comes back, and nothing is overwritten unseen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from peerd.core import entry
from peerd.core.limits import CHANGES_PER_TRANSACTION, FIELDS_PER_RECORD, INT64_MAX, INT64_MIN, KEY_BYTES, VALUE_DEPTH
from peerd.engine import records
from peerd.engine.conflicts import Conflicts
from peerd.engine.records import Records
from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeRequest, CollectionChange, CollectionView, RecordView

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.engine.conftest import Device

KINDS_OF_VALUES = {
    "largest": INT64_MAX,
    "smallest": INT64_MIN,
    "one": 1,
    "one float": 1.0,
    "tenth": 0.1,
    "tiny": 5e-324,
    "negative zero": -0.0,
    "text": "naïve \U0001f600 ﷽",
    "empty": "",
    "yes": True,
    "no": False,
    "nothing": None,
    "nested": [1, [2.5, {"deep": [None, True, {"er": "x"}]}], {}],
    "bytes": {"$bytes": "AP9/"},
    "inside": [{"$bytes": ""}, {"$object": {"$bytes": "no bytes"}}],
}


def change(kind: str, key: str, **more: Any) -> ChangeRequest:
    return ChangeRequest(kind=kind, collection=more.pop("collection", "notes"), key=key, **more)  # type: ignore[arg-type] # one of the three words


async def refused(work: Awaitable[object]) -> tuple[str, int]:
    with pytest.raises(UserError) as refusal:
        await work
    return refusal.value.code, refusal.value.status


async def read(device: Device, key: str, collection: str = "notes") -> RecordView:
    return await device.records.read(collection, key)


async def etag(device: Device, key: str, collection: str = "notes") -> str:
    return (await read(device, key, collection)).etag


def everything(device: Device) -> tuple[dict[bytes, int], object, int]:
    """What may not change if a write is refused."""
    return device.clock_now(), device.space.copy.digest, device.space.commits.last_position


# --- values ---------------------------------------------------------------------------------------------


async def test_every_kind_of_value_comes_back_exactly(desk: Device) -> None:
    """To the type and the sign; also after a restart, where nothing but the disk knows it."""
    await desk.put("a", KINDS_OF_VALUES)
    before = await desk.value("a")
    again = await desk.reopen()
    for value in (before, await again.value("a")):
        assert repr(sorted(value.items())) == repr(sorted(KINDS_OF_VALUES.items()))


async def test_a_record_may_have_no_fields(desk: Device) -> None:
    assert (await desk.put("a", {})).changed
    assert await desk.value("a") == {}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (INT64_MAX + 1, "number-too-large"),
        (float("inf"), "number-too-large"),
        ({"$bytes": "no base64"}, "bad-value"),
        ({"$later": 1}, "bad-value"),
        ("\ud800", "bad-value"),
    ],
)
async def test_a_value_outside_the_model_is_refused(desk: Device, value: object, code: str) -> None:
    before = everything(desk)
    assert await refused(desk.put("a", {"n": value})) == (code, 400)
    assert everything(desk) == before


# --- put, patch, delete ---------------------------------------------------------------------------------


async def test_a_put_replaces_the_record(desk: Device) -> None:
    first = await desk.put("a", {"x": 1, "y": 1})
    second = await desk.put("a", {"y": 2, "z": 2})
    assert await desk.value("a") == {"y": 2, "z": 2}
    assert (first.results[0].created, second.results[0].created) == (True, False)


async def test_writing_back_what_was_read_makes_no_transaction(desk: Device) -> None:
    await desk.put("a", KINDS_OF_VALUES)
    before = everything(desk)
    etag_before = await etag(desk, "a")
    written = await desk.put("a", await desk.value("a"))
    assert (written.dot, written.changed) == (None, False)
    assert (written.results[0].changed, written.results[0].etag) == (False, etag_before)
    assert everything(desk) == before


async def test_a_put_says_only_what_differs(desk: Device) -> None:
    """Whatever it does not change keeps the dot that it had, so it fights with nobody."""
    await desk.put("a", {"x": 1, "y": 1, "z": 1})
    await desk.put("a", {"x": 1, "y": 2})
    (_, row) = (await desk.space.store.runs_after(0, 1 << 20)).rows
    (change_,) = records_of(row.run.entries)
    assert (change_.set.keys(), change_.drop) == ({"y"}, ("z",))


def records_of(entries: tuple[bytes, ...]) -> list[Any]:
    return [change for data in entries for change in entry.decode(data).changes]


async def test_a_patch_sets_and_drops(desk: Device) -> None:
    await desk.put("a", {"x": 1, "y": 1})
    await desk.patch("a", set={"z": 3}, drop=["x"])
    assert await desk.value("a") == {"y": 1, "z": 3}


async def test_a_patch_that_says_nothing_new_makes_no_transaction(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    written = await desk.patch("a", set={"x": 1}, drop=["never there"])
    assert (written.dot, written.changed) == (None, False)


async def test_a_patch_of_what_is_not_there_is_refused(desk: Device) -> None:
    before = everything(desk)
    assert await refused(desk.patch("a", set={"x": 1})) == ("record-not-found", 404)
    await desk.put("b", {})
    await desk.delete("b")
    assert await refused(desk.patch("b", set={"x": 1})) == ("record-not-found", 404)
    assert everything(desk)[0] != before[0]


async def test_a_patch_that_names_nothing_is_refused(desk: Device) -> None:
    await desk.put("a", {})
    assert await refused(desk.patch("a")) == ("bad-body", 400)


async def test_a_field_that_is_set_and_dropped_is_set(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await desk.patch("a", set={"x": 2}, drop=["x"])
    assert await desk.value("a") == {"x": 2}


async def test_what_is_deleted_is_gone(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    written = await desk.delete("a", must_exist=True)
    assert (written.changed, written.results[0].etag) == (True, None)
    assert await refused(desk.value("a")) == ("record-not-found", 404)
    assert desk.space.copy.visible == 0


async def test_deleting_what_is_absent_is_refused_only_if_it_must_exist(desk: Device) -> None:
    before = everything(desk)
    written = await desk.delete("a")
    assert (written.dot, written.changed) == (None, False)
    assert await refused(desk.delete("a", must_exist=True)) == ("record-not-found", 404)
    assert everything(desk) == before


async def test_a_deleted_record_may_be_put_again(desk: Device) -> None:
    await desk.put("a", {"x": 1, "y": 1})
    await desk.delete("a")
    written = await desk.put("a", {"x": 1})
    assert written.results[0].created
    assert await desk.value("a") == {"x": 1}


async def test_a_put_without_a_value_is_refused(desk: Device) -> None:
    assert await refused(desk.write(change("put", "a"))) == ("bad-body", 400)


@pytest.mark.parametrize(
    ("collection", "key", "field"),
    [("_settings", "a", "x"), ("notes", "", "x"), ("notes", "k" * (KEY_BYTES + 1), "x"), ("notes", "a\0", "x"),
     ("notes", "a", "x\u202e"), ("notes", "a", ""), ("no tes", "a", "x")],
)  # fmt: skip
async def test_names_that_mislead_are_refused(desk: Device, collection: str, key: str, field: str) -> None:
    before = everything(desk)
    assert await refused(desk.put(key, {field: 1}, collection)) == ("bad-name", 400)
    if collection == "notes" and key == "a":
        assert await refused(desk.patch(key, drop=[field])) == ("bad-name", 400)
    assert everything(desk) == before


# --- conditions -----------------------------------------------------------------------------------------


async def test_if_match_is_exact(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    old = await etag(desk, "a")
    await desk.put("a", {"x": 2}, if_match=old)
    before = everything(desk)
    for work in (desk.put("a", {"x": 3}, if_match=old), desk.patch("a", set={"y": 1}, if_match=old),
                 desk.delete("a", if_match=old), desk.put("absent", {}, if_match=old)):  # fmt: skip
        assert await refused(work) == ("precondition-failed", 412)
    assert everything(desk) == before
    assert await desk.value("a") == {"x": 2}


async def test_if_match_may_come_in_quotes(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    assert (await desk.put("a", {"x": 2}, if_match=f'"{await etag(desk, "a")}"')).changed


async def test_if_match_fails_even_if_the_write_would_say_nothing_new(desk: Device) -> None:
    """RFC 9110: a false If-Match is a 412."""
    await desk.put("a", {"x": 1})
    old = await etag(desk, "a")
    await desk.put("a", {"x": 2})
    assert await refused(desk.put("a", {"x": 2}, if_match=old)) == ("precondition-failed", 412)


async def test_if_match_star_wants_any_version(desk: Device) -> None:
    assert await refused(desk.put("a", {"x": 1}, if_match="*")) == ("precondition-failed", 412)
    await desk.put("a", {"x": 1})
    assert (await desk.put("a", {"x": 2}, if_match="*")).changed
    await desk.delete("a")
    assert await refused(desk.delete("a", if_match="*")) == ("precondition-failed", 412)


async def test_if_none_match_wants_no_record(desk: Device) -> None:
    assert (await desk.put("a", {"x": 1}, if_none_match=True)).results[0].created
    assert await refused(desk.put("a", {"x": 2}, if_none_match=True)) == ("precondition-failed", 412)
    await desk.delete("a")
    assert (await desk.put("a", {"x": 3}, if_none_match=True)).results[0].created


async def test_what_is_no_etag_is_refused(desk: Device) -> None:
    """A precondition with such a tag does not hold; what somebody has seen cannot be told from it."""
    await desk.put("a", {"x": 1})
    for word in ("W/yesterday", "=", "é"):
        assert await refused(desk.put("a", {"x": 2}, if_match=word)) == ("precondition-failed", 412)
        assert await refused(desk.put("a", {"x": 2}, seen=word)) == ("bad-header", 400)


async def test_an_etag_changes_with_the_record_and_only_then(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    first = await etag(desk, "a")
    await desk.put("b", {"x": 1})
    assert await etag(desk, "a") == first
    written = await desk.put("a", {"x": 2})
    assert written.results[0].etag == await etag(desk, "a") != first


# --- a caller who has seen less than is here ------------------------------------------------------------


async def test_a_slow_editor_meets_what_was_written_meanwhile(desk: Device) -> None:
    await desk.put("a", {"x": 0, "y": 0})
    old = await etag(desk, "a")
    await desk.put("a", {"x": 1, "y": 0})
    await desk.put("a", {"x": 2, "y": 0}, seen=old)
    view = await read(desk, "a")
    assert view.conflicts == ["x"]
    (conflict,) = (await Conflicts(desk.space).list(collection=None, key=None, limit=9, cursor=None)).conflicts
    assert sorted(one.value for one in conflict.values) == [1, 2]


async def test_a_field_that_a_slow_editor_did_not_change_is_not_reverted(desk: Device) -> None:
    """The form writes everything back; only what the person changed is an edit."""
    await desk.put("a", {"x": 0, "y": 0, "z": 0})
    old = await etag(desk, "a")
    await desk.patch("a", set={"x": 1, "new": 1}, drop=["z"])
    await desk.put("a", {"x": 0, "y": 9, "z": 0}, seen=old)
    view = await read(desk, "a")
    assert view.value == {"x": 1, "y": 9, "new": 1}
    assert view.conflicts == []


async def test_a_stale_patch_of_a_field_merges_with_the_others(desk: Device) -> None:
    await desk.put("a", {"x": 0, "y": 0})
    old = await etag(desk, "a")
    await desk.patch("a", set={"x": 1})
    await desk.patch("a", set={"y": 1}, seen=old)
    assert (await read(desk, "a")).value == {"x": 1, "y": 1}
    assert (await read(desk, "a")).conflicts == []


async def test_a_stale_drop_leaves_what_was_written_meanwhile(desk: Device) -> None:
    await desk.put("a", {"x": 0, "y": 0})
    old = await etag(desk, "a")
    await desk.patch("a", set={"x": 1})
    await desk.patch("a", drop=["x", "y"], seen=old)
    assert (await read(desk, "a")).value == {"x": 1}


async def test_a_stale_patch_of_a_deleted_record_is_refused(desk: Device) -> None:
    await desk.put("a", {"x": 0})
    old = await etag(desk, "a")
    await desk.delete("a")
    assert await refused(desk.patch("a", set={"x": 1}, seen=old)) == ("precondition-failed", 412)
    assert await refused(desk.value("a")) == ("record-not-found", 404)


async def test_a_stale_delete_does_not_remove_what_it_has_not_seen(desk: Device) -> None:
    """The edit wins here as it does between devices, and the meeting is listed."""
    await desk.put("a", {"x": 0, "y": 0})
    old = await etag(desk, "a")
    await desk.patch("a", set={"x": 1})
    await desk.delete("a", seen=old)
    view = await read(desk, "a")
    assert view.value == {"x": 1, "y": 0}
    assert view.conflicts == ["(deleted)"]


async def test_seen_may_be_empty_for_somebody_who_saw_no_record(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2}, seen="")
    assert (await read(desk, "a")).conflicts == ["x"]


async def test_the_same_new_value_twice_is_no_conflict(desk: Device) -> None:
    await desk.put("a", {"x": 0})
    old = await etag(desk, "a")
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 1}, seen=old)
    assert (await read(desk, "a")).conflicts == []


# --- transactions of many -------------------------------------------------------------------------------


async def test_many_changes_are_one_transaction(desk: Device) -> None:
    await desk.put("old", {"x": 1})
    await desk.put("other", {"x": 1})
    written = await desk.write(
        change("put", "new", value={"x": 1}),
        change("patch", "old", set={"x": 2}),
        change("delete", "other"),
        change("put", "new", value={}, collection="lists"),
    )
    assert sum(desk.clock_now().values()) == 3
    assert [(one.collection, one.key, one.changed, one.created) for one in written.results] == [
        ("notes", "new", True, True),
        ("notes", "old", True, False),
        ("notes", "other", True, False),
        ("lists", "new", True, True),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        change("put", "here", value={"x": 9}, if_none_match=True),
        change("put", "here", value={"x": 9}, if_match="kA"),
        change("put", "away", value={"x": 9}, if_match="*"),
        change("patch", "away", set={"x": 1}),
        change("delete", "away", must_exist=True),
        change("put", "wide", value={str(n): n for n in range(FIELDS_PER_RECORD + 1)}),
        change("put", "", value={}),
    ],
    ids=["absent", "match", "any", "patch", "delete", "limit", "name"],
)
async def test_one_change_that_cannot_be_done_undoes_all(desk: Device, bad: ChangeRequest) -> None:
    await desk.put("here", {"x": 1})
    before = everything(desk)
    with pytest.raises(UserError):
        await desk.write(change("put", "one", value={"x": 1}), bad, change("delete", "here", collection="lists"))
    assert everything(desk) == before
    assert await refused(desk.value("one")) == ("record-not-found", 404)
    assert await desk.value("here") == {"x": 1}


async def test_a_refused_write_leaves_its_neighbours_in_the_group_alone(desk: Device) -> None:
    results = await asyncio.gather(
        desk.put("a", {"x": 1}), desk.patch("away", set={"x": 1}), desk.put("b", {"x": 1}), return_exceptions=True
    )
    assert isinstance(results[1], UserError)
    assert await desk.value("a") == await desk.value("b") == {"x": 1}


async def test_a_record_named_twice_is_refused(desk: Device) -> None:
    """By its name and the number of the second change, so that an import can tell the line."""
    before = everything(desk)
    with pytest.raises(UserError, match="names notes/a twice") as refusal:
        await desk.write(change("put", "b", value={}), change("put", "a", value={}), change("delete", "a"))
    assert (refusal.value.code, refusal.value.status, refusal.value.extra) == ("bad-body", 400, {"index": 2})
    assert everything(desk) == before


# --- limits ---------------------------------------------------------------------------------------------


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels - 1):
        value = [value]
    return value


async def test_the_deepest_value_is_taken_and_one_deeper_is_not(desk: Device) -> None:
    await desk.put("a", {"x": nested(VALUE_DEPTH)})
    before = everything(desk)
    assert await refused(desk.put("a", {"x": nested(VALUE_DEPTH + 1)})) == ("too-deep", 400)
    assert everything(desk) == before
    assert await desk.value("a") == {"x": nested(VALUE_DEPTH)}


async def test_more_fields_than_a_record_may_have_are_refused(desk: Device) -> None:
    before = everything(desk)
    assert await refused(desk.put("a", {str(n): n for n in range(FIELDS_PER_RECORD + 1)})) == ("too-large", 413)
    assert everything(desk) == before
    await desk.put("a", {str(n): n for n in range(FIELDS_PER_RECORD)})
    assert len(await desk.value("a")) == FIELDS_PER_RECORD


async def test_the_longest_key_is_taken(desk: Device) -> None:
    key = "é" * (KEY_BYTES // 2)
    await desk.put(key, {"x": 1})
    assert await desk.value(key) == {"x": 1}


async def test_more_than_64_mib_in_a_transaction_are_refused(desk: Device) -> None:
    before = everything(desk)
    quarter = "x" * (16 << 20)
    with pytest.raises(UserError, match="64 MiB") as refusal:
        await desk.write(*(change("put", str(n), value={"x": quarter}) for n in range(4)))
    assert (refusal.value.code, refusal.value.status) == ("too-large", 413)
    assert everything(desk) == before
    await desk.put("after", {"x": 1})
    assert await desk.value("after") == {"x": 1}


async def test_more_changes_than_a_transaction_may_have_are_refused(desk: Device) -> None:
    before = everything(desk)
    many = [change("put", str(n), value={}) for n in range(CHANGES_PER_TRANSACTION + 1)]
    assert await refused(desk.write(*many)) == ("too-large", 413)
    assert everything(desk) == before


# --- after a removal ------------------------------------------------------------------------------------


async def test_a_removed_device_may_read_but_not_write(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await laptop.put("a", {"x": 1})
    await laptop.tell(desk)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(laptop)
    before = everything(laptop)
    assert await refused(laptop.put("a", {"x": 2})) == ("removed", 403)
    assert await refused(laptop.delete("a")) == ("removed", 403)
    assert await refused(laptop.records.set_collection("notes", CollectionChange(policy="max"))) == ("removed", 403)
    assert everything(laptop) == before
    assert await laptop.value("a") == {"x": 1}


# --- lists ----------------------------------------------------------------------------------------------


async def all_keys(device: Device, prefix: str = "", limit: int = 3, collection: str = "notes") -> list[str]:
    keys: list[str] = []
    cursor = None
    while True:
        page = await device.records.list(collection, prefix, limit, cursor)
        assert len(page.records) <= limit
        keys += [view.key for view in page.records]
        if page.cursor is None:
            return keys
        cursor = page.cursor


UNICODE_KEYS = ["a", "a b", "a/b", "aa", "b", "zz", "é", "ü/ö", "日本", "\U0001f600", "\U0001f600b", "\uffff"]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 100])
async def test_pages_hold_every_key_once_in_the_order_of_its_bytes(desk: Device, limit: int) -> None:
    await desk.write(*(change("put", key, value={"x": 1}) for key in UNICODE_KEYS))
    await desk.put("elsewhere", {}, "lists")
    assert await all_keys(desk, limit=limit) == sorted(UNICODE_KEYS, key=str.encode)


@pytest.mark.parametrize("prefix", ["a", "a/", "é", "日", "\U0001f600", "\uffff", "none"])
async def test_a_prefix_chooses(desk: Device, prefix: str) -> None:
    await desk.write(*(change("put", key, value={"x": 1}) for key in UNICODE_KEYS))
    expected = sorted((key for key in UNICODE_KEYS if key.startswith(prefix)), key=str.encode)
    assert await all_keys(desk, prefix, limit=1) == expected


async def test_while_others_write_nothing_that_stays_is_skipped_or_repeated(desk: Device) -> None:
    await desk.write(*(change("put", f"{n:03}", value={"n": n}) for n in range(100)))
    keys: list[str] = []
    cursor = None
    for step in range(100):
        page = await desk.records.list("notes", "", 7, cursor)
        keys += [view.key for view in page.records]
        cursor = page.cursor
        if cursor is None:
            break
        await desk.put(f"000-{step}", {})  # behind the reader
        await desk.put(f"{min(99, len(keys) + 10):03}-new", {})  # in front of it
        await desk.delete(keys[-1])  # the very key that the cursor names
    assert len(keys) == len(set(keys))
    assert {f"{n:03}" for n in range(100)} <= set(keys)


async def test_a_page_ends_early_rather_than_become_huge(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PAGE_BYTES", 10_000)
    await desk.write(*(change("put", f"{n:02}", value={"x": "y" * 3000}) for n in range(10)))
    page = await desk.records.list("notes", "", 10, None)
    assert 1 <= len(page.records) <= 4
    assert page.cursor is not None
    assert await all_keys(desk, limit=10) == [f"{n:02}" for n in range(10)]


async def test_an_unknown_collection_is_empty(desk: Device) -> None:
    page = await desk.records.list("never", "", 10, None)
    assert (page.records, page.cursor) == ([], None)


@pytest.mark.parametrize("cursor", ["!!!", "é", "_w", "YQ==", "a"])
async def test_a_cursor_that_is_none_of_ours_is_refused(desk: Device, cursor: str) -> None:
    await desk.put("a", {})
    assert await refused(desk.records.list("notes", "", 10, cursor)) == ("bad-cursor", 400)


async def test_a_list_shows_records_as_reading_one_does(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await laptop.put("a", {"x": 2})
    await laptop.tell(desk)
    (view,) = (await desk.records.list("notes", "", 10, None)).records
    assert msgspec.structs.asdict(view) == msgspec.structs.asdict(await read(desk, "a"))
    assert view.conflicts == ["x"]


async def test_parked_records_are_absent(desk: Device) -> None:
    await desk.park("a")
    await desk.put("b", {})
    assert await all_keys(desk) == ["b"]
    assert await refused(desk.value("a")) == ("record-not-found", 404)
    assert await refused(desk.patch("a", set={"x": 1})) == ("record-not-found", 404)
    assert (await collection(desk, "notes")).records == 1


# --- collections ----------------------------------------------------------------------------------------


async def collection(device: Device, name: str) -> CollectionView:
    counts, _ = await Conflicts(device.space).counts()
    return next(one for one in (await device.records.collections(counts)).collections if one.name == name)


async def test_collections_are_counted(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await desk.put("b", {"x": 1})
    await desk.put("a", {"x": 1}, "lists")
    await desk.delete("a", "lists")
    await laptop.put("a", {"x": 2, "y": 1})
    await laptop.tell(desk)
    await desk.records.set_collection("empty", CollectionChange(policy="max"))
    shown = (await desk.records.collections((await Conflicts(desk.space).counts())[0])).collections
    assert [(one.name, one.records, one.conflicts) for one in shown] == [("empty", 0, 0), ("notes", 2, 1)]
    assert shown[0].settings.policy == "max"


async def test_settings_of_a_collection_change_what_is_named_and_travel(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.records.set_collection("notes", CollectionChange(policy="newest", fields={"x": "max", "y": "min"}))
    settings = await desk.records.set_collection("notes", CollectionChange(fields={"x": None}, delete_wins=True))
    await desk.tell(laptop)
    for one in (settings, (await collection(laptop, "notes")).settings):
        assert (one.policy, one.fields, one.delete_wins, one.merge) == ("newest", {"y": "min"}, True, "field")
    again = await (await laptop.reopen()).records.set_collection("notes", CollectionChange(delete_wins=False))
    assert (again.policy, again.fields, again.delete_wins) == ("newest", {"y": "min"}, False)


async def test_settings_that_change_nothing_make_no_transaction(desk: Device) -> None:
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    before = everything(desk)
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    await desk.records.set_collection("notes", CollectionChange())
    assert everything(desk) == before


async def test_the_settings_of_peerd_itself_cannot_be_set(desk: Device) -> None:
    assert await refused(desk.records.set_collection("_settings", CollectionChange(policy="max"))) == ("bad-name", 400)


@pytest.mark.parametrize(
    ("policy", "shown", "listed"), [("keep", 3, ["x"]), ("newest", 3, []), ("max", 5, []), ("min", 3, [])]
)
async def test_a_policy_decides_what_is_shown_and_listed(
    two: tuple[Device, Device], policy: Any, shown: int, listed: list[str]
) -> None:
    """Of 5, written first, and 3, written a second later; and nothing is lost: with `keep` both are there again."""
    desk, laptop = two
    await desk.put("a", {"x": 5})
    laptop.clock.pass_s(1)
    await laptop.put("a", {"x": 3})
    await laptop.tell(desk)
    await desk.tell(laptop)
    await desk.records.set_collection("notes", CollectionChange(fields={"x": policy}))
    await desk.tell(laptop)
    for device in two:
        view = await read(device, "a")
        assert (view.value, view.conflicts) == ({"x": shown}, listed)
        assert (await collection(device, "notes")).conflicts == len(listed)
    await desk.records.set_collection("notes", CollectionChange(fields={"x": None}))
    assert (await read(desk, "a")).conflicts == ["x"]


# --- merge = record -------------------------------------------------------------------------------------


@pytest.fixture
async def whole(two: tuple[Device, Device]) -> tuple[Device, Device]:
    """Two members with the collection `whole`, whose records merge as one value."""
    desk, laptop = two
    settings = await desk.records.set_collection("whole", CollectionChange(merge="record"))
    assert settings.merge == "record"
    await desk.put("a", {"x": 0, "y": 0}, "whole")
    await desk.tell(laptop)
    return two


async def test_a_whole_record_is_put_patched_and_deleted(whole: tuple[Device, Device]) -> None:
    desk, laptop = whole
    await desk.patch("a", "whole", set={"z": [1]}, drop=["x"])
    await desk.tell(laptop)
    assert await laptop.value("a", "whole") == {"y": 0, "z": [1]}
    await laptop.put("a", {"q": 1}, "whole")
    await laptop.tell(desk)
    assert await desk.value("a", "whole") == {"q": 1}
    await desk.delete("a", "whole", must_exist=True)
    await desk.tell(laptop)
    assert await refused(laptop.value("a", "whole")) == ("record-not-found", 404)
    assert await refused(laptop.patch("a", "whole", set={"x": 1})) == ("record-not-found", 404)


async def test_writing_back_a_whole_record_makes_no_transaction(whole: tuple[Device, Device]) -> None:
    desk, _ = whole
    written = await desk.put("a", {"y": 0, "x": 0}, "whole")
    assert (written.dot, written.changed) == (None, False)
    assert (await desk.patch("a", "whole", set={"x": 0}, drop=["none"])).dot is None


async def test_edits_of_different_fields_of_a_whole_record_conflict(whole: tuple[Device, Device]) -> None:
    desk, laptop = whole
    await desk.patch("a", "whole", set={"x": 1})
    await laptop.patch("a", "whole", set={"y": 1})
    await laptop.tell(desk)
    view = await read(desk, "a", "whole")
    assert view.conflicts == ["(record)"]
    assert view.value in ({"x": 1, "y": 0}, {"x": 0, "y": 1})
    (conflict,) = (await Conflicts(desk.space).list(collection="whole", key="a", limit=9, cursor=None)).conflicts
    assert sorted(map(str, (one.value for one in conflict.values))) == ["{'x': 0, 'y': 1}", "{'x': 1, 'y': 0}"]


async def test_a_stale_edit_of_a_whole_record_conflicts(whole: tuple[Device, Device]) -> None:
    desk, _ = whole
    old = await etag(desk, "a", "whole")
    await desk.patch("a", "whole", set={"x": 1})
    await desk.put("a", {"x": 0, "y": 1}, "whole", seen=old)
    assert (await read(desk, "a", "whole")).conflicts == ["(record)"]


async def test_a_whole_record_may_be_as_deep_as_any_other(whole: tuple[Device, Device]) -> None:
    """Or is refused for its depth; never for its size."""
    desk, _ = whole
    assert await refused(desk.put("deep", {"x": nested(VALUE_DEPTH)}, "whole")) == ("too-deep", 400)
    assert await refused(desk.patch("a", "whole", set={"x": nested(VALUE_DEPTH)})) == ("too-deep", 400)
    await desk.put("deep", {"x": nested(VALUE_DEPTH - 1)}, "whole")
    assert await desk.value("deep", "whole") == {"x": nested(VALUE_DEPTH - 1)}


@pytest.mark.parametrize("value", [{"$bytes": "x"}, {"$x": {"$bytes": "AP8="}}, {"": 1}])
async def test_a_field_of_a_whole_record_is_a_field_whatever_its_name(
    whole: tuple[Device, Device], value: dict[str, Any]
) -> None:
    """In a value, an object with one member that begins with `$` means something; a record is no value."""
    desk, _ = whole
    if "" in value:
        assert await refused(desk.put("b", value, "whole")) == ("bad-name", 400)
        return
    await desk.put("b", value, "whole")
    assert await desk.value("b", "whole") == value
    await desk.patch("b", "whole", set={"$y": 1})
    assert await desk.value("b", "whole") == {**value, "$y": 1}


async def test_how_a_collection_merges_is_fixed_when_it_is_there(whole: tuple[Device, Device]) -> None:
    desk, _ = whole
    before = everything(desk)
    assert await refused(desk.records.set_collection("whole", CollectionChange(merge="field"))) == ("merge-fixed", 409)
    await desk.records.set_collection("whole", CollectionChange(merge="record"))
    assert everything(desk) == before
    await desk.put("a", {})
    assert await refused(desk.records.set_collection("notes", CollectionChange(merge="record"))) == ("merge-fixed", 409)
    assert (await collection(desk, "notes")).settings.merge == "field"


def test_names_of_conflicts_for_people() -> None:
    assert [records.conflict_name(name) for name in ("", "\0deleted", "x")] == ["(record)", "(deleted)", "x"]


async def test_a_space_gives_its_records_to_whoever_asks_again(desk: Device) -> None:
    """Nothing is kept between calls."""
    await desk.put("a", {"x": 1})
    assert await Records(desk.space).read("notes", "a") == await Records(desk.space).read("notes", "a")
