"""The tail answers as the store does, or not at all."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.record_form import encode_body, encode_stamps
from peerd.engine import feed
from peerd.engine import tail as tails
from peerd.engine.feed import Feed
from peerd.engine.tail import Tail
from peerd.errors import StoreError
from peerd.protocol.control.messages import ChangeRequest, CollectionChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peerd.core.batch import Name
    from peerd.core.record import Record
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

MANY_BYTES = 1 << 30


def limit(device: Device, **limits: int) -> Tail:
    """Give the device a tail with other limits, that begins here."""
    commits = device.space.commits
    commits.tail = Tail(commits.last_position, **limits)
    return commits.tail


async def stored(device: Device, names: Iterable[Name]) -> dict[Name, Record]:
    found = await device.space.store.read(lambda transaction: transaction.records(names))
    return {name: one.record for name, one in found.items()}


def form(record: Record | None) -> object:
    """Everything about a record, the order of its fields too."""
    if record is None:
        return None
    order, stamps = encode_stamps(record.stamps)
    return stamps, encode_body(record.births, record.fields, order), list(record.fields)


def put(key: str, value: object = 1) -> ChangeRequest:
    return ChangeRequest(kind="put", collection="notes", key=key, value={"x": value})


class Counted:
    """How often the store is asked for runs and records, from here on."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        for name in ("runs_after", "read"):
            self._count(device.space.store, name, monkeypatch)

    def _count(self, store: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = getattr(store, name)

        async def counting(*arguments: Any, **more: Any) -> Any:
            self.asked += 1
            return await asked(*arguments, **more)

        monkeypatch.setattr(store, name, counting)


# --- what it answers --------------------------------------------------------------------------------------


async def test_it_begins_at_the_end_of_the_log(desk: Device) -> None:
    await desk.put("a", {})
    again = await desk.reopen()
    tail, end = again.space.commits.tail, again.space.commits.last_position
    assert end == 1
    assert tail.runs_after(end - 1, MANY_BYTES) is None
    assert tail.runs_after(end, MANY_BYTES) == await again.space.store.runs_after(end, MANY_BYTES)
    assert not tail.knows(("notes", "a"))


async def test_it_has_what_was_committed_since(desk: Device) -> None:
    await desk.put("a", {"z": 1, "b": 2})
    await desk.put("a", {"z": 3, "b": 2})
    await desk.put("b", {})
    await desk.delete("b")
    tail = desk.space.commits.tail
    assert tail.runs_after(0, MANY_BYTES) == await desk.space.store.runs_after(0, MANY_BYTES)
    known = await stored(desk, [("notes", "a")])
    assert form(tail.record(("notes", "a"))) == form(known["notes", "a"])
    assert tail.knows(("notes", "b"))
    assert tail.record(("notes", "b")) is None


async def test_nobody_changes_a_record_for_the_next_one_who_asks(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    tail = desk.space.commits.tail
    first = tail.record(("notes", "a"))
    assert first is not None
    first.fields.clear()
    await desk.patch("a", set={"y": 2})
    assert form(tail.record(("notes", "a"))) == form((await stored(desk, [("notes", "a")]))["notes", "a"])


async def test_what_is_not_durable_is_not_in_it(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    tail, store = desk.space.commits.tail, desk.space.store
    transact = store.transact
    seen: list[object] = []

    async def failing(*_: Any, **__: Any) -> Any:
        raise StoreError("the disk is gone")

    async def watching(*arguments: Any, **more: Any) -> Any:
        result = await transact(*arguments, **more)
        seen.append((tail.runs_after(0, MANY_BYTES), tail.knows(("notes", "a"))))
        return result

    empty = tail.runs_after(0, MANY_BYTES)
    monkeypatch.setattr(store, "transact", failing)
    with pytest.raises(StoreError):
        await desk.put("a", {})
    assert (tail.runs_after(0, MANY_BYTES), tail.knows(("notes", "a"))) == (empty, False)
    monkeypatch.setattr(store, "transact", watching)
    await desk.put("a", {})
    assert seen == [(empty, False)]
    assert tail.knows(("notes", "a"))


@pytest.mark.parametrize("seed", range(8))
async def test_it_answers_as_the_store_does(two: tuple[Device, Device], seed: int) -> None:
    """In random histories of two devices, with limits that are met all the time."""
    desk, laptop = two
    chance = random.Random(seed)
    tail = limit(desk, max_bytes=6_000, max_runs=7, max_records=12)
    names = [("notes", key) for key in "abcdefgh"]
    answered = 0
    for _ in range(60):
        device = chance.choice(two)
        keys = chance.sample("abcdefgh", chance.choice([1, 1, 1, 2, 3]))
        value = chance.choice([1, 2, "y" * chance.choice([10, 500, 4_000])])
        if chance.random() < 0.2:
            await device.write(*(ChangeRequest(kind="delete", collection="notes", key=key) for key in keys))
        elif chance.random() < 0.3:
            await asyncio.gather(*(device.put(key, {"z": value, "a": 1}) for key in keys))  # one run, or few
        else:
            await device.write(*(put(key, value) for key in keys))
        if chance.random() < 0.3:
            await laptop.tell(desk)
        if chance.random() < 0.2:
            await desk.tell(laptop)
        end = desk.space.commits.last_position
        for position in range(max(0, end - 10), end + 2):
            clock = chance.choice([None, {}, desk.clock_now(), laptop.clock_now()])
            asked = (position, chance.choice([1, 300, 3_000, MANY_BYTES]), chance.choice([1, 2, 1_000]), clock)
            answer = tail.runs_after(*asked)
            assert answer is None or answer == await desk.space.store.runs_after(*asked)
            answered += answer is not None
        known = await stored(desk, names)
        for name in names:
            if tail.knows(name):
                assert form(tail.record(name)) == form(known.get(name))
                answered += 1
    assert answered > 100


# --- what it holds ----------------------------------------------------------------------------------------


async def test_it_holds_the_newest_of_what_fits(desk: Device) -> None:
    tail = limit(desk, max_bytes=6_000)
    for n in range(20):
        await desk.put(f"{n}", {"x": "y" * 300})
        assert tail.size_bytes <= 6_000
    assert tail.runs_after(0, MANY_BYTES) is None
    rows = tail.runs_after(17, MANY_BYTES)
    assert rows is not None
    assert len(rows.rows) == 3
    assert tail.knows(("notes", "19"))
    assert not tail.knows(("notes", "0"))


async def test_a_record_goes_with_the_last_commit_that_touched_it(desk: Device) -> None:
    tail = limit(desk, max_runs=3)
    await desk.put("a", {"x": 1})
    await desk.put("b", {"x": 1})
    await desk.put("a", {"x": 2})
    await desk.put("c", {"x": 1})  # the first commit goes: the second one of its record is still there
    assert tail.knows(("notes", "a"))
    await desk.put("d", {})
    assert [tail.knows(("notes", key)) for key in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        ({"max_bytes": 6_000}, [put("large", "y" * 9_000)]),
        ({"max_records": 9}, [put(f"{n}") for n in range(10)]),
    ],
)
async def test_nothing_is_left_after_a_large_commit(
    desk: Device, limits: dict[str, int], changes: list[ChangeRequest]
) -> None:
    """Nor is anything known that it may have changed; the next small one is held again."""
    tail = limit(desk, **limits)
    await desk.put("a", {})
    await desk.write(*changes)
    assert tail.size_bytes == 0
    assert not tail.knows(("notes", "a"))
    assert tail.runs_after(1, MANY_BYTES) is None
    await desk.put("b", {})
    assert tail.runs_after(2, MANY_BYTES) == await desk.space.store.runs_after(2, MANY_BYTES)


async def test_many_runs_at_once_are_not_held(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    for n in range(5):
        await laptop.put(f"{n}", {})
    tail = limit(desk, max_runs=4)
    await laptop.tell(desk)
    assert tail.runs_after(0, MANY_BYTES) is None
    assert tail.size_bytes == 0


async def test_a_small_change_of_a_large_record_counts_as_large(desk: Device) -> None:
    tail = limit(desk, max_bytes=6_000)
    await desk.put("a", {"large": "y" * 9_000})
    await desk.patch("a", set={"n": 1})
    assert tail.size_bytes == 0


async def test_a_closed_one_answers_nothing(desk: Device) -> None:
    await desk.put("a", {})
    commits = desk.space.commits
    end = commits.last_position
    await commits.close()
    assert commits.tail.runs_after(end, MANY_BYTES) is None
    assert not commits.tail.knows(("notes", "a"))
    assert commits.tail.size_bytes == 0


# --- who asks it ------------------------------------------------------------------------------------------


async def test_a_watcher_is_told_without_a_read(two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, laptop = two
    stream = await Feed(laptop.space).open("now", follow=True)
    counted = Counted(laptop, monkeypatch)
    assert (await anext(stream))[0].kind == "current"
    await desk.put("a", {"x": 1})
    await desk.tell(laptop)
    await laptop.put("b", {"x": 2})
    (first, second), (current,) = await anext(stream), await anext(stream)
    assert [(one.key, one.value) for one in (first, second)] == [("a", {"x": 1}), ("b", {"x": 2})]
    assert current.kind == "current"
    assert counted.asked == 0
    await stream.aclose()


async def test_a_reader_of_the_past_goes_on_without_reads(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not before the first commit after it: what the store told may have been ahead of the tail."""
    await desk.put("a", {"x": 1})
    stream = await Feed(desk.space).open(None, follow=True)
    kinds = [(await anext(stream))[0].kind for _ in range(3)]
    assert kinds == ["reset", "put", "current"]
    counted = Counted(desk, monkeypatch)
    for n in range(2, 5):
        await desk.put("a", {"x": n})
        assert (await anext(stream))[0].value == {"x": n}
        assert (await anext(stream))[0].kind == "current"
    assert counted.asked == 0
    await stream.aclose()


async def test_a_record_never_seems_to_go_back(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read may see a commit of which nobody was told yet; what is told next is not older."""
    monkeypatch.setattr(feed, "BATCH_BYTES", 1)  # one at a time
    limit(desk, max_records=1)
    (current,) = await anext(await Feed(desk.space).open("now", follow=False))
    await desk.write(put("a", 1), put("b", 1))  # too large for the tail
    await desk.put("a", {"x": 2})
    stream = await Feed(desk.space).open(current.token, follow=True)
    transact = desk.space.store.transact
    told: list[object] = []

    async def durable_but_not_rung(*arguments: Any, **more: Any) -> Any:
        result = await transact(*arguments, **more)
        for _ in range(3):
            told.extend((one.key, one.value) for one in await anext(stream))
        return result

    monkeypatch.setattr(desk.space.store, "transact", durable_but_not_rung)
    await desk.put("a", {"x": 3})
    assert told == [("a", {"x": 3}), ("b", {"x": 1}), ("a", {"x": 3})]
    assert [(one.key, one.value) for one in await anext(stream)] == [("a", {"x": 3})]
    await stream.aclose()


async def test_a_change_goes_out_without_a_read(
    two: tuple[Device, Device], wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    wire.connect(desk, laptop)
    await desk.put("a", {"x": 1})
    await until(lambda: laptop.clock_now() == desk.clock_now())
    counted = Counted(desk, monkeypatch), Counted(laptop, monkeypatch)
    for n in range(3):
        await desk.put("a", {"x": n + 2})
        await until(lambda: laptop.clock_now() == desk.clock_now())
    assert [one.asked for one in counted] == [0, 0]


async def test_whoever_was_away_gets_what_the_tail_has_lost(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    laptop = make("laptop")
    await desk.admit(laptop)
    limit(desk, max_runs=2)
    for n in range(9):
        await desk.put(f"{n}", {})
    wire.connect(desk, laptop)
    await until(lambda: laptop.clock_now() == desk.clock_now())
    assert len((await laptop.records.list("notes", "", 100, None)).records) == 9


async def test_settings_are_held_like_any_record(desk: Device) -> None:
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    tail = desk.space.commits.tail
    assert tail.knows(("_settings", "notes"))
    assert tails.TAIL_BYTES > tail.size_bytes > 0
