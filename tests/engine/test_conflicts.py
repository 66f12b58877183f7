"""Conflicts for people: shown with all there is to know, the same everywhere, and settled by an ordinary change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from peerd.core.device_id import format_device_id
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.shared import TABLES, SharedPlan, fields_of
from peerd.engine import conflicts
from peerd.engine.conflicts import Conflicts
from peerd.engine.cursors import to_word
from peerd.errors import UserError
from peerd.protocol.control.messages import CollectionChange, ConflictView, Resolution, WriteResult

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice

Two = tuple["Device", "Device"]


async def listed(device: Device, **chosen: Any) -> list[ConflictView]:
    every = {"collection": None, "key": None, "limit": 100, "cursor": None, **chosen}
    return (await Conflicts(device.space).list(**every)).conflicts


async def only(device: Device) -> ConflictView:
    (conflict,) = await listed(device)
    return conflict


async def resolve(device: Device, conflict: ConflictView, **resolution: Any) -> WriteResult:
    return await Conflicts(device.space).resolve(conflict.id, Resolution(**resolution))


async def refused(work: Awaitable[object]) -> tuple[str, int]:
    with pytest.raises(UserError) as refusal:
        await work
    return refusal.value.code, refusal.value.status


async def meet(two: Two) -> None:
    """Both hear everything."""
    one, other = two
    await one.tell(other)
    await other.tell(one)
    await one.tell(other)
    assert one.space.copy.digest == other.space.copy.digest


@pytest.fixture
async def parted(two: Two) -> Two:
    """Both have edited `x` of `notes/a`, the laptop a minute later."""
    desk, laptop = two
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await desk.patch("a", set={"x": "desk"})
    desk.clock.pass_s(60)
    await laptop.patch("a", set={"x": "laptop"})
    await meet(two)
    return two


@pytest.fixture
async def restored(two: Two) -> Two:
    """The laptop has deleted `notes/a` while the desk edited it."""
    desk, laptop = two
    laptop.space.presence.note_seen(desk.id)  # an author that is about restores its record itself
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await desk.patch("a", set={"x": 1})
    await laptop.delete("a")
    await meet(two)
    return two


# --- shown ----------------------------------------------------------------------------------------------


async def test_no_conflict_without_two_writers(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("a", {"n": 2})
    assert await listed(desk) == []
    assert await Conflicts(desk.space).counts() == ({}, 0)


async def test_all_values_are_shown_with_device_and_time_the_winner_first(parted: Two) -> None:
    desk, laptop = parted
    conflict = await only(desk)
    assert (conflict.kind, conflict.collection, conflict.key, conflict.field) == ("field", "notes", "a", "x")
    assert [(one.n, one.value, one.shown) for one in conflict.values] == [(0, "laptop", True), (1, "desk", False)]
    assert [one.device for one in conflict.values] == [format_device_id(laptop.id), format_device_id(desk.id)]
    assert [one.device_name for one in conflict.values] == ["laptop", "desk"]
    assert conflict.values[0].time_ms - conflict.values[1].time_ms == 60_000
    assert await desk.value("a") == {"x": "laptop", "y": 0}
    assert await Conflicts(desk.space).counts() == ({"notes": 1}, 0)


async def test_a_conflict_is_the_same_on_every_device(parted: Two) -> None:
    desk, laptop = parted
    assert msgspec.structs.asdict(await only(desk)) == msgspec.structs.asdict(await only(laptop))


async def test_a_value_of_a_device_that_was_removed_keeps_its_name(parted: Two) -> None:
    desk, laptop = parted
    await desk.spaces.remove(desk.space, laptop.id)
    assert [one.device_name for one in (await only(desk)).values] == ["laptop", "desk"]


async def test_lists_are_chosen_by_collection_and_key(parted: Two) -> None:
    desk, laptop = parted
    for device in parted:
        await device.put("b", {"x": device.name}, "lists")
    await laptop.tell(desk)
    assert len(await listed(desk)) == 2
    assert [one.collection for one in await listed(desk, collection="lists")] == ["lists"]
    assert [one.key for one in await listed(desk, key="a")] == ["a"]
    assert await listed(desk, collection="lists", key="a") == []


async def test_pages_hold_every_conflict_once(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "PAGE", 3)
    desk, laptop = two
    for number in range(10):
        for device in two:
            await device.put(f"k{number}", {"x": device.name, "same": 1, **({"y": device.name} if number % 3 else {})})
    await laptop.tell(desk)
    every = [one.id for one in await listed(desk)]
    assert len(every) == len(set(every)) == 16
    assert await Conflicts(desk.space).counts() == ({"notes": 16}, 0)
    for limit in (1, 2, 5, 16, 100):
        found: list[str] = []
        cursor = None
        while True:
            page = await Conflicts(desk.space).list(collection=None, key=None, limit=limit, cursor=cursor)
            found += [one.id for one in page.conflicts]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == every


async def test_a_page_of_large_values_ends_early(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "PAGE_BYTES", 10_000)
    desk, laptop = two
    for number in range(6):
        for device in two:
            await device.put(f"k{number}", {"x": device.name * 500})
    await laptop.tell(desk)
    page = await Conflicts(desk.space).list(collection=None, key=None, limit=100, cursor=None)
    assert 1 <= len(page.conflicts) < 4
    rest = await Conflicts(desk.space).list(collection=None, key=None, limit=100, cursor=page.cursor)
    assert rest.conflicts[0].key == f"k{len(page.conflicts)}"


@pytest.mark.parametrize("cursor", ["!!!", to_word("a"), to_word(("a", "b")) + "=", to_word((1, 2))])
async def test_a_cursor_that_is_none_of_ours_is_refused(desk: Device, cursor: str) -> None:
    assert await refused(listed(desk, cursor=cursor)) == ("bad-cursor", 400)


async def test_equal_values_are_no_conflict(two: Two) -> None:
    desk, _ = two
    for device in two:
        await device.put("a", {"x": {"p": 1, "q": 2}})
    await meet(two)
    assert await listed(desk) == []


async def test_a_silent_policy_lists_nothing_until_it_is_gone(parted: Two) -> None:
    desk, _ = parted
    await desk.records.set_collection("notes", CollectionChange(policy="newest"))
    assert await listed(desk) == []
    assert await Conflicts(desk.space).counts() == ({}, 0)
    await desk.records.set_collection("notes", CollectionChange(policy="keep"))
    assert len(await listed(desk)) == 1


# --- settled --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "value"),
    [({"choose": 0}, {"x": "laptop", "y": 0}), ({"choose": 1}, {"x": "desk", "y": 0}),
     ({"value": [1, {"$bytes": "AA=="}]}, {"x": [1, {"$bytes": "AA=="}], "y": 0}),
     ({"value": None}, {"x": None, "y": 0}), ({"drop": True}, {"y": 0})],
)  # fmt: skip
async def test_a_field_is_settled_for_everybody(parted: Two, resolution: dict[str, Any], value: Any) -> None:
    desk, laptop = parted
    conflict = await only(desk)
    written = await resolve(desk, conflict, etag=conflict.etag, **resolution)
    assert written.changed
    assert written.dot is not None
    assert written.results[0].etag == (await desk.records.read("notes", "a")).etag
    await meet(parted)
    for device in (desk, laptop):
        assert await device.value("a") == value
        assert await listed(device) == []
        assert await refused(resolve(device, conflict, choose=0)) == ("conflict-not-found", 404)


async def test_a_conflict_that_nobody_has_is_a_404(desk: Device) -> None:
    assert await refused(Conflicts(desk.space).resolve("abc", Resolution(choose=0))) == ("conflict-not-found", 404)


@pytest.mark.parametrize("number", [-1, 2, 10**20])
async def test_a_number_that_no_value_has_is_refused(parted: Two, number: int) -> None:
    desk, _ = parted
    assert await refused(resolve(desk, await only(desk), choose=number)) == ("bad-choice", 400)
    assert len(await listed(desk)) == 1


async def test_saying_nothing_settles_nothing(parted: Two) -> None:
    desk, _ = parted
    assert await refused(resolve(desk, await only(desk))) == ("bad-body", 400)


async def test_a_value_outside_the_model_is_refused(parted: Two) -> None:
    desk, _ = parted
    assert await refused(resolve(desk, await only(desk), value=1 << 63)) == ("number-too-large", 400)
    assert len(await listed(desk)) == 1


async def test_an_etag_that_is_not_the_conflicts_own_stops_it(parted: Two) -> None:
    """Somebody wrote another value since it was looked at."""
    desk, laptop = parted
    looked_at = await only(desk)
    await laptop.patch("a", set={"x": "third"}, seen=(await laptop.records.read("notes", "a")).etag)
    await desk.patch("a", set={"x": "fourth"}, seen="")
    assert (await only(desk)).id == looked_at.id
    assert (await only(desk)).etag != looked_at.etag
    assert await refused(resolve(desk, looked_at, choose=0, etag=looked_at.etag)) == ("precondition-failed", 412)
    assert len((await only(desk)).values) == 3
    assert (await resolve(desk, looked_at, choose=0, etag=f'"{(await only(desk)).etag}"')).changed


async def test_an_edit_of_another_field_leaves_the_etag(parted: Two) -> None:
    desk, _ = parted
    looked_at = await only(desk)
    await desk.patch("a", set={"y": 1})
    assert (await resolve(desk, looked_at, choose=1, etag=looked_at.etag)).changed
    assert await desk.value("a") == {"x": "desk", "y": 1}


class Hesitant(Conflicts):
    """Something happens between looking and writing."""

    meanwhile: Callable[[], Awaitable[object]]

    async def _find(self, wanted: str) -> Any:
        found = await super()._find(wanted)
        await self.meanwhile()
        return found


async def test_a_value_that_came_in_between_stays_listed(parted: Two) -> None:
    desk, laptop = parted
    looked_at = await only(desk)
    await laptop.patch("a", set={"x": "third"}, seen="")

    hesitant = Hesitant(desk.space)
    hesitant.meanwhile = lambda: laptop.tell(desk)
    await hesitant.resolve(looked_at.id, Resolution(value="settled", etag=looked_at.etag))
    left = await only(desk)
    assert left.id == looked_at.id
    assert {one.value for one in left.values} == {"third", "settled"}
    await meet(parted)
    assert msgspec.structs.asdict(await only(laptop)) == msgspec.structs.asdict(left)


async def test_two_resolutions_at_once_are_a_conflict_again(parted: Two) -> None:
    desk, laptop = parted
    await resolve(desk, await only(desk), value="one")
    await resolve(laptop, await only(laptop), value="two")
    await meet(parted)
    for device in parted:
        assert {one.value for one in (await only(device)).values} == {"one", "two"}


# --- whole records --------------------------------------------------------------------------------------


async def test_a_whole_record_is_settled_as_one(two: Two) -> None:
    desk, laptop = two
    await desk.records.set_collection("whole", CollectionChange(merge="record"))
    await desk.tell(laptop)
    for device in two:
        await device.put("a", {"by": device.name, "$x": 1}, "whole")
        await device.put("b", {"$bytes": device.name}, "whole")
    await meet(two)
    one, other = await listed(desk)
    assert (one.field, other.field) == ("(record)", "(record)")
    assert [value.value for value in one.values] == [
        {"by": name, "$x": 1} for name in (value.device_name for value in one.values)
    ]
    assert {value.value["$bytes"] for value in other.values} == {"desk", "laptop"}
    assert await refused(resolve(desk, one, value=7)) == ("bad-value", 400)
    assert await refused(resolve(desk, one, value={"": 7})) == ("bad-name", 400)
    await resolve(desk, one, value={"$text": "mine"})
    await resolve(desk, other, choose=1)
    await meet(two)
    for device in two:
        assert await listed(device) == []
        assert await device.value("a", "whole") == {"$text": "mine"}
        assert await device.value("b", "whole") == other.values[1].value
        await device.patch("a", "whole", set={"y": device.name})
    await meet(two)
    assert (await only(desk)).field == "(record)"  # what was settled still merges as one


async def test_a_whole_record_that_was_restored_still_merges_as_one(two: Two) -> None:
    desk, laptop = two
    await desk.records.set_collection("whole", CollectionChange(merge="record"))
    await desk.put("a", {"x": 0}, "whole")
    await desk.tell(laptop)
    await desk.put("a", {"x": 1}, "whole")
    await laptop.delete("a", "whole")
    await meet(two)
    assert [one.value for one in (await only(desk)).values] == [{"x": 1}]
    await resolve(desk, await only(desk), value={"x": 2, "y": 2})
    await meet(two)
    await desk.patch("a", "whole", set={"x": 3})
    await laptop.patch("a", "whole", set={"y": 3})
    await meet(two)
    assert (await only(desk)).field == "(record)"


async def test_dropping_the_whole_leaves_an_empty_record(two: Two) -> None:
    desk, laptop = two
    await desk.records.set_collection("whole", CollectionChange(merge="record"))
    await desk.tell(laptop)
    for device in two:
        await device.put("a", {"by": device.name}, "whole")
    await meet(two)
    await resolve(desk, await only(desk), drop=True)
    assert await desk.value("a", "whole") == {}
    assert await listed(desk) == []


# --- an edit that met a delete --------------------------------------------------------------------------


async def test_a_meeting_of_edit_and_delete_is_listed(restored: Two) -> None:
    desk, laptop = restored
    conflict = await only(desk)
    assert (conflict.kind, conflict.field, conflict.key) == ("restored", None, "a")
    (value,) = conflict.values
    assert (value.n, value.value, value.shown, value.device_name) == (0, {"x": 1, "y": 0}, True, "desk")
    assert (conflict.deleted_by, conflict.deleted_by_name) == (format_device_id(laptop.id), "laptop")
    assert msgspec.structs.asdict(conflict) == msgspec.structs.asdict(await only(laptop))
    assert await Conflicts(laptop.space).counts() == ({"notes": 1}, 0)


@pytest.mark.parametrize(
    ("resolution", "value"),
    [({"choose": 0}, {"x": 1, "y": 0}), ({"value": {"z": 3}}, {"z": 3}), ({"value": {}}, {}), ({"drop": True}, None)],
)
async def test_a_meeting_is_settled_for_everybody(restored: Two, resolution: dict[str, Any], value: Any) -> None:
    desk, laptop = restored
    conflict = await only(laptop)
    await resolve(laptop, conflict, etag=conflict.etag, **resolution)
    await meet(restored)
    for device in (desk, laptop):
        assert await listed(device) == []
        if value is None:
            assert await refused(device.value("a")) == ("record-not-found", 404)
        else:
            assert await device.value("a") == value
        assert await refused(resolve(device, conflict, choose=0)) == ("conflict-not-found", 404)


async def test_a_meeting_is_not_settled_by_nonsense(restored: Two) -> None:
    desk, _ = restored
    conflict = await only(desk)
    assert await refused(resolve(desk, conflict, choose=1)) == ("bad-choice", 400)
    assert await refused(resolve(desk, conflict, value=3)) == ("bad-value", 400)
    assert await refused(resolve(desk, conflict, value={"a\0": 3})) == ("bad-name", 400)
    assert await refused(resolve(desk, conflict, value={"": 3})) == ("bad-name", 400)
    assert await refused(resolve(desk, conflict, choose=0, etag="kA")) == ("precondition-failed", 412)
    assert await refused(resolve(desk, conflict)) == ("bad-body", 400)
    assert len(await listed(desk)) == 1


async def test_keeping_a_restored_record_decides_nothing_else(restored: Two) -> None:
    """Two values of a field that stand against each other go on doing so."""
    desk, laptop = restored
    await desk.patch("a", set={"x": "desk"})
    await laptop.patch("a", set={"x": "laptop"})
    await meet(restored)
    kinds = {one.kind: one for one in await listed(desk)}
    assert set(kinds) == {"field", "restored"}
    await resolve(desk, kinds["restored"], choose=0)
    left = await only(desk)
    assert (left.kind, {one.value for one in left.values}) == ("field", {"desk", "laptop"})
    assert (await desk.value("a"))["y"] == 0


async def test_keeping_a_restored_record_does_not_undo_an_edit_in_between(restored: Two) -> None:
    desk, laptop = restored
    await laptop.patch("a", set={"y": "late"})
    hesitant = Hesitant(desk.space)
    hesitant.meanwhile = lambda: laptop.tell(desk)
    await hesitant.resolve((await only(desk)).id, Resolution(choose=0))
    assert {one.value for one in (await only(desk)).values} == {0, "late"}


async def test_with_delete_wins_the_delete_stands(two: Two) -> None:
    desk, laptop = two
    await desk.records.set_collection("notes", CollectionChange(delete_wins=True))
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    await desk.patch("a", set={"x": 1})
    await laptop.delete("a")
    await meet(two)
    for device in two:
        assert await refused(device.value("a")) == ("record-not-found", 404)
        assert await listed(device) == []
        assert await Conflicts(device.space).counts() == ({}, 0)


# --- parked ---------------------------------------------------------------------------------------------


async def test_a_parked_record_is_listed_apart(desk: Device) -> None:
    await desk.park("a", "left")
    assert await Conflicts(desk.space).counts() == ({}, 1)
    conflict = await only(desk)
    assert (conflict.kind, conflict.field, conflict.collection, conflict.key) == ("parked", None, "notes", "a")
    (value,) = conflict.values
    assert (value.n, value.value, value.shown, value.device_name) == (0, {"x": "left"}, False, "desk")


@pytest.mark.parametrize(
    ("resolution", "value"), [({"choose": 0}, {"x": "left"}), ({"value": {"z": 3}}, {"z": 3}), ({"drop": True}, None)]
)
async def test_a_parked_record_can_be_settled(two: Two, resolution: dict[str, Any], value: Any) -> None:
    desk, laptop = two
    await desk.park("a", "left")
    await meet(two)
    conflict = await only(laptop)
    assert conflict.id == (await only(desk)).id
    await resolve(laptop, conflict, etag=conflict.etag, **resolution)
    await meet(two)
    for device in two:
        assert await listed(device) == []
        assert await Conflicts(device.space).counts() == ({}, 0)
        if value is None:
            assert await refused(device.value("a")) == ("record-not-found", 404)
        else:
            assert await device.value("a") == value


async def test_a_parked_record_with_two_values_shows_one_and_keeps_both(two: Two) -> None:
    desk, laptop = two
    for device in two:
        await device.park("a", device.name)
    await meet(two)
    assert len(await listed(desk)) == 1
    await resolve(desk, await only(desk), choose=0)
    await meet(two)
    assert {one.value for one in (await only(laptop)).values} == {"desk", "laptop"}
    assert (await only(laptop)).kind == "field"


async def test_a_parked_whole_record_shows_its_fields(desk: Device) -> None:
    await desk.records.set_collection("whole", CollectionChange(merge="record"))
    await desk.put("a", {"x": 0}, "whole")
    await desk.park("b", {"x": 9}, "whole", field="")
    assert (await only(desk)).values[0].value == {"x": 9}


async def test_conflicts_outlive_a_restart(parted: Two, make: MakeDevice) -> None:
    desk, _ = parted
    before = msgspec.structs.asdict(await only(desk))
    assert msgspec.structs.asdict(await only(await desk.reopen())) == before


# --- tied by a CHECK ------------------------------------------------------------------------------------

SPANS = SharedPlan("natural", ("k",), {}, "app.spans", (("hi", "lo"),))


@pytest.fixture
async def spans(two: Two) -> Two:
    """`lo` and `hi` of `app.spans/a` were edited together on both sides; `note` is tied to nothing."""
    desk, laptop = two
    await desk.space.commits.write([Intent(Kind.PUT, TABLES, "app.spans", fields_of(SPANS))])
    await desk.put("a", {"k": "a", "lo": 1, "hi": 9, "note": 0}, "app.spans")
    await desk.tell(laptop)
    await desk.patch("a", "app.spans", set={"lo": 8, "hi": 9.5, "note": 1})
    desk.clock.pass_s(60)
    await laptop.patch("a", "app.spans", set={"lo": 1.5, "hi": 2, "note": 2})
    await meet(two)
    return two


async def test_columns_that_a_check_ties_are_settled_together(spans: Two) -> None:
    desk, laptop = spans
    lo = next(one for one in await listed(laptop) if one.field == "lo")
    of_desk = next(value.n for value in lo.values if value.value == 8)
    await resolve(laptop, lo, choose=of_desk)
    assert [one.field for one in await listed(laptop)] == ["note"]
    value = (await laptop.records.read("app.spans", "a")).value
    assert (value["lo"], value["hi"]) == (8, 9.5)
    await meet(spans)
    assert [one.field for one in await listed(desk)] == ["note"]


async def test_tied_columns_are_not_settled_by_a_value_for_one_of_them(spans: Two) -> None:
    desk, _ = spans
    hi = next(one for one in await listed(desk) if one.field == "hi")
    for resolution in ({"value": 3}, {"drop": True}):
        with pytest.raises(UserError, match="ties hi to lo") as refusal:
            await resolve(desk, hi, **resolution)
        assert (refusal.value.code, refusal.value.status) == ("tied-conflict", 409)
        assert """peerctl patch home app.spans a '{"hi": VALUE, "lo": VALUE}'""" in refusal.value.next_step
    await desk.patch("a", "app.spans", set={"lo": 3, "hi": 4})
    assert [one.field for one in await listed(desk)] == ["note"]


async def test_who_wrote_them_one_by_one_cannot_be_chosen(two: Two) -> None:
    """No one of its writes says what the others were to be with it."""
    desk, laptop = two
    await desk.space.commits.write([Intent(Kind.PUT, TABLES, "app.spans", fields_of(SPANS))])
    await desk.put("a", {"k": "a", "lo": 1, "hi": 9}, "app.spans")
    await desk.tell(laptop)
    await desk.patch("a", "app.spans", set={"lo": 8, "hi": 10})
    await laptop.patch("a", "app.spans", set={"lo": 0})
    await laptop.patch("a", "app.spans", set={"hi": 2})
    await meet(two)
    lo = next(one for one in await listed(desk) if one.field == "lo")
    numbers = {value.value: value.n for value in lo.values}
    assert await refused(resolve(desk, lo, choose=numbers[0])) == ("tied-conflict", 409)
    await resolve(desk, lo, choose=numbers[8])
    assert await listed(desk) == []


async def test_a_value_that_makes_another_key_settles_nothing(two: Two) -> None:
    desk, laptop = two
    plan = SharedPlan("content", ("k",), {}, "app.tags", (), ("NOCASE",))
    await desk.space.commits.write([Intent(Kind.PUT, TABLES, "app.tags", fields_of(plan))])
    await desk.put("ab", {"k": "ab"}, "app.tags")
    await desk.tell(laptop)
    await desk.patch("ab", "app.tags", set={"k": "AB"})
    await laptop.patch("ab", "app.tags", set={"k": "Ab"})
    await meet(two)
    conflict = await only(desk)
    assert await refused(resolve(desk, conflict, value="b")) == ("key-mismatch", 422)
    await resolve(desk, conflict, value="aB")
    assert await listed(desk) == []
