"""Bound tables: what an application pays, how soon others see it, and how fast much of it goes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

from tests.bench import bound, measures
from tests.bench.application import Application
from tests.bench.daemons import pair, running, wait
from tests.bench.floor import commit_loop, percentile, prepare, records, run_floor
from tests.bench.report import Table

IDLE_S = 20.0
TRIGGER_ROWS = 50_000
LATENCY_ROWS = 100  # in each run
IDLE_FILES = 10


def measure_small(folder: Path, runs: int, table: Table) -> None:
    """What single rows cost, and what nothing costs."""
    measure_triggers(folder / "triggers", runs, table)
    measure_latency(folder / "latency", runs, table)
    measure_idle(folder / "idle", table)


def measure_triggers(folder: Path, runs: int, table: Table) -> None:
    folder.mkdir()
    batches = [records(TRIGGER_ROWS, seed=500 + number) for number in range(runs)]
    without, with_it = bound.trigger_costs(folder, batches)
    pairs = list(zip(without, with_it, strict=True))
    plain_us = median(before.seconds for before in without) / TRIGGER_ROWS * 1e6
    more_us = median(after.seconds - before.seconds for before, after in pairs) / TRIGGER_ROWS * 1e6
    cpu_us = median(after.cpu_s - before.cpu_s for before, after in pairs) / TRIGGER_ROWS * 1e6
    table.add(
        f"triggers, {TRIGGER_ROWS} inserts in a transaction",
        f"{more_us:+.2f} us a row, of it {cpu_us:.2f} us CPU",
        f"without {plain_us:.2f} us",
        "<= +6 us",
    )


def measure_latency(folder: Path, runs: int, table: Table) -> None:
    folder.mkdir()
    here, there = Application(folder / "here.db"), Application(folder / "there.db")
    with running(folder, "near", "far") as (near, far):
        near.ctl("space", "create", "home")
        pair(near, far)
        bound.bind(near, here.path)
        wait(lambda: near.space()["digest"] == far.space()["digest"], 20)
        bound.bind(far, there.path)
        bound.latency(here, there, records(20, seed=600))
        delays, loops = [], []
        for number in range(runs):
            loops.append(commit_loop())
            delays += bound.latency(here, there, records(LATENCY_ROWS, seed=601 + number))
    here.close()
    there.close()
    loop_ms = median(percentile(loop, 0.5) for loop in loops) * 1000
    for name, share, target in (("p50", 0.5, "<= 60 ms"), ("p99", 0.99, "<= 250 ms")):
        shown = f"{percentile(delays, share) * 1000:.1f} ms"
        table.add(f"row to the other's file, {name} of {len(delays)}", shown, f"commit p50 {loop_ms:.2f} ms", target)


def measure_idle(folder: Path, table: Table) -> None:
    """Beside two daemons that have no file bound; those are measured just before. Other daemons on the same network
    cost both: each answers their mDNS.
    """
    with running(folder, "near", "far") as (near, far):
        near.ctl("space", "create", "home")
        pair(near, far)
        without, without_mib = measures.idle(near, IDLE_S)
        applications = []
        for number in range(IDLE_FILES):
            application = Application(folder / f"notes{number}.db")
            application.insert(records(100, seed=700 + number))
            bound.bind(near, application.path, f"notes{number}")
            applications.append(application)
        wait(lambda: bound.is_settled(near), 60)
        wait(lambda: near.space()["digest"] == far.space()["digest"], 60)
        windows = [measures.idle(near, IDLE_S) for _ in range(3)]
        for application in applications:
            application.close()
    shares, mib = [share for share, _ in windows], windows[-1][1]
    table.add(
        f"idle, connected, {IDLE_FILES} bound files",
        f"{median(shares) * 100:.3f} % of a core ({min(shares) * 100:.3f} to {max(shares) * 100:.3f}), {mib:.0f} MiB",
        f"without files {without * 100:.3f} %, {without_mib:.0f} MiB",
        "<= 0.1 %",
    )


def measure_bulk(folder: Path, count: int, runs: int, table: Table) -> None:
    """Many rows at once, in a file that is bound already; then in one that is not."""
    ratios, rates, floors = [], [], []
    prepare(folder / "source.db", records(count))
    application = Application(folder / "bulk.db")
    with running(folder, "bulk") as (daemon,):
        daemon.ctl("space", "create", "home")
        bound.bind(daemon, application.path)
        for number in range(runs):
            floor = asyncio.run(run_floor(folder / "source.db", count))
            seconds = bound.harvest(daemon, application, records(count, seed=800 + number))
            ratios.append(floor.seconds / seconds)
            rates.append(count / seconds)
            floors.append(count / floor.seconds)
        peak = daemon.rss_mib(peak=True)
    application.close()
    table.add(
        f"harvest of {count} rows",
        f"{median(rates):,.0f}/s = {median(ratios):.2f} x floor, peak {peak:.0f} MiB",
        f"floor {median(floors):,.0f}/s",
        ">= 0.25 x",
    )
    measure_binding(folder / "binding", count, table)


def measure_binding(folder: Path, count: int, table: Table) -> None:
    """A file that was there before peerd, and an empty one elsewhere; then the count audit over as many rows."""
    folder.mkdir(exist_ok=True)
    prepare(folder / "source.db", data := records(count))
    full, empty = Application(folder / "full.db"), Application(folder / "empty.db")
    full.insert(data)
    with running(folder, "near", "far") as (near, far):
        near.ctl("space", "create", "home")
        pair(near, far)
        floor_s = asyncio.run(run_floor(folder / "source.db", count)).seconds
        binding_s = bound.first_binding(near, full.path, count)
        wait(lambda: near.space()["digest"] == far.space()["digest"], bound.PATIENCE_S, 0.2)
        wait(lambda: bound.is_settled(near), bound.PATIENCE_S, 0.2)
        arrival_s = bound.arrival(far, empty, count)
        peaks = [daemon.rss_mib(peak=True) for daemon in (near, far)]
    full.close()
    empty.close()
    for what, seconds, peak in (
        (f"first binding of {count} rows", binding_s, peaks[0]),
        ("their arrival in an empty bound file", arrival_s, peaks[1]),
    ):
        measured = f"{count / seconds:,.0f}/s = {floor_s / seconds:.2f} x floor, peak {peak:.0f} MiB"
        table.add(what, measured, f"floor {count / floor_s:,.0f}/s", "")
    plain, whole = bound.audit(full.path, 5)
    per_million = 1e6 / count * 1000
    table.add(
        f"count audit, {count} rows, per 1e6 rows",
        f"{median(whole) * per_million:.1f} ms",
        f"a plain count of the rows {median(plain) * per_million:.1f} ms",
        "",
    )
