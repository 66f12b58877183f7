"""Many small transactions in one call: each stands for itself, and together they are as cheap as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerd.engine import group_commit
from peerd.errors import DiskFull, UserError
from peerd.protocol.control.messages import ChangeRequest, WriteResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.engine.conftest import Device


def change(kind: str, key: str, **more: Any) -> ChangeRequest:
    return ChangeRequest(kind=kind, collection=more.pop("collection", "notes"), key=key, **more)  # type: ignore[arg-type] # one of the three words


def puts(count: int) -> list[ChangeRequest]:
    return [change("put", f"k{number}", value={"n": number}) for number in range(count)]


def codes(outcomes: Sequence[WriteResult | UserError]) -> list[str]:
    return [outcome.code if isinstance(outcome, UserError) else "" for outcome in outcomes]


def dots(outcomes: Sequence[WriteResult | UserError]) -> list[int]:
    """The sequence numbers of what was written."""
    return [
        int(outcome.dot.partition(":")[2]) for outcome in outcomes if isinstance(outcome, WriteResult) and outcome.dot
    ]


async def runs(device: Device) -> list[int]:
    """How many entries each run of the log has."""
    piece = await device.space.store.runs_after(0, 1 << 24)
    return [len(row.run.entries) for row in piece.rows]


def count_commits(device: Device, monkeypatch: pytest.MonkeyPatch, full_at: int = 0) -> list[int]:
    """A list that grows by one with each SQL transaction; the disk is full at that of the number `full_at`."""
    store = device.space.store
    transact = store.transact
    begun: list[int] = []

    async def counted(*args: Any, **named: Any) -> Any:
        begun.append(len(begun) + 1)
        if begun[-1] == full_at:
            raise DiskFull("There is no space left.", next_step="Free some.")
        return await transact(*args, **named)

    monkeypatch.setattr(store, "transact", counted)
    return begun


async def test_a_thousand_changes_are_a_thousand_transactions_in_one_run(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One SQL transaction, one signature, and a dot of its own for each."""
    begun = count_commits(desk, monkeypatch)
    outcomes = await desk.records.write_each(puts(1_000))
    assert dots(outcomes) == list(range(1, 1_001))
    assert (len(begun), await runs(desk)) == (1, [1_000])
    assert await desk.value("k999") == {"n": 999}


async def test_more_than_a_group_are_written_in_groups(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in runs that are full."""
    begun = count_commits(desk, monkeypatch)
    outcomes = await desk.records.write_each(puts(2 * group_commit.GROUP_WRITES + 1))
    assert dots(outcomes) == list(range(1, 2 * group_commit.GROUP_WRITES + 2))
    assert (len(begun), await runs(desk)) == (3, [1_000] * 4 + [1])


async def test_what_is_refused_leaves_the_others_alone(desk: Device) -> None:
    """Whether it is seen before the commit or only inside it."""
    await desk.put("old", {"n": 1})
    outcomes = await desk.records.write_each(
        [
            change("put", "a", value={"n": 1}),
            change("put", "b", value={"n": 1 << 63}),
            change("put", "old", value={"n": 2}, if_none_match=True),
            change("patch", "absent", set={"n": 1}),
            change("put", "\0", value={}),
            change("delete", "absent", must_exist=True),
            change("put", "c", value={"n": 1}),
        ]
    )
    refusals = ["", "number-too-large", "precondition-failed", "record-not-found", "bad-name", "record-not-found", ""]
    assert codes(outcomes) == refusals
    assert dots(outcomes) == [2, 3]
    assert [await desk.value(key) for key in ("a", "old", "c")] == [{"n": 1}] * 3
    assert await runs(desk) == [1, 2]


async def test_changes_of_one_record_are_applied_in_their_order(desk: Device) -> None:
    """Each sees what the one before has made of it, also in its conditions."""
    outcomes = await desk.records.write_each(
        [
            change("put", "a", value={"n": 1}, if_none_match=True),
            change("put", "a", value={"n": 1}, if_none_match=True),
            change("patch", "a", set={"n": 2}),
            change("delete", "a"),
            change("patch", "a", set={"n": 3}),
            change("put", "a", value={"n": 4}),
            change("put", "a", value={"n": 4}),
        ]
    )
    assert codes(outcomes) == ["", "precondition-failed", "", "", "record-not-found", "", ""]
    assert dots(outcomes) == [1, 2, 3, 4]
    results = [outcome.results[0] for outcome in outcomes if isinstance(outcome, WriteResult)]
    assert [result.created for result in results] == [True, False, False, True, False]
    assert [result.changed for result in results] == [True, True, True, True, False]
    assert await desk.value("a") == {"n": 4}


async def test_another_device_gets_each_as_a_transaction_of_its_own(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.records.write_each(puts(1_500))
    await desk.tell(laptop)
    assert laptop.space.copy.digest == desk.space.copy.digest
    assert await runs(laptop) == [1_000, 500]


async def test_no_change_is_no_transaction(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = count_commits(desk, monkeypatch)
    assert list(await desk.records.write_each([])) == []
    assert begun == []


async def test_a_full_disk_fails_them_all(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals beside it do not hide it, and nothing was written."""
    count_commits(desk, monkeypatch, full_at=1)
    with pytest.raises(DiskFull, match=r"^There is no space left\.$"):
        await desk.records.write_each([change("put", "\0", value={}), *puts(10)])
    assert (await desk.records.list("notes", "", 10, None)).records == []
    assert dots(await desk.records.write_each(puts(1))) == [1]


async def test_a_disk_that_fills_up_on_the_way_says_how_much_is_written(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wrote beside it in the same commit hear the plain error."""
    count_commits(desk, monkeypatch, full_at=2)
    writing = asyncio.create_task(desk.records.write_each(puts(group_commit.GROUP_WRITES + 10)))
    await asyncio.sleep(0)  # now its changes queue up, and the next one stands behind them
    beside = asyncio.create_task(desk.put("beside", {}))
    with pytest.raises(DiskFull, match=r"^2,000 of 2,010 changes are written; .*There is no space left\.$") as failure:
        await writing
    assert (failure.value.code, failure.value.next_step) == ("disk-full", "Free some.")
    with pytest.raises(DiskFull, match=r"^There is no space left\.$"):
        await beside
    assert await desk.value("k1999") == {"n": 1999}


async def test_a_device_that_may_not_write_is_told_once(two: tuple[Device, Device]) -> None:
    """It is not the changes' fault, so it is no result of theirs."""
    desk, laptop = two
    await desk.spaces.remove(desk.space, laptop.id)
    await laptop.space.learn(desk.space.roster.statements)
    with pytest.raises(UserError) as refusal:
        await laptop.records.write_each(puts(3))
    assert (refusal.value.code, refusal.value.status) == ("removed", 403)
