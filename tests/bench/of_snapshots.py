"""How a new device begins, and how one comes back that missed much: by snapshot, beside the floor."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import measures
from tests.bench.daemons import Daemon, pair, running, wait
from tests.bench.floor import prepare, records, run_floor
from tests.bench.report import Table
from tests.bench.requests import Asker, encoded, put

PATIENCE_S = 900.0
LOOK_S = 0.1
CLOSE_LOOK_S = 0.01  # while the time is taken that is to be compared


class FirstSync(NamedTuple):
    """Of a new device; both CPU times are those from its joining to the end. `own_s` and `told_s`: from its joining
    until a write of its own was acknowledged, and was on the other device.
    """

    seconds: float
    near_cpu_s: float
    far_cpu_s: float
    plain_bytes: float
    sent_bytes: float
    peak_rss_mib: float
    database_bytes: int
    own_s: float
    told_s: float


def measure(folder: Path, count: int, runs: int, table: Table) -> None:
    data = records(count)
    json_bytes = prepare(folder / "floor.db", data)
    with running(folder, "near") as (near,):
        near.ctl("space", "create", "home")
        measures.in_transactions(near, data)
        floors, results = [], []
        for number in range(runs):
            floors.append(asyncio.run(run_floor(folder / "floor.db", count)))
            results.append(first_sync(folder, near, data[-1][0], f"new{number}"))
    floor_s = median(one.seconds for one in floors)
    seconds = median(one.seconds for one in results)
    ratio = median(floor.seconds / one.seconds for floor, one in zip(floors, results, strict=True))
    table.add(
        f"first sync by snapshot, {count} records",
        f"{count / seconds:,.0f}/s = {ratio:.2f} x floor", f"floor {count / floor_s:,.0f}/s", ">= 2 x",
    )  # fmt: skip
    for side in ("near", "far"):
        ours = median(getattr(one, f"{side}_cpu_s") for one in results) / count * 1e6
        floor = median(getattr(one, f"{side}_cpu_s") for one in floors) / count * 1e6
        called = "sender" if side == "near" else "receiver"
        table.add(f"CPU of the {called}", f"{ours:.1f} us/record", f"floor {floor:.1f} us/record", "")
    for name, sent, target in (("without", "plain_bytes", "<= 1.0 x"), ("with", "sent_bytes", "<= 0.6 x")):
        size, beside = median(getattr(one, sent) for one in results), floors[0].wire_bytes
        table.add(
            f"snapshot on the wire, {name} compression",
            f"{size / count:.0f} B/record = {size / beside:.2f} x floor",
            f"floor {beside / count:.0f} B/record",
            target,
        )  # fmt: skip
    peak = max(one.peak_rss_mib for one in results)
    table.add("memory of the new device, peak", f"{peak:.0f} MiB", "", "flat, <= 150 MiB")
    size = median(one.database_bytes for one in results)
    table.add(
        "its database: no log, no history",
        f"{size / json_bytes:.2f} x JSON = {size / count:.0f} B/record",
        f"{json_bytes / count:.0f} B/record",
        "<= 2.5 x",
    )  # fmt: skip
    own, told = (median(getattr(one, name) for one in results) * 1000 for name in ("own_s", "told_s"))
    table.add("joined until its own write is durable", f"{own:.0f} ms", f"is on the other after {told:.0f} ms", "")


def first_sync(folder: Path, near: Daemon, one: str, name: str) -> FirstSync:
    """A fresh daemon joins, writes at once, and has everything in the end: all at the same moment, so also `one`."""
    fresh = Daemon(folder, name)
    try:
        plain, sent = (measures.metric(near, f"peerd_link_{kind}") for kind in ("bulk_bytes", "bulk_sent_bytes"))
        pair(near, fresh)
        near_cpu_s, far_cpu_s = near.exact_cpu_s(), fresh.exact_cpu_s()
        started = time.perf_counter()
        asker = Asker(fresh.socket)
        asker.ask(put(f"own-{name}", {"by": name}))
        own_s = time.perf_counter() - started
        wait(lambda: has(near, f"own-{name}"), 60, 0.002)
        told_s = time.perf_counter() - started
        wait(lambda: is_there(asker, one), PATIENCE_S, CLOSE_LOOK_S)
        seconds = time.perf_counter() - started
        near_cpu_s, far_cpu_s = near.exact_cpu_s() - near_cpu_s, fresh.exact_cpu_s() - far_cpu_s
        if fresh.space()["taken"] is None:
            raise RuntimeError("it did not begin with a snapshot")
        plain = measures.metric(near, "peerd_link_bulk_bytes") - plain
        sent = measures.metric(near, "peerd_link_bulk_sent_bytes") - sent
        wait(lambda: fresh.space()["state"] == "in sync", 60, LOOK_S)
        peak, size = fresh.rss_mib(peak=True), fresh.database_bytes()
        asker.close()
    finally:
        fresh.stop()
    return FirstSync(seconds, near_cpu_s, far_cpu_s, plain, sent, peak, size, own_s, told_s)


def has(daemon: Daemon, key: str) -> bool:
    asker = Asker(daemon.socket)
    try:
        return is_there(asker, key)
    finally:
        asker.close()


def is_there(asker: Asker, key: str) -> bool:
    try:
        asker.ask(encoded("GET", f"/v1/spaces/home/records/bench/{key}"))
    except RuntimeError:
        return False
    return True


def measure_return(folder: Path, count: int, table: Table) -> None:
    """A device that has every record comes back after as many changes, each a transaction of its own."""
    data = records(count)
    with running(folder, "near", "far") as (near, far):
        near.ctl("space", "create", "home")
        pair(near, far)
        measures.in_transactions(near, data)
        in_step(near, far)
        far.ctl("pause")
        measures.fill_in_runs(near, [(key, {**value, "rank": -1}) for key, value in data])
        cpu_s = far.exact_cpu_s()
        far.ctl("resume")
        started = time.perf_counter()
        in_step(near, far)
        seconds, cpu_s = time.perf_counter() - started, far.exact_cpu_s() - cpu_s
        how = "a snapshot" if far.space()["taken"] else "the log"
        table.add(
            f"return after {count} changes of {count} records",
            f"{count / seconds:,.0f} changes/s by {how}", f"CPU {cpu_s / count * 1e6:.1f} us/change there", "",
        )  # fmt: skip


def in_step(near: Daemon, far: Daemon) -> None:
    wait(lambda: near.space()["digest"] == far.space()["digest"], PATIENCE_S, LOOK_S)
