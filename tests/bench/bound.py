"""What is measured of bound files. Each gives plain numbers; the table is made elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from peerd.tables import shadow
from peerd.tables.harvest import captured_tables
from peerd.tables.opening import connect
from peerd.tables.reading import read_schema
from tests.bench.application import Application
from tests.bench.daemons import Daemon, running, wait
from tests.bench.requests import Data

PATIENCE_S = 3_600.0
_ROW_PATIENCE_S = 30.0
_STILL_NEWS_NS = 20_000_000  # a clock tick of the file system and some
_LOOK_AFTER_S = 0.1  # in any case: what was written can be read only when it is synced, which a busy disk delays


def bind(daemon: Daemon, path: Path, name: str = "notes") -> None:
    daemon.ctl("tables", "bind", "home", str(path), "--name", name, "--yes", "--json")


class Cost(NamedTuple):
    seconds: float
    cpu_s: float


def trigger_costs(folder: Path, batches: list[Data]) -> tuple[list[Cost], list[Cost]]:
    """Of inserting each batch, without and with the binding. The daemon has ended: its triggers stay."""
    plain, bound = Application(folder / "plain.db"), Application(folder / "bound.db")
    with running(folder, "binder") as (daemon,):
        daemon.ctl("space", "create", "home")
        bind(daemon, bound.path)
        wait(lambda: is_settled(daemon), 20)
    without, with_it = [], []
    for batch in batches:
        without.append(_cost(plain, batch))
        with_it.append(_cost(bound, batch))
    plain.close()
    bound.close()
    return without, with_it


def _cost(application: Application, batch: Data) -> Cost:
    before_s = time.process_time()
    seconds = application.insert(batch)
    return Cost(seconds, time.process_time() - before_s)


def is_settled(daemon: Daemon) -> bool:
    found = daemon.call("GET", "/v1/spaces/home/bindings")["bindings"]
    return bool(found) and all(one["state"] == "in step" for one in found)


def latency(near: Application, far: Application, data: Data) -> list[float]:
    """Seconds from the start of an insert into one file until an application reads it in the other one."""
    durations = []
    for one in data:
        after, changed_ns = far.largest(), 0
        started = looked = time.perf_counter()
        near.insert([one])
        while True:
            before_ns, changed_ns = changed_ns, far.wal_changed_ns()
            is_news = changed_ns != before_ns or time.time_ns() - changed_ns < _STILL_NEWS_NS
            if is_news or time.perf_counter() - looked > _LOOK_AFTER_S:
                looked = time.perf_counter()
                if far.has(one[0], after):
                    break
            if time.perf_counter() - started > _ROW_PATIENCE_S:
                raise TimeoutError("a row did not arrive")
            time.sleep(0.0005)
        durations.append(time.perf_counter() - started)
        time.sleep(0.05)
    return durations


def harvest(daemon: Daemon, application: Application, data: Data) -> float:
    """Seconds from the commit of so many rows in one transaction until all are records."""
    wanted = daemon.space()["records"] + len(data)
    application.insert(data)
    return wait(lambda: daemon.space()["records"] >= wanted, PATIENCE_S, 0.05)


def first_binding(daemon: Daemon, path: Path, count: int) -> float:
    """Seconds from the command until all rows of the file are records."""
    started = time.perf_counter()
    bind(daemon, path)
    wait(lambda: daemon.space()["records"] >= count, PATIENCE_S, 0.05)
    return time.perf_counter() - started


def arrival(daemon: Daemon, application: Application, count: int) -> float:
    """Seconds from the command that binds an empty file until it shows all the records that the daemon has."""
    started = time.perf_counter()
    bind(daemon, application.path)
    wait(lambda: application.count() >= count, PATIENCE_S, 0.1)
    return time.perf_counter() - started


def audit(path: Path, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of counting the rows of a bound file, and of the whole audit: rows and what they are known by."""
    connection = connect(path)
    plan = shadow.plan(connection)
    assert plan is not None
    (captured,) = captured_tables(connection, read_schema(connection), plan).values()
    plain, whole = [], []
    for _ in range(runs):
        started = time.perf_counter()
        rows = captured.rows_count()
        plain.append(time.perf_counter() - started)
        known = captured.shadow_count()
        whole.append(time.perf_counter() - started)
        if rows != known:
            raise RuntimeError(f"{rows} rows, and {known} are known")
    connection.close()
    return plain, whole
