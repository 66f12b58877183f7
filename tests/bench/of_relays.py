"""Relays: what a folder between two devices does, beside a plain copy of the same bytes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from tests.bench import measures
from tests.bench.daemons import Daemon, running, wait
from tests.bench.floor import records
from tests.bench.report import Table

PATIENCE_S = 300.0


def measure_folder(folder: Path, count: int, runs: int, table: Table) -> None:
    """The records of one device, a thousand transactions in a request as in `of_records`, through a folder into a copy
    that has nothing: from the moment at which both are told to look until they are there.
    """
    rates, copies = [], []
    for number in range(runs):
        stick = folder / f"stick{number}"
        stick.mkdir()
        relay = f'[relay.folder]\npath = "{stick}"\n'
        data = records(count, seed=number)
        with running(folder / f"run{number}", "source", "fresh", relay=relay) as (source, fresh):
            source.ctl("space", "create", "home")
            let_in(source, fresh)
            measures.fill_in_runs(source, data)
            started = time.perf_counter()
            source.ctl("relay", "sync")
            wait(lambda: _arrived(source, fresh), PATIENCE_S)
            rates.append(count / (time.perf_counter() - started))
        size_bytes, seconds = plain_copy(stick, folder / f"copy{number}")
        copies.append(size_bytes / seconds)
    held = size_bytes / count
    table.add(
        f"folder relay, {count} records",
        f"{median(rates):,.0f}/s, {held:.0f} B/record there",
        f"a copy of these bytes {median(copies) / held:,.0f}/s",
        "",
    )


def _arrived(source: Daemon, fresh: Daemon) -> bool:
    fresh.ctl("relay", "sync")
    return bool(fresh.space()["clock"] == source.space()["clock"])


def let_in(inviter: Daemon, guest: Daemon) -> None:
    made = inviter.call("POST", "/v1/spaces/home/tickets", {})
    guest.call("POST", "/v1/petitions", {"file": made["file"], "code": made["code"]})
    wait(lambda: any(one["own"] for one in guest.call("GET", "/v1/spaces/home/members")["members"]), PATIENCE_S)


def plain_copy(source: Path, target: Path) -> tuple[int, float]:
    """Bytes and seconds of copying a folder's files one by one, each made durable."""
    target.mkdir()
    size_bytes = 0
    started = time.perf_counter()
    for path in source.glob("??/*"):
        data = path.read_bytes()
        with (target / path.name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        size_bytes += len(data)
    return size_bytes, time.perf_counter() - started
