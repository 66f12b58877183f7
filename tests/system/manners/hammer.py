"""Two applications that write with hardly a rest to two files that peerd keeps alike, for as long as is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.daemons import Device, House, pair
from tests.system.manners.program import KEYS, damage, prepare, shown

ROOT = Path(__file__).parents[3]
SPACE = "home"
UNAVOIDABLE = {  # by journal mode: what a transaction is refused that reads before it writes, whatever its timeout
    "wal": {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT"},
    "delete": {"SQLITE_BUSY"},
}


class Hammered(NamedTuple):
    """`wrong` is empty if all went well."""

    journal: str
    made: int
    refused: dict[str, int]
    longest_ms: float
    rows: int
    wrong: list[str]

    def __str__(self) -> str:
        return (
            f"{self.journal:7} {self.made} transactions, refused {self.refused or 'none'}, longest "
            f"{self.longest_ms:.0f} ms, {self.rows} rows on both sides: {'; '.join(self.wrong) or 'all well'}"
        )


def hammer(folder: Path, seconds: float, journal: str) -> Hammered:
    """Raises NeverCame if the two files do not show the same in the end."""
    paths = [folder / f"{journal}-{name}.db" for name in ("one", "two")]
    for path in paths:
        prepare(path, journal)
    with House(folder / journal) as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        for device, path in zip(house.devices, paths, strict=True):
            keys = [word for key in KEYS for word in ("--key", key)]
            assert device.ctl("tables", "bind", SPACE, str(path), "--name", "app", *keys, "--yes")["bound"]
            house.agree(SPACE)
        told = write(paths, seconds)
        kitchen.wait(lambda: are_alike(house.devices, paths), f"{journal}: both files show the same", 300.0)
        house.agree(SPACE)
        degraded = [str(device.space(SPACE)["reason"]) for device in house.devices if is_degraded(device)]
    refused: dict[str, int] = {}
    for one in told:
        for name, count in one["refused"].items():
            refused[name] = refused.get(name, 0) + count
    wrong = degraded + [found for path in paths for found in damage(path)]
    wrong += [f"refused with {name}" for name in refused if name not in UNAVOIDABLE[journal]]
    rows = sum(map(len, shown(paths[0])))
    made, longest_ms = sum(one["made"] for one in told), max(one["longest_ms"] for one in told)
    return Hammered(journal, made, refused, longest_ms, rows, wrong)


def write(paths: Sequence[Path], seconds: float) -> list[Any]:
    command = [sys.executable, "-m", "tests.system.manners.program"]
    programs = [
        subprocess.Popen([*command, str(path), str(seed), str(seconds)], stdout=subprocess.PIPE, cwd=ROOT)
        for seed, path in enumerate(paths)
    ]
    return [json.loads(program.communicate()[0]) for program in programs]


def is_degraded(device: Device) -> bool:
    return bool(device.space(SPACE)["state"] == "degraded")


def are_alike(devices: Sequence[Device], paths: Sequence[Path]) -> bool:
    views = [one for device in devices for one in device.call("GET", "spaces", SPACE, "bindings")["bindings"]]
    one, two = map(shown, paths)
    return one == two and all(view["state"] == "in step" for view in views)
