"""What is measured of real daemons. Each gives plain numbers; the table is made elsewhere."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.daemons import Daemon, pair, wait
from tests.bench.requests import Asker, Data, all_at_once, encoded, many, put


class CatchUp(NamedTuple):
    seconds: float
    plain_bytes: float
    sent_bytes: float
    peak_rss_mib: float
    database_bytes: int


def metric(daemon: Daemon, name: str) -> float:
    asker = Asker(daemon.socket)
    lines = asker.ask(encoded("GET", "/metrics")).decode().splitlines()
    asker.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and line[len(name)] in " {")


def fill(daemon: Daemon, data: Data, clients: int = 16) -> float:
    """Every record in a transaction of its own, by several clients at once; seconds."""
    return all_at_once(daemon.socket, [put(key, value) for key, value in data], clients)


def fill_in_runs(daemon: Daemon, data: Data, size: int = 1_000) -> float:
    """Every record in a transaction of its own, `size` of them in a request; seconds. The log then has full runs."""
    asker = Asker(daemon.socket)
    requests = [many("writes", data[start : start + size]) for start in range(0, len(data), size)]
    started = time.perf_counter()
    for request in requests:
        refused = [one["error"] for one in json.loads(asker.ask(request))["results"] if "error" in one]
        if refused:
            raise RuntimeError(refused[0])
    seconds = time.perf_counter() - started
    asker.close()
    return seconds


def catch_up(folder: Path, source: Daemon, count: int, name: str) -> CatchUp:
    """A fresh daemon joins `source` and receives everything through the log."""
    fresh = Daemon(folder, name, log_only=True)
    try:
        before = metric(source, "peerd_link_bulk_bytes"), metric(source, "peerd_link_bulk_sent_bytes")
        pair(source, fresh)
        started = time.perf_counter()
        first = fresh.space()["records"]
        wait(lambda: fresh.space()["records"] >= count, 900, 0.05)
        seconds = (time.perf_counter() - started) * count / max(1, count - first)
        plain, sent = metric(source, "peerd_link_bulk_bytes"), metric(source, "peerd_link_bulk_sent_bytes")
        peak = fresh.rss_mib(peak=True)
    finally:
        fresh.stop()
    return CatchUp(seconds, plain - before[0], sent - before[1], peak, fresh.database_bytes())


def one_at_a_time(daemon: Daemon, data: Data) -> list[float]:
    """Seconds of each write of one client."""
    asker = Asker(daemon.socket)
    durations = []
    for request in [put(key, value) for key, value in data]:
        started = time.perf_counter()
        asker.ask(request)
        durations.append(time.perf_counter() - started)
    asker.close()
    return durations


def in_transactions(daemon: Daemon, data: Data, size: int = 1_000) -> float:
    asker = Asker(daemon.socket)
    requests = [many("transactions", data[start : start + size]) for start in range(0, len(data), size)]
    started = time.perf_counter()
    for request in requests:
        asker.ask(request)
    seconds = time.perf_counter() - started
    asker.close()
    return seconds


def latency(near: Daemon, far: Daemon, data: Data) -> list[float]:
    """Seconds from the start of a write on one device to its event on the other, on an otherwise idle link."""
    watcher = Asker(far.socket)
    watcher.socket.sendall(encoded("GET", "/v1/spaces/home/changes?since=now&follow=1"))
    stream = watcher.socket.makefile("rb")
    while b'"current"' not in stream.readline():
        pass
    asker = Asker(near.socket)
    durations = []
    for key, value in data:
        request, sought = put(key, value), key.encode()
        started = time.perf_counter()
        asker.ask(request)
        while sought not in stream.readline():
            pass
        durations.append(time.perf_counter() - started)
        time.sleep(0.005)
    asker.close()
    stream.close()
    watcher.close()
    return durations


def idle(daemon: Daemon, seconds: float) -> tuple[float, float]:
    """(share of a core, RSS in MiB) of a connected daemon with nothing to do."""
    time.sleep(2)
    before = daemon.exact_cpu_s()
    time.sleep(seconds)
    return (daemon.exact_cpu_s() - before) / seconds, daemon.rss_mib()
