"""How often an application without a busy timeout is refused, alone and while peerd keeps its file alike with another.

Three times for each journal mode and rate: with no peerd; with its file bound, while it is the only one that writes;
and with both sides writing. A second kind of program opens the file anew for each write.
A third reads before it writes in one transaction, with a busy timeout of three
seconds: in WAL mode SQLite refuses that at once if anybody wrote in between.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.daemons import Device, House, pair
from tests.system.manners.writer import prepare

ROOT = Path(__file__).parents[3]
SPACE = "home"
JOURNALS = ("wal", "delete")
RATES = (1.0, 10.0, 100.0)
OTHERS_RATE = 10.0
READS_FIRST_TIMEOUT_S = 3.0


class Found(NamedTuple):
    """Of one run: of one writer, or of two together."""

    journal: str
    kind: str
    rate: float
    peerd: str
    tried: int
    refused: dict[str, int]
    longest_ms: float

    def __str__(self) -> str:
        count = sum(self.refused.values())
        share = 100 * count / max(1, self.tried)
        names = ", ".join(f"{name} {number}" for name, number in sorted(self.refused.items()))
        return (
            f"{self.journal:7} {self.kind:9} {self.rate:5.0f}/s  {self.peerd:17} {count:5} of {self.tried:5} refused "
            f"({share:5.2f} %)  longest {self.longest_ms:6.1f} ms  {names}"
        )


def write(paths: Sequence[Path], rate: float, seconds: float, kind: str = "write", timeout_s: float = 0.0) -> list[Any]:
    """A writer for each file, together; what each tells."""
    command = [sys.executable, "-m", "tests.system.manners.writer"]
    rest = [str(rate), str(seconds), kind, str(timeout_s)]
    writers = [subprocess.Popen([*command, str(path), *rest], stdout=subprocess.PIPE, cwd=ROOT) for path in paths]
    told = [writer.communicate()[0] for writer in writers]
    return [json.loads(one) for one in told]


def found(journal: str, kind: str, rate: float, peerd: str, told: list[Any]) -> Found:
    refused: dict[str, int] = {}
    for one in told:
        for name, count in one["refused"].items():
            refused[name] = refused.get(name, 0) + count
    tried, longest_ms = sum(one["tried"] for one in told), max(one["longest_ms"] for one in told)
    return Found(journal, kind, rate, peerd, tried, refused, longest_ms)


def bind(device: Device, path: Path, name: str) -> None:
    arguments = (SPACE, str(path), "--name", name, "--key", "notes=surrogate", "--yes")
    assert device.ctl("tables", "bind", *arguments)["bound"]


def content(path: Path) -> list[tuple[Any, ...]]:
    """What a person sees: no integers that an application gave."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        return connection.execute("SELECT title, size FROM notes ORDER BY 1, 2").fetchall()


def in_step(devices: Sequence[Device]) -> bool:
    views = [one for device in devices for one in device.call("GET", "spaces", SPACE, "bindings")["bindings"]]
    return all(view["state"] == "in step" for view in views)


def are_alike(devices: Sequence[Device], one: Path, two: Path) -> bool:
    """Asked of peerd first: looking into the files is an event for it, after which it looks too."""
    return in_step(devices) and content(one) == content(two)


def measure(
    folder: Path, seconds: float, journals: Sequence[str] = JOURNALS, rates: Sequence[float] = RATES
) -> Iterator[Found]:
    """All there is to measure, one after the other."""
    with House(folder / "house") as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        for journal in journals:
            alone, one, two = (folder / f"{journal}-{name}.db" for name in ("alone", "one", "two"))
            for path in (alone, one, two):
                prepare(str(path), journal)
            bind(kitchen, one, journal)
            house.agree(SPACE)
            bind(study, two, journal)
            kinds = [("write", rate, 0.0) for rate in rates]
            kinds += [("start", OTHERS_RATE, 0.0), ("deferred", OTHERS_RATE, READS_FIRST_TIMEOUT_S)]
            for kind, rate, timeout_s in kinds:
                for peerd, paths in (("none", [alone]), ("one side writes", [one]), ("both sides write", [one, two])):
                    kitchen.wait(partial(in_step, house.devices), "all is quiet", 600.0)
                    yield found(journal, kind, rate, peerd, write(paths, rate, seconds, kind, timeout_s))
            kitchen.wait(partial(are_alike, house.devices, one, two), "both show the same", 600.0)
            house.agree(SPACE)
