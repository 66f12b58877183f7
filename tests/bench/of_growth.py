"""What keeping a database small costs those who write meanwhile: the log is trimmed, history forgotten, room given
back.

The engine over a real file, and a clock whose days pass at a word. One client writes one record after the other, first
alone and then while housekeeping works; the longest of its writes tells what housekeeping held up. Two kinds of data:
many small transactions, and few large ones, whose values fill many pages each.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from peerd.core.trimming import ACTIVE_MS
from peerd.protocol.control.messages import ChangeRequest
from tests.bench.floor import percentile
from tests.bench.report import Table
from tests.engine.conftest import Device, RunningHands, Wire

ALONE_S = 2.0


class Kept(NamedTuple):
    """Seconds of single writes, alone and meanwhile; what went, and how long that took."""

    alone: list[float]
    meanwhile: list[float]
    took_s: float
    runs: int
    given_back_bytes: int


def measure(folder: Path, count: int, runs: int, table: Table) -> None:
    small = [asyncio.run(_keep_small(folder / f"small {run}", count, 200)) for run in range(runs)]
    large = [asyncio.run(_keep_small(folder / f"large {run}", max(8, count // 5_000), 4 << 20)) for run in range(runs)]
    for kind, kept in (("small transactions", small), ("transactions of 4 MiB", large)):
        table.add(
            f"housekeeping, {kind}: trimmed and given back",
            f"{statistics.median(one.runs / one.took_s for one in kept):,.0f} runs/s, "
            f"{statistics.median(one.given_back_bytes / one.took_s for one in kept) / 2**20:.1f} MiB/s",
            "",
            "",
        )
        table.add(
            f"longest write meanwhile, {kind}",
            f"{_ms(max(max(one.meanwhile) for one in kept))} "
            f"(p99 {_ms(statistics.median(percentile(one.meanwhile, 0.99) for one in kept))})",
            f"alone {_ms(max(max(one.alone) for one in kept))} "
            f"(p99 {_ms(statistics.median(percentile(one.alone, 0.99) for one in kept))})",
            "≤ 50 ms more",
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


async def _keep_small(folder: Path, count: int, size_bytes: int) -> Kept:
    await asyncio.to_thread(folder.mkdir)
    device = Device("desk", folder, Wire(), RunningHands(), threaded=True)
    await device.spaces.found("home")
    try:
        await _fill(device, count, size_bytes)
        alone = await _write_for(device, asyncio.create_task(asyncio.sleep(ALONE_S)))
        before = await device.space.store.upkeep.sizes()
        runs = device.space.commits.last_position
        started = time.perf_counter()
        tidying = asyncio.create_task(device.housekeeping.tidy(ACTIVE_MS))
        meanwhile = await _write_for(device, tidying)
        took_s = time.perf_counter() - started
        await device.space.store.close()
        left_bytes = await device.space.store.size_bytes()
        return Kept(alone, meanwhile, took_s, runs, before.database_bytes - left_bytes)
    finally:
        await device.close()


async def _fill(device: Device, count: int, size_bytes: int) -> None:
    """Every record is written twice, so that half of what is there is history, and each in a transaction of its own."""
    for text in ("x" * size_bytes, "y" * size_bytes):
        for start in range(0, count, 16):
            await asyncio.gather(
                *(
                    device.records.write(
                        [ChangeRequest(kind="put", collection="notes", key=str(number), value={"text": text})]
                    )
                    for number in range(start, min(count, start + 16))
                )
            )


async def _write_for(device: Device, work: asyncio.Task[None]) -> list[float]:
    durations: list[float] = []
    while not work.done():
        started = time.perf_counter()
        await device.put("one", {"n": len(durations)}, "others")
        durations.append(time.perf_counter() - started)
    await work
    return durations
