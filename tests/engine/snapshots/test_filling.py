"""Parts of a snapshot on their way to the disk: what is read ahead, written together, and left after a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from peerd.core.snapshots.intake import Authority, Intake, SideWrites, Standing
from peerd.core.snapshots.parts import Part
from peerd.engine.snapshots import filling as snapshot_filling
from peerd.engine.snapshots.filling import AHEAD, Filling
from peerd.errors import DiskFull, RemoteProtocolError
from tests.engine.conftest import Device, Until


class Store:
    """What is durable: numbers of parts, each with the records that stand then. It waits for `go` before it writes."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.waits_from = 0
        self.fails_at = 0
        self.slow = 0  # turns of the loop

    async def take(self, standing: Standing, decide: Callable[..., SideWrites], parts: int) -> Standing:
        if parts > self.waits_from:
            await self.go.wait()
        for _ in range(self.slow):
            await asyncio.sleep(0)
        if self.fails_at and parts >= self.fails_at:
            raise DiskFull("no room")
        standing = standing.after(decide(standing, None))
        self.written.append((parts, standing.progress.records))
        return standing


class Source:
    """Parts, and how many have been asked for."""

    def __init__(self, parts: Sequence[bytes | Exception]) -> None:
        self.pulled = 0
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            self.pulled += 1
            await asyncio.sleep(0)
            if isinstance(part, Exception):
                raise part
            yield part


@pytest.fixture
async def parts(two: tuple[Device, Device]) -> list[bytes]:
    """BEGIN, ORIGINS, ENDS, ten parts of a record each, and END."""
    desk, _ = two
    for number in range(10):
        await desk.put(f"{number:03}", {"text": "x" * 370_000})
    async with aclosing(desk.space.snapshots.serving.begin_outgoing().parts()) as made:
        return [part async for part in made]


@pytest.fixture
def filling(two: tuple[Device, Device]) -> Callable[[Store], Filling]:
    desk, _ = two
    commits = desk.space.commits
    intake = Intake(desk.space.id, Authority(lambda _: True, commits.limit_of, commits.verify))

    def make(store: Any) -> Filling:
        return Filling(store, intake, lambda _: None, lambda _: None)

    return make


Make = Callable[[Any], Filling]


async def test_everything_is_written_in_order(parts: list[bytes], filling: Make) -> None:
    store = Store()
    standing = await filling(store).fill(Standing(), 0, Source(parts).__aiter__())
    assert standing.is_whole
    assert (standing.progress.records, standing.progress.size_bytes) == (10, sum(map(len, parts)))
    assert store.written[-1] == (len(parts), 10)
    assert store.written == sorted(store.written)


async def test_what_came_while_the_disk_was_busy_is_written_together(
    parts: list[bytes], filling: Make, until: Until
) -> None:
    """And no more is asked for than whoever sends it keeps."""
    store, source = Store(), Source(parts)
    store.go.clear()
    store.slow = 20
    task = asyncio.create_task(filling(store).fill(Standing(), 0, source.__aiter__()))
    await until(lambda: source.pulled == AHEAD)
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.pulled == AHEAD
    assert store.written == []
    store.go.set()
    assert (await task).is_whole
    assert len(store.written) < len(parts)
    numbers = [0, *(number for number, _ in store.written)]
    assert max(after - before for before, after in pairwise(numbers)) == 3


async def test_what_comes_while_the_disk_is_busy_is_checked_then(
    parts: list[bytes], filling: Make, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Part] = []
    take = Intake.take

    def taking(self: Intake, standing: Standing, part: Part, *rest: Any) -> SideWrites:
        checked.append(part)
        return take(self, standing, part, *rest)

    monkeypatch.setattr(Intake, "take", taking)
    store = Store()
    store.waits_from = 3  # the records
    store.go.clear()
    task = asyncio.create_task(filling(store).fill(Standing(), 0, Source(parts).__aiter__()))
    await until(lambda: len(checked) == 3 + AHEAD)
    assert len(store.written) == 3
    store.go.set()
    assert (await task).is_whole


async def test_a_cut_leaves_what_was_written_and_goes_on_there(parts: list[bytes], filling: Make) -> None:
    store = Store()
    standing = await filling(store).fill(Standing(), 0, Source(parts[:7]).__aiter__())
    assert not standing.is_whole
    number, records = store.written[-1]
    assert (number, records) == (7, standing.progress.records)
    whole = await filling(store).fill(standing, 7, Source(parts[7:]).__aiter__())
    assert whole.is_whole


async def test_what_is_wrong_is_raised_after_what_came_before_is_written(parts: list[bytes], filling: Make) -> None:
    store = Store()
    wrong = RemoteProtocolError("a part is missing", code="order")
    with pytest.raises(RemoteProtocolError, match="a part is missing"):
        await filling(store).fill(Standing(), 0, Source([*parts[:6], wrong]).__aiter__())
    assert store.written[-1][0] == 6


async def test_a_full_disk_ends_it(parts: list[bytes], filling: Make) -> None:
    store = Store()
    store.fails_at = 7
    with pytest.raises(DiskFull):
        await filling(store).fill(Standing(), 0, Source(parts).__aiter__())
    assert store.written[-1][0] < 7


async def test_who_is_cancelled_leaves_nobody_reading(parts: list[bytes], filling: Make, until: Until) -> None:
    store, source = Store(), Source(parts)
    store.go.clear()
    task = asyncio.create_task(filling(store).fill(Standing(), 0, source.__aiter__()))
    await until(lambda: source.pulled == AHEAD)
    task.cancel()
    store.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [one for one in asyncio.all_tasks() if one.get_name().startswith("snapshot ")]


@pytest.fixture
async def large(two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """BEGIN, ORIGINS and ENDS, two parts that come in many more pieces than may be read ahead, and END."""
    monkeypatch.setattr(snapshot_filling, "AHEAD", 2)
    desk, _ = two
    for key in ("one", "two"):
        await desk.put(key, {"text": "x" * 3_000_000})
    async with aclosing(desk.space.snapshots.serving.begin_outgoing().parts()) as made:
        parts = [part async for part in made]
    assert len(parts) == 3 + 8 + 8 + 1
    return parts


async def test_a_part_of_many_pieces_is_taken_in(large: list[bytes], filling: Make) -> None:
    store = Store()
    standing = await filling(store).fill(Standing(), 0, Source(large).__aiter__())
    assert standing.is_whole
    assert store.written[-1][0] == len(large)


async def test_behind_a_large_part_nothing_is_read_until_it_is_durable(
    large: list[bytes], filling: Make, until: Until
) -> None:
    store, source = Store(), Source(large)
    store.waits_from = 3  # the records
    store.go.clear()
    task = asyncio.create_task(filling(store).fill(Standing(), 0, source.__aiter__()))
    await until(lambda: source.pulled == 3 + 8)
    for _ in range(50):
        await asyncio.sleep(0)
    assert source.pulled == 3 + 8
    store.go.set()
    assert (await task).is_whole


async def test_many_records_are_read_in_slices(
    filling: Make, two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same comes of it."""
    desk, _ = two
    for number in range(10):
        await desk.put(f"{number:03}", {"n": number}, collection=f"c{number % 2}")
    async with aclosing(desk.space.snapshots.serving.begin_outgoing().parts()) as made:
        parts = [part async for part in made]
    found = []
    for rows in (1, 3, 1_000):
        monkeypatch.setattr(snapshot_filling, "SLICE_ROWS", rows)
        found.append(await filling(Store()).fill(Standing(), 0, Source(parts).__aiter__()))
    assert found[0] == found[1] == found[2]
    assert found[0].progress.visible == {"c0": 5, "c1": 5}
