"""Relays that count requests: what changes cost in CloudKit, and what nothing does, as the emulator counts it.

A *look* is a lookup of tags alone, as every device does it once in an interval. Changes are over when both sides have
them and know that of each other.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from peerd.protocol.relay.courier_settings import HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import Apply, Poll, ReadLog
from tests.bench.daemons import Daemon, running, wait
from tests.bench.floor import records
from tests.bench.of_relays import let_in
from tests.bench.report import Table
from tests.bench.requests import Asker, Data, many
from tests.relay.cloudkit.cloud import Cloud
from tests.relay.emulator.server import Seen
from tests.relay_simulation.bench import Bench

CHANGES = 1_000
TRANSACTIONS = 10
PACES_S = {"at once": 0.0, "over 40 s": 4.0}
IDLE_LOOKS = 2  # of each device
MEMBERS = 200
TRICKLE = 240  # writes, one every
TRICKLE_S = 5.0

_PATIENCE_S = 900.0
_QUIET_LOOKS = 2  # of each device, and nothing else: it is over
_SHORTEST_S = 0.8 * CourierSettings().poll_min_s


class Pair(NamedTuple):
    """Two devices that share nothing but the cloud, each with a key of its own."""

    near: Daemon
    far: Daemon
    keys: tuple[str, str]
    cloud: Cloud

    def seen(self) -> list[Seen]:
        """The requests of both."""
        return [one for one in self.cloud.emulator.seen.copy() if one.client in self.keys]

    def await_quiet(self, since: int = 0) -> int:
        """Until both have the same and nothing but looks happens. Gives how many requests there have been by then."""
        wait(lambda: self._looks_at_the_end(since) >= _QUIET_LOOKS and self._equal(), _PATIENCE_S, 0.5)
        return len(self.seen())

    def _looks_at_the_end(self, since: int) -> int:
        """How often both of them looked last without doing anything else."""
        counted = Counter(dict.fromkeys(self.keys, 0))
        for one in reversed(self.seen()[since:]):
            if not is_look(one):
                break
            counted[one.client] += 1
        return min(counted.values())

    def _equal(self) -> bool:
        return bool(self.near.space()["clock"] == self.far.space()["clock"])


class Cost(NamedTuple):
    """Of changes: requests that are no looks, looks until the last of them, all bytes for each byte of the log."""

    requests: int
    looks: int
    share: float


class Idle(NamedTuple):
    """Seconds between the looks of each device, and how many other requests there were."""

    gaps_s: list[float]
    others: int


def is_look(seen: Seen) -> bool:
    return seen.operation == "records/lookup" and json.loads(seen.body)["desiredKeys"] == []


def measure(folder: Path, runs: int, table: Table) -> None:
    """All pairs at the same time, since they wait most of it. Of their figures the worst is shown."""
    paces = [(pace, number) for pace in PACES_S for number in range(runs)]
    with Cloud(folder) as cloud, _pairs(folder, cloud, len(paces)) as pairs, ThreadPoolExecutor(len(paces)) as threads:
        work = [threads.submit(_measure_pair, *one) for one in zip(pairs, paces, strict=True)]
        found = [one.result() for one in work]
    for pace in PACES_S:
        costs = [cost for (of, _), (cost, _) in zip(paces, found, strict=True) if of == pace]
        requests, looks, share = (max(figures) for figures in zip(*costs, strict=True))
        table.add(
            f"{CHANGES:,} changes {pace} through CloudKit, both sides",
            f"{requests} requests, {share:.2f} x the log",
            f"{looks} looks until then",
            "<= 12, <= 1.5 x",
        )
    gaps_s = [gap_s for _, idle in found for gap_s in idle.gaps_s]
    others = sum(idle.others for _, idle in found)
    table.add(
        "idle in CloudKit, two devices",
        f"a look every {min(gaps_s):.0f} to {max(gaps_s):.0f} s, {others} other requests",
        f"{len(pairs)} times two",
        f">= {_SHORTEST_S:.0f} s between, nothing else",
    )
    _measure_trickle(table)
    _measure_many(table)


@contextmanager
def _pairs(folder: Path, cloud: Cloud, count: int) -> Iterator[list[Pair]]:
    with ExitStack() as stack:
        pairs = []
        for number in range(count):
            accounts = cloud.account(), cloud.account()
            near, far = (
                stack.enter_context(running(folder / f"pair{number}", name, relay=account.settings))[0]
                for name, account in zip(("near", "far"), accounts, strict=True)
            )
            pairs.append(Pair(near, far, (accounts[0].key_id, accounts[1].key_id), cloud))
        yield pairs


def _measure_pair(pair: Pair, course: tuple[str, int]) -> tuple[Cost, Idle]:
    pace, seed = course
    pair.near.ctl("space", "create", "home")
    let_in(pair.near, pair.far)
    since = pair.await_quiet()
    held_bytes = log_bytes(pair.near)
    _write(pair.near, records(CHANGES, seed), PACES_S[pace])
    idle_since = pair.await_quiet(since)
    cost = _cost(pair.seen()[since:idle_since], log_bytes(pair.near) - held_bytes)
    return cost, _idle(pair, idle_since)


def _write(daemon: Daemon, data: Data, gap_s: float) -> None:
    size = len(data) // TRANSACTIONS
    with closing(Asker(daemon.socket)) as asker:
        for start in range(0, len(data), size):
            asker.ask(many("transactions", data[start : start + size]))
            time.sleep(gap_s)


def _cost(seen: list[Seen], written_bytes: int) -> Cost:
    while is_look(seen[-1]):
        seen.pop()
    looks = sum(map(is_look, seen))
    return Cost(len(seen) - looks, looks, sum(one.body_bytes for one in seen) / written_bytes)


def log_bytes(daemon: Daemon) -> int:
    """Of all runs that its log holds."""
    (path,) = (daemon.folder / "state" / "spaces").glob("*.db")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT coalesce(sum(size_bytes), 0) FROM run").fetchone()[0])


def _idle(pair: Pair, since: int) -> Idle:
    def times_s(key: str) -> list[float]:
        """Of its requests from the last one before on."""
        seen = pair.seen()
        before = [one.at_s for one in seen[:since] if one.client == key]
        return before[-1:] + [one.at_s for one in seen[since:] if one.client == key]

    wait(lambda: all(len(times_s(key)) > IDLE_LOOKS for key in pair.keys), _PATIENCE_S, 0.5)
    others = sum(not is_look(one) for one in pair.seen()[since:])
    return Idle([after - before for key in pair.keys for before, after in pairwise(times_s(key))], others)


def _measure_trickle(table: Table) -> None:
    """What comes little by little, in virtual time: the requests of its writer and of one reader."""
    bench = Bench(2, snapshots=True)
    writer = bench.devices[0]
    bench.run(HOUR_S)
    for hours, share in (("the first", 1), ("later", 9)):
        since_s, written_s, longest_s = bench.now_s, bench.now_s, 0.0
        for _ in range(TRICKLE * share):
            bench.write(writer, size=200)
            bench.run(TRICKLE_S)
            if bench.head(writer).clock == writer.copy.clock:
                written_s = bench.now_s
            longest_s = max(longest_s, bench.now_s - written_s)
        steps = [step for device in bench.devices for step in bench.requests(device, since_s)]
        looks = sum(isinstance(step, Poll) for step in steps)
        others = sum(not isinstance(step, Poll | ReadLog | Apply) for step in steps)
        table.add(
            f"{TRICKLE} changes in {TRICKLE * TRICKLE_S / 60:.0f} min, {hours}, in virtual time, both sides",
            f"{others / share:.0f} requests, left after {longest_s:.0f} s at most",
            f"{looks / share:.0f} looks",
            "<= 20, <= gather_s",
        )


def _measure_many(table: Table) -> None:
    """As many members as one lookup has room for, all of them there, in virtual time."""
    bench = Bench(MEMBERS)
    for device in bench.devices[:3]:
        bench.write(device)
    bench.run(2 * HOUR_S)
    since_s = bench.now_s
    bench.run(2 * HOUR_S)
    steps = [bench.requests(device, since_s) for device in bench.devices]
    others = sum(not isinstance(step, Poll) for some in steps for step in some)
    most = max(map(len, steps))
    gaps = [
        after - before for device in bench.devices for before, after in pairwise(bench.times(device, Poll, since_s))
    ]
    table.add(
        f"idle, {MEMBERS} devices in virtual time",
        f"a look every {min(gaps):.0f} to {max(gaps):.0f} s, {others} other requests",
        f"at most {most} requests of a device in 2 h",
        f">= {0.8 * bench.settings.poll_max_s:.0f} s between, nothing else",
    )
