"""Records: what the socket, the log and a link do.

The source of a catch-up was filled with a transaction for each record, a thousand of them in a request: the runs of its
log are full (1,000 entries, or 256 KiB), so a receiver checks one signature for about a thousand transactions. A log
of writers who came one by one has shorter runs and one signature for each.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

from tests.bench import measures
from tests.bench.daemons import pair, running
from tests.bench.floor import commit_loop, percentile, prepare, records, run_floor
from tests.bench.report import Table

IDLE_S = 20.0


def measure_bulk(folder: Path, count: int, runs: int, table: Table) -> None:
    data = records(count)
    json_bytes = prepare(folder / "source.db", data)
    with running(folder, "source") as (source,):
        source.ctl("space", "create", "home")
        filled_s = measures.fill_in_runs(source, data)
        results, floors = [], []
        for number in range(runs):
            floors.append(asyncio.run(run_floor(folder / "source.db", count)))
            results.append(measures.catch_up(folder, source, count, f"fresh{number}"))
    floor_s = median(result.seconds for result in floors)
    floor_bytes = floors[0].wire_bytes
    ratios = [floor.seconds / result.seconds for floor, result in zip(floors, results, strict=True)]
    seconds = median(result.seconds for result in results)
    table.add(
        f"catch-up through the log, {count} records",
        f"{count / seconds:,.0f}/s = {median(ratios):.2f} x floor", f"floor {count / floor_s:,.0f}/s", ">= 0.5 x",
    )  # fmt: skip
    for name, sent, target in (
        ("without", results[0].plain_bytes, "<= 1.0 x"),
        ("with", results[0].sent_bytes, "<= 0.6 x"),
    ):
        table.add(
            f"wire, {name} compression",
            f"{sent / count:.0f} B/record = {sent / floor_bytes:.2f} x floor",
            f"floor {floor_bytes / count:.0f} B/record",
            target,
        )
    table.add(
        "memory of the receiver, peak",
        f"{max(result.peak_rss_mib for result in results):.0f} MiB",
        "",
        "flat, <= 150 MiB",
    )
    share = median(result.database_bytes for result in results) / json_bytes
    table.add(
        "database with log, after catch-up",
        f"{share:.2f} x JSON",
        f"{json_bytes / count:.0f} B/record",
        "<= 2.5 x without log",
    )
    table.add("a transaction for each record, 1,000 in a request", f"{count / filled_s:,.0f}/s", "", "")


def measure_writes(folder: Path, runs: int, table: Table) -> None:
    with running(folder, "alone", "near", "far") as (alone, near, far):
        alone.ctl("space", "create", "home")
        near.ctl("space", "create", "home")
        pair(near, far)
        one, sixteen, thousand, p50, p99 = [], [], [], [], []
        loops, floors = [], []
        prepare(folder / "small.db", small := records(20_000, seed=2))
        for number in range(runs):
            loop = commit_loop()
            loops.append(loop)
            loop_rate = len(loop) / sum(loop)
            singles = measures.one_at_a_time(alone, records(1_000, seed=100 + number))
            one.append(len(singles) / sum(singles) / loop_rate)
            many = records(6_000, seed=200 + number)
            sixteen.append(len(many) / measures.fill(alone, many) / loop_rate)
            floor = asyncio.run(run_floor(folder / "small.db", len(small)))
            floors.append(floor.seconds)
            batch = records(20_000, seed=300 + number)
            thousand.append(floor.seconds / measures.in_transactions(alone, batch))
            delays = measures.latency(near, far, records(300, seed=400 + number))
            p50.append(percentile(delays, 0.5) * 1000 - 4 * percentile(loop, 0.5) * 1000)
            p99.append(percentile(delays, 0.99) * 1000 - percentile(delays, 0.5) * 1000)
        loop_p50 = median(percentile(loop, 0.5) for loop in loops) * 1000
        beside = f"commit loop {1000 / loop_p50:,.0f}/s, p50 {loop_p50:.2f} ms"
        table.add("single writes, one client", f"{median(one):.2f} x commit loop", beside, ">= 0.25 x")
        table.add("16 clients at once", f"{median(sixteen):.2f} x commit loop", beside, ">= 1 x")
        rate = 20_000 / median(floors)
        table.add("transactions of 1,000", f"{median(thousand):.2f} x floor", f"floor {rate:,.0f}/s", ">= 0.3 x")
        table.add("write to the other's watcher, p50 above 4 x loop", f"{median(p50):+.2f} ms", beside, "<= +2 ms")
        table.add("p99 above p50", f"{median(p99):+.2f} ms", "", "<= +10 ms")
        share, rss = measures.idle(near, IDLE_S)
        table.add("idle, connected", f"{share * 100:.2f} % of a core", f"{IDLE_S:.0f} s", "<= 0.1 %")
        table.add("memory after these writes", f"{rss:.0f} MiB", "", "")
    with running(folder / "quiet", "near", "far") as (near, far):
        near.ctl("space", "create", "home")
        pair(near, far)
        share, rss = measures.idle(near, IDLE_S)
        table.add(
            "idle, connected, nothing written",
            f"{share * 100:.2f} % of a core, {rss:.0f} MiB",
            f"{IDLE_S:.0f} s",
            "<= 0.1 %, <= 80 MiB",
        )
