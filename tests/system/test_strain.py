"""A machine that gives a daemon too little: said while it lasts, with what to do, and not a moment longer than that."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peerd.control.client import path
from peerd.strain import TICK_S
from tests.support.daemons import Device, House

QUICK = """
from peerd.core.slowness import Slowness
import peerd.strain
Slowness.__init__.__kwdefaults__.update(fresh_s=4.0)
peerd.strain.LONG_STALL_S = 2.5
"""
BLOCKED_S = 6.0
BLOCKS = f"import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep({BLOCKED_S}))"
SLOW_DISK = """
import os, sqlite3, time
real = sqlite3.connect
class Slow(sqlite3.Connection):
    def execute(self, sql, *more):
        if sql == "COMMIT" and os.path.exists({flag!r}):
            time.sleep(1.1)
        return super().execute(sql, *more)
sqlite3.connect = lambda *some, **more: real(*some, **{{**more, "factory": Slow}})
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def started(house: House, meddle: str = "") -> Device:
    kitchen = house.device("kitchen", mdns=False, meddle=QUICK + meddle)
    kitchen.start()
    kitchen.create("home")
    assert device_of(kitchen)["state"] == "running"
    return kitchen


def device_of(kitchen: Device) -> dict[str, Any]:
    return dict(kitchen.call("GET", "status")["device"])


def is_told(device: dict[str, Any], words: str) -> bool:
    return device["state"] == "degraded" and words in device["reason"] and bool(device["next_step"])


def logged(kitchen: Device, code: str) -> list[str]:
    lines = [json.loads(line) for line in kitchen.log.read_text().splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line.get("code") == code and line["event"].startswith("machine ")]


def over(kitchen: Device, code: str) -> None:
    kitchen.wait(lambda: device_of(kitchen)["state"] == "running", "it is over by itself")
    kitchen.wait(
        lambda: logged(kitchen, code) == ["machine falls short", "machine does its part again"], "each was logged once"
    )


def test_file_descriptors(house: House) -> None:
    """Told to whoever asks while there are a few left, and to whoever is connected when there are none."""
    kitchen = started(house)
    hard = resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE)[1]
    with kitchen.client() as client:
        client.call("GET", path("status"))
        open_now = len(list(Path(f"/proc/{kitchen.pid}/fd").iterdir()))
        resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE, (open_now + 5, hard))
        assert is_told(device_of(kitchen), f"of {open_now + 5:,} file descriptors are left")
        found = kitchen.run("doctor")
        assert "file descriptors are left" in found.stdout
        kitchen.wait(lambda: logged(kitchen, "too-many-files"), "it was logged")
        none_left = open_now - 3  # it may have had something open for a moment when we counted
        resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE, (none_left, hard))
        told = client.call("GET", path("status")).body["device"]
        assert is_told(told, f"no file descriptors are left (limit {none_left:,})")
        resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE, (hard, hard))
    over(kitchen, "too-many-files")


def test_a_loop_that_is_blocked(house: House) -> None:
    kitchen = started(house, BLOCKS)
    os.kill(kitchen.pid, signal.SIGUSR1)
    kitchen.wait(lambda: is_told(device_of(kitchen), "the machine is too busy: peerd's loop stood still for"), "told")
    assert "1 time in the last hour" in device_of(kitchen)["reason"]
    over(kitchen, "machine-busy")
    machine = kitchen.call("GET", "status")["machine"]
    assert (machine["stalls"], machine["longest_stall_s"] >= BLOCKED_S / 2) == (1, True)


def test_a_daemon_that_was_stopped_was_not_busy(house: House) -> None:
    kitchen = started(house)
    os.kill(kitchen.pid, signal.SIGSTOP)
    time.sleep(BLOCKED_S)  # what is tested is that so much time passes
    os.kill(kitchen.pid, signal.SIGCONT)
    time.sleep(2 * TICK_S)  # it has looked at its clock since
    assert kitchen.call("GET", "status")["machine"]["stalls"] == 0
    assert device_of(kitchen)["state"] == "running"


def test_a_disk_that_is_slow(house: House, tmp_path: Path) -> None:
    flag = tmp_path / "slow"
    kitchen = started(house, SLOW_DISK.format(flag=str(flag)))
    flag.touch()
    for number in range(3):
        assert device_of(kitchen)["state"] == "running", "one or two are a hiccup"
        kitchen.put("home", "notes", f"{number}", {"n": number})
    assert is_told(device_of(kitchen), "the disk takes 1.")
    assert "3 times in the last hour" in device_of(kitchen)["reason"]
    flag.unlink()
    over(kitchen, "disk-slow")
    assert kitchen.call("GET", "status")["machine"]["slowest_write_s"] >= 1.1
