"""Undoing: of a transaction, of a device's in a span, of everything since a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.reading import SETTINGS
from peerd.core.values import pack
from peerd.engine.past import reverting
from peerd.engine.past.past import Past
from peerd.engine.past.reverting import Reverting, Selection
from peerd.errors import UserError
from peerd.protocol.control.history import Reverted, RevertResult
from peerd.protocol.control.messages import ChangeRequest, CollectionChange, WriteResult
from tests.engine.past.test_history import DAY_MS, age, snapshot_of, trim

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def undo(on: Device, *, preview: bool = False, **selected: Any) -> list[RevertResult]:
    """All portions."""
    found: list[RevertResult] = []
    cursor = None
    while True:
        portion = await Reverting(on.space).portion(Selection(**selected), cursor, preview=preview)
        found.append(portion)
        if portion.cursor is None:
            return found
        assert portion.cursor != cursor
        cursor = portion.cursor


def records(portions: list[RevertResult]) -> list[Reverted]:
    return [record for portion in portions for record in portion.records]


async def undo_one(on: Device, written: WriteResult, **how: Any) -> list[Reverted]:
    assert written.dot is not None
    return records(await undo(on, only=Reverting(on.space).find(written.dot), **how))


async def state(on: Device, collection: str = "notes") -> dict[str, Any]:
    return {one.key: one.value for one in (await on.records.list(collection, "", 10_000, None)).records}


def change(kind: Any, key: str, **more: Any) -> ChangeRequest:
    return ChangeRequest(kind=kind, collection="notes", key=key, **more)


async def mixed(on: Device) -> WriteResult:
    """One transaction that makes, changes and deletes."""
    for key in "abc":
        await on.put(key, {"x": key, "y": 1})
    return await on.write(
        change("put", "new", value={"n": 1}),
        change("patch", "a", set={"x": 2, "z": 3}, drop=["y"]),
        change("delete", "b"),
    )


# ---- one transaction


async def test_a_transaction_is_undone_whole(desk: Device) -> None:
    """By one of ours, which can be undone itself."""
    bad = await mixed(desk)
    was, after = {"a": {"x": "a", "y": 1}, "b": {"x": "b", "y": 1}, "c": {"x": "c", "y": 1}}, await state(desk)
    found = await undo_one(desk, bad)
    assert [(one.key, one.done, one.set, one.drop) for one in found] == [
        ("new", "deleted", {}, []),
        ("a", "changed", {"y": 1, "x": "a"}, ["z"]),
        ("b", "created", {"x": "b", "y": 1}, []),
    ]
    assert await state(desk) == was
    (portion,) = await undo(desk, only=Reverting(desk.space).find(f"{desk.space.commits.own_origin.hex()}:5"))  # type: ignore[union-attr] # it has written
    assert portion.dot is not None
    assert await state(desk) == after


async def test_a_preview_writes_nothing_and_says_the_same(desk: Device) -> None:
    bad = await mixed(desk)
    before, clock = await state(desk), desk.clock_now()
    planned = await undo_one(desk, bad, preview=True)
    assert (await state(desk), desk.clock_now()) == (before, clock)
    assert planned == await undo_one(desk, bad)
    assert await undo_one(desk, bad) != planned


async def test_what_was_changed_since_is_left_and_named(desk: Device) -> None:
    bad = await mixed(desk)
    await desk.patch("a", set={"x": 9})
    await desk.patch("new", set={"more": 1})
    await desk.put("b", {"again": 1})
    found = await undo_one(desk, bad)
    assert [(one.key, one.done, one.left) for one in found] == [
        ("new", None, ["more"]), ("a", "changed", ["x"]), ("b", None, ["(deleted)"]),
    ]  # fmt: skip
    assert await state(desk) == {
        "a": {"x": 9, "y": 1}, "b": {"again": 1}, "c": {"x": "c", "y": 1}, "new": {"n": 1, "more": 1},
    }  # fmt: skip
    await undo_one(desk, bad, anyway=True)
    assert await state(desk) == {
        "a": {"x": "a", "y": 1}, "b": {"again": 1, "x": "b", "y": 1}, "c": {"x": "c", "y": 1},
    }  # fmt: skip


async def test_what_was_deleted_since_comes_back_anyway(desk: Device) -> None:
    """Without it the record is left; what the transaction made itself and is gone needs no undoing."""
    bad = await mixed(desk)
    await desk.delete("a")
    await desk.delete("new")
    found = await undo_one(desk, bad)
    assert [(one.key, one.done, one.left) for one in found] == [("a", None, ["(deleted)"]), ("b", "created", [])]
    found = await undo_one(desk, bad, anyway=True)
    assert [(one.key, one.done, one.left) for one in found] == [("a", "created", [])]
    assert await state(desk) == {"a": {"x": "a", "y": 1}, "b": {"x": "b", "y": 1}, "c": {"x": "c", "y": 1}}


async def test_only_some_of_a_transaction_is_undone(desk: Device) -> None:
    bad = await mixed(desk)
    assert [one.key for one in await undo_one(desk, bad, collection="notes", key="b")] == ["b"]
    assert await undo_one(desk, bad, collection="lists") == []
    assert "b" in await state(desk)
    assert "new" in await state(desk)


async def test_the_transaction_of_another_device_is_undone_for_all(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await desk.tell(laptop)
    bad = await laptop.delete("a")
    await laptop.tell(desk)
    await undo_one(desk, bad)
    await desk.tell(laptop)
    assert await state(laptop) == {"a": {"x": 1}}


async def test_a_conflict_with_others_is_named_and_their_value_stays(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 0})
    await desk.tell(laptop)
    await laptop.patch("a", set={"x": 1})
    desk.clock.pass_s(1)
    bad = await desk.patch("a", set={"x": 2})
    await laptop.tell(desk)
    (one,) = await undo_one(desk, bad)
    assert (one.done, one.conflicts, one.drop) == ("changed", ["x"], ["x"])
    assert await state(desk) == {"a": {"x": 1}}


async def test_a_record_that_merges_as_a_whole_goes_back_as_one(desk: Device) -> None:
    await desk.records.set_collection("notes", CollectionChange(merge="record"))
    await desk.put("a", {"x": 1, "y": 1})
    bad = await desk.patch("a", set={"x": 2})
    (one,) = await undo_one(desk, bad)
    assert one.set == {"(record)": {"x": 1, "y": 1}}
    assert await state(desk) == {"a": {"x": 1, "y": 1}}


async def test_what_a_space_says_of_its_collections_is_left_alone(desk: Device) -> None:
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    origin = desk.space.commits.own_origin
    assert origin is not None
    (one,) = records(await undo(desk, only=Reverting(desk.space).find(f"{origin.hex()}:1")))
    assert (one.collection, one.done, one.reason != "") == (SETTINGS, None, True)
    assert desk.space.commits.rules.of("notes").policy == "max"


async def test_a_name_may_be_cut_short(desk: Device) -> None:
    written = await desk.put("a", {})
    assert written.dot is not None
    find = Reverting(desk.space).find
    whole = find(written.dot)
    assert find(f"{written.dot[:4].upper()}:1") == whole
    for name in (written.dot[:3] + ":1", "zzzz:1", written.dot[:8], written.dot[:8] + ":x", "", ":1"):
        with pytest.raises(UserError) as refused:
            find(name)
        assert (refused.value.code, refused.value.status) == ("transaction-not-found", 404)
    for seq in ("0", "2", "9" * 18):
        with pytest.raises(UserError) as refused:
            await undo(desk, only=find(f"{written.dot[:8]}:{seq}"))
        assert refused.value.code == "transaction-not-found"


# ---- spans


async def test_everything_since_a_time_is_undone(two: tuple[Device, Device]) -> None:
    """Made, changed, deleted, several times, by several devices."""
    desk, laptop = two
    for key in "abcd":
        await desk.put(key, {"x": key})
    await desk.tell(laptop)
    was = await state(desk)
    desk.clock.pass_s(10)
    since_ms = desk.clock.wall_ms()
    await desk.patch("a", set={"x": 1})
    await laptop.patch("b", set={"x": 2})
    await laptop.tell(desk)
    await desk.patch("a", set={"x": 3, "z": 1})
    await desk.delete("b")
    await desk.delete("c")
    await desk.put("c", {"other": 1})
    await desk.put("new", {})
    await desk.put("short", {})
    await desk.delete("short")
    found = records(await undo(desk, since_ms=since_ms))
    assert sorted((one.key, one.done) for one in found) == [
        ("a", "changed"), ("b", "created"), ("c", "changed"), ("new", "deleted"),
    ]  # fmt: skip
    assert await state(desk) == was
    assert records(await undo(desk, since_ms=since_ms)) == []
    await desk.tell(laptop)
    assert await state(laptop) == was


async def test_a_device_is_undone_in_a_span_and_others_are_not(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    for key in "abc":
        await desk.put(key, {"x": 0, "y": 0})
    await desk.tell(laptop)
    desk.clock.pass_s(10)
    since_ms = desk.clock.wall_ms()
    await laptop.patch("a", set={"x": 1})
    await laptop.patch("a", set={"x": 2})
    await laptop.patch("b", set={"x": 1})
    await laptop.tell(desk)
    until_ms = desk.clock.wall_ms()
    desk.clock.pass_s(10)
    await desk.patch("b", set={"x": 7})
    await desk.patch("c", set={"x": 7})
    await desk.tell(laptop)
    await laptop.patch("c", set={"y": 9})
    await laptop.tell(desk)
    origins = frozenset({laptop.space.commits.own_origin})
    found = records(await undo(desk, origins=origins, since_ms=since_ms, until_ms=until_ms))
    assert [(one.key, one.done, one.set, one.left) for one in found] == [
        ("b", None, {}, ["x"]), ("a", "changed", {"x": 0}, []),
    ]  # fmt: skip
    assert await state(desk) == {"a": {"x": 0, "y": 0}, "b": {"x": 7, "y": 0}, "c": {"x": 7, "y": 9}}


@pytest.mark.parametrize(("size", "window"), [(1, 1), (3, 2), (2_000, 200)])
async def test_a_mass_delete_is_undone_in_portions(
    desk: Device, monkeypatch: pytest.MonkeyPatch, size: int, window: int
) -> None:
    """Also of one transaction, and where it had touched a record before: each comes up once."""
    monkeypatch.setattr(reverting, "PORTION_RECORDS", size)
    monkeypatch.setattr(reverting, "WINDOW", window)
    monkeypatch.setattr(reverting, "SCAN", window)
    monkeypatch.setattr(reverting, "LOOK_AT", size + 1)
    keys = [f"{number:02}" for number in range(10)]
    await desk.write(*(change("put", key, value={"n": key}) for key in keys))
    was = await state(desk)
    desk.clock.pass_s(1)
    since_ms = desk.clock.wall_ms()
    await desk.write(*(change("patch", key, set={"n": 0}) for key in keys[:5]))
    await desk.write(*(change("delete", key) for key in keys[3:]))
    await desk.delete("00")
    planned = await undo(desk, since_ms=since_ms, preview=True)
    portions = await undo(desk, since_ms=since_ms)
    assert sorted(one.key for one in records(portions)) == keys
    assert await undo(desk, since_ms=since_ms, preview=True) != []
    assert records(planned) == records(portions)
    assert max(len(portion.records) for portion in portions) <= size
    assert await state(desk) == was


async def test_what_changes_between_two_portions_goes_back_too(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came after the revert had begun does not hide what came before."""
    monkeypatch.setattr(reverting, "PORTION_RECORDS", 1)
    for key in "ab":
        await desk.put(key, {"x": 1})
    was = await state(desk)
    desk.clock.pass_s(1)
    selection = Selection(since_ms=desk.clock.wall_ms())
    for key in "ab":
        await desk.put(key, {"x": 2})
    first = await Reverting(desk.space).portion(selection, None, preview=False)
    assert [one.key for one in first.records] == ["b"]
    await desk.put("a", {"x": 3})
    second = await Reverting(desk.space).portion(selection, first.cursor, preview=False)
    assert [(one.key, one.set) for one in second.records] == [("a", {"x": 1})]
    assert await state(desk) == was


async def test_large_records_are_put_back_a_few_at_a_time(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverting, "PORTION_BYTES", 10_000)
    for number in range(5):
        await desk.put(f"{number}", {"x": "y" * 6_000})
    desk.clock.pass_s(1)
    since_ms = desk.clock.wall_ms()
    await desk.write(*(change("delete", f"{number}") for number in range(5)))
    assert [len(portion.records) for portion in await undo(desk, since_ms=since_ms)] == [2, 2, 1]
    assert len(await state(desk)) == 5


async def test_a_record_that_changes_meanwhile_is_decided_anew(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = await mixed(desk)
    write = desk.space.commits.write
    raced: list[object] = []

    async def racing(*arguments: Any) -> Any:
        if not raced:
            raced.append(await write([Intent(Kind.PATCH, "notes", "a", {"x": pack(7)})]))
        return await write(*arguments)

    monkeypatch.setattr(desk.space.commits, "write", racing)
    found = await undo_one(desk, bad)
    assert found[1].left == ["x"]
    assert (await state(desk))["a"] == {"x": 7, "y": 1}


async def test_a_record_with_too_many_versions_is_left_and_named(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverting, "VERSIONS", 3)
    await desk.put("a", {"n": 0})
    await desk.put("b", {"n": 0})
    desk.clock.pass_s(1)
    since_ms = desk.clock.wall_ms()
    for number in range(1, 6):
        await desk.put("a", {"n": number})
    await desk.put("b", {"n": 1})
    found = {one.key: one for one in records(await undo(desk, since_ms=since_ms))}
    assert (found["a"].done, "more than 3 versions" in found["a"].reason) == (None, True)
    assert await state(desk) == {"a": {"n": 5}, "b": {"n": 0}}


# ---- how far back


async def test_history_that_is_forgotten_cannot_be_undone(desk: Device) -> None:
    """What is younger can, to the day."""
    written = []
    for number in range(4):
        written.append((desk.clock.wall_ms(), await desk.put("a", {"n": number})))
        await age(desk, DAY_MS, 100 * DAY_MS)
        desk.clock.pass_s(DAY_MS / 1000)
    await age(desk, 0, 2 * DAY_MS - 1)
    for number in (0, 1, 2):
        with pytest.raises(UserError) as refused:
            await undo_one(desk, written[number][1])
        assert refused.value.code == "before-history"
        with pytest.raises(UserError) as refused:
            await undo(desk, since_ms=written[number][0])
        assert refused.value.code == "before-history"
    await undo(desk, since_ms=written[2][0] + 1)
    assert await state(desk) == {"a": {"n": 2}}


async def test_transactions_that_are_trimmed_cannot_be_undone(desk: Device) -> None:
    first = await desk.put("a", {"n": 0})
    desk.clock.pass_s(1)
    second_ms = desk.clock.wall_ms()
    await desk.delete("a")
    await trim(desk, 1)
    with pytest.raises(UserError) as refused:
        await undo_one(desk, first)
    assert refused.value.code == "transaction-not-found"
    with pytest.raises(UserError) as refused:
        await undo(desk, since_ms=second_ms - 1000)
    assert refused.value.code == "before-history"
    await undo(desk, since_ms=second_ms - 999)
    assert await state(desk) == {"a": {"n": 0}}


async def test_what_came_by_a_snapshot_is_not_undone_but_what_came_since_is(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    before_ms = desk.clock.wall_ms()
    desk.clock.pass_s(60)
    await snapshot_of(desk, laptop)
    with pytest.raises(UserError) as refused:
        await undo(laptop, since_ms=before_ms)
    assert refused.value.code == "before-history"
    desk.clock.pass_s(60)
    since_ms = desk.clock.wall_ms()
    await desk.delete("a")
    await desk.tell(laptop)
    await undo(laptop, since_ms=since_ms)
    assert await state(laptop) == {"a": {"x": 1}}


@pytest.mark.parametrize("cursor", ["!!!", "kgcB"])
async def test_a_cursor_that_is_none_of_ours_is_refused(desk: Device, cursor: str) -> None:
    with pytest.raises(UserError) as refused:
        await Reverting(desk.space).portion(Selection(since_ms=1), cursor, preview=True)
    assert refused.value.code == "bad-cursor"


@pytest.mark.parametrize("kept_days", [30, 7])
async def test_history_is_kept_for_as_long_as_the_setting_says(desk: Device, kept_days: int) -> None:
    """By what runs in a daemon: the log goes with age, and what was dropped stays as long, however old it was then."""
    desk.housekeeping.history_days = lambda _: kept_days

    async def days(count: float) -> None:
        desk.clock.pass_s(count * DAY_MS / 1000)
        await desk.housekeeping.tidy(round(count * DAY_MS))

    await desk.put("a", {"x": "old"})
    await days(100)
    assert await desk.space.store.first_position() == 2, "its run is trimmed"
    before_ms = desk.clock.wall_ms()
    await days(1)
    bad = await desk.delete("a")
    await days(kept_days)
    assert (await Past(desk.space).then(("notes", "a"), before_ms)).value == {"x": "old"}
    planned = await undo_one(desk, bad, preview=True)
    assert [one.set for one in planned] == [{"x": "old"}]
    assert await undo_one(desk, bad, preview=True) == records(await undo(desk, since_ms=before_ms, preview=True))
    await days(0.01)
    with pytest.raises(UserError) as refused:
        await undo_one(desk, bad)
    assert refused.value.code == "transaction-not-found"
    for since_ms in (before_ms, before_ms + DAY_MS):
        with pytest.raises(UserError) as refused:
            await undo(desk, since_ms=since_ms)
        assert refused.value.code == "before-history"
    with pytest.raises(UserError) as refused:
        await Past(desk.space).then(("notes", "a"), before_ms)
    assert refused.value.code == "before-history"
    assert (await Past(desk.space).versions(("notes", "a"), 10, None)).versions == []


class Hurried:
    """A clock by which each look at it takes six milliseconds."""

    def __init__(self, device: Device) -> None:
        self.looks = 0
        device.space.times = self  # type: ignore[assignment]  # the only thing that is asked of it here

    def monotonic_s(self) -> float:
        self.looks += 1
        return self.looks * 0.006


async def test_a_portion_ends_in_time(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads or writes beside it waits for some ten milliseconds at most; a single transaction is undone in
    one all the same, out of several reads.
    """
    keys = [f"{number:02}" for number in range(10)]
    await desk.write(*(change("put", key, value={"n": key}) for key in keys))
    was = await state(desk)
    desk.clock.pass_s(1)
    since_ms = desk.clock.wall_ms()
    await desk.write(*(change("delete", key) for key in keys))
    reads: list[object] = []
    read = desk.space.store.lookback.read

    async def counted(reading: Any) -> Any:
        reads.append(reading)
        return await read(reading)

    monkeypatch.setattr(desk.space.store.lookback, "read", counted)
    Hurried(desk)
    portions = await undo(desk, since_ms=since_ms)
    assert max(len(portion.records) for portion in portions) < 5
    assert sorted(one.key for one in records(portions)) == keys
    assert await state(desk) == was
    reads.clear()
    written = await desk.write(*(change("delete", key) for key in keys))
    assert written.dot is not None
    (portion,) = await undo(desk, only=Reverting(desk.space).find(written.dot))
    assert [one.key for one in portion.records] == keys
    assert len(reads) > 3
    assert await state(desk) == was
