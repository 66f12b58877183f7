"""An application that inserts very many rows in one transaction, and then changes all of them in another."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.support.daemons import Device, House, pair
from tests.system.manners.busy import SPACE, bind
from tests.system.manners.writer import prepare

PATIENCE_S = 3_600.0
ASK_EACH_S = 0.05
STATEMENTS = {
    "insert": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
    "INSERT INTO notes (title, size) SELECT 'note number ' || i, i FROM n",
    "update": "UPDATE notes SET size = size + ?",
}


class Moved(NamedTuple):
    """One transaction, from its commit until the other file shows it."""

    what: str
    rows: int
    seconds: float
    peak_mib: float
    slowest_answer_s: float

    def __str__(self) -> str:
        return (
            f"{self.what} of {self.rows} rows: the other side has them after {self.seconds:.0f} s, "
            f"peak {self.peak_mib:.0f} MiB, slowest answer of a socket {self.slowest_answer_s * 1000:.0f} ms"
        )


class Asking:
    """Asks sockets for their status all the time, as a monitor would."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.slowest_s = 0.0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(device,)) for device in devices]
        for thread in self._threads:
            thread.start()

    def _ask(self, device: Device) -> None:
        while not self._end.wait(ASK_EACH_S):
            before_s = time.monotonic()
            device.call("GET", "status")
            self.slowest_s = max(self.slowest_s, time.monotonic() - before_s)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def peak_mib(device: Device) -> float:
    """The most memory it ever had."""
    status = Path(f"/proc/{device.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def summary(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        count, total = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM notes").fetchone()
        return int(count), int(total)


def has_all_of(path: Path, wanted: tuple[int, int]) -> bool:
    return summary(path) == wanted


def content(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        return connection.execute("SELECT title, size FROM notes ORDER BY 1, 2").fetchall()


def bulk(folder: Path, rows: int, journal: str = "wal") -> Iterator[Moved]:
    """First the inserts, then the updates. Raises if the two files are not equal then."""
    one, two = folder / "one.db", folder / "two.db"
    for path in (one, two):
        prepare(str(path), journal)
    with House(folder / "house") as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        bind(kitchen, one, "app")
        house.agree(SPACE)
        bind(study, two, "app")
        for what, sql in STATEMENTS.items():
            asking = Asking(house.devices)
            try:
                with closing(sqlite3.connect(one, timeout=60)) as connection:
                    connection.execute(sql, (rows,))
                    connection.commit()
                seconds = kitchen.wait(partial(has_all_of, two, summary(one)), f"{what} is there", PATIENCE_S)
            finally:
                asking.end()
            yield Moved(what, rows, seconds, max(map(peak_mib, house.devices)), asking.slowest_s)
        if content(one) != content(two):
            raise AssertionError("the two files differ")
        house.agree(SPACE, patience_s=PATIENCE_S)
