"""Daemons whose wall clocks are wrong: they meet, sync, say whose it is, and need nothing when it is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair

YEAR_S = 365.25 * 24 * 3600
# Shifts the clocks of this process that tell the time of day, as the number in a file says at every moment.
CLOCK = """
import time, pathlib
shift, real_ns = pathlib.Path({file!r}), time.time_ns
def shifted_ns():
    return max(0, real_ns() + int(float(shift.read_text()) * 1e9))
time.time_ns, time.time = shifted_ns, lambda: shifted_ns() / 1e9
import peerd.clock
peerd.clock.kernel_is_synchronised = lambda: False
import peerd.engine.links.clocks as clocks
clocks.TICK_S = clocks.ASK_S = 1.0
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def set_clock(device: Device, shift_s: float) -> None:
    file = device.folder / "shift"
    fresh = file.with_suffix(".new")
    fresh.write_text(str(shift_s))
    fresh.replace(file)


def built(house: House, *names: str) -> list[Device]:
    """Devices with clocks that can be set, not started."""
    devices = []
    for name in names:
        device = house.device(name)
        device.meddle = CLOCK.format(file=str(device.folder / "shift"))
        set_clock(device, 0)
        devices.append(device)
    return devices


def reason(device: Device, other: Device) -> str:
    return str(device.peer("home", other).get("reason", ""))


def own(device: Device) -> dict[str, Any]:
    found: dict[str, Any] = device.call("GET", "status")["device"]
    return found


@pytest.mark.parametrize(("shift_s", "way"), [(10 * YEAR_S, "ahead"), (-10 * YEAR_S, "behind"), (None, "behind")])
def test_a_wrong_clock_harms_nothing_and_is_named(house: House, shift_s: float | None, way: str) -> None:
    """Ten years ahead, behind, and at the epoch, from before the first start to after it was put right."""
    kitchen, study, attic = built(house, "kitchen", "study", "attic")
    set_clock(attic, -time.time() if shift_s is None else shift_s)
    for device in (kitchen, study, attic):
        device.start()
    kitchen.create("home")
    pair(kitchen, study, "home")
    pair(kitchen, attic, "home", by_address=False)  # found by mDNS
    attic.put("home", "notes", "a", {"x": 1})
    kitchen.wait(lambda: kitchen.get("home", "notes", "a"), "it is here")
    kitchen.patch("home", "notes", "a", x=2)
    attic.wait(lambda: attic.get("home", "notes", "a") == {"x": 2}, "the later write wins")
    attic.patch("home", "notes", "a", x=3)
    house.agree("home")
    assert study.get("home", "notes", "a") == {"x": 3}
    assert not study.conflicts("home")

    years = "years " + way
    kitchen.wait(lambda: reason(kitchen, attic).startswith("its clock is "), "it is named")
    assert years in reason(kitchen, attic)
    assert kitchen.space("home")["state"] == "in sync"
    attic.wait(lambda: years in own(attic)["reason"], "it knows that it is its own")
    assert reason(attic, kitchen) == reason(kitchen, study) == ""
    assert abs(own(attic)["clock_off_ms"]) > 5 * YEAR_S * 1000
    doctor = {one["check"]: one for one in attic.ctl("doctor")["findings"]}
    assert doctor["clocks"]["state"] == "problem"

    set_clock(attic, 0)
    kitchen.wait(lambda: reason(kitchen, attic) == "", "it is right")
    attic.wait(lambda: own(attic)["reason"] == "", "it knows that too")
    attic.put("home", "notes", "b", {"x": 1})
    kitchen.wait(lambda: kitchen.get("home", "notes", "b"), "it goes on")
    kitchen.patch("home", "notes", "b", x=2)
    house.agree("home")
    attic.stop()
    attic.start()
    attic.put("home", "notes", "c", {})
    house.agree("home")


def test_a_clock_that_jumps_to_and_fro(house: House) -> None:
    kitchen, study = built(house, "kitchen", "study")
    kitchen.start()
    study.start()
    kitchen.create("home")
    pair(kitchen, study, "home")
    over = threading.Event()

    def jump() -> None:
        shifts = [20 * YEAR_S, -20 * YEAR_S, -time.time(), 3600.0]
        while not over.wait(0.2):
            shifts.append(shifts.pop(0))
            set_clock(study, shifts[0])

    jumping = threading.Thread(target=jump)
    jumping.start()
    try:
        for number in range(60):
            writer = (kitchen, study)[number % 2]
            writer.put("home", "notes", f"{number:02}", {"n": number})
            writer.put("home", "notes", "both", {"n": number})
            if number == 30:
                study.stop()
                study.start()
    finally:
        over.set()
        jumping.join()
    set_clock(study, 0)
    house.agree("home")
    export = kitchen.export("home")
    assert len(export["notes"]) == 61
    kitchen.wait(lambda: reason(kitchen, study) == "", "it is right")
    study.put("home", "notes", "both", {"n": 1000})
    house.agree("home")
    assert kitchen.get("home", "notes", "both") == {"n": 1000}
