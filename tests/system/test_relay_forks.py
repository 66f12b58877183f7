"""A whole machine that was set back, its marks with it, and meets the others through a relay alone: a folder, or
CloudKit as the emulator has it. What it lost comes back; what it wrote before it looked is a fork, which heals there
without losing a value of either side, also if daemons are killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.relay.cloudkit.cloud import Cloud
from tests.support.daemons import Device, House, wait_for
from tests.system.test_forks import Past
from tests.system.test_relay import are_equal, everything, let_in, sync

PATIENCE_S = 180.0


@pytest.fixture(params=["folder", "cloudkit"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    """Two members that share nothing but the relay, and both have what stands there so far."""
    stick = tmp_path / "stick"
    stick.mkdir()
    with House(tmp_path) as house, Cloud(tmp_path) as cloud:
        folder = f'[relay.folder]\npath = "{stick}"\n'
        more = folder if request.param == "folder" else cloud.account().settings
        kitchen, study = house.start("kitchen", "study", listen=[], mdns=False, more=more)
        kitchen.create("home")
        let_in(kitchen, study)
        for key in ("common", "edited", "gone"):
            kitchen.put("home", "notes", key, {"text": "old", "more": 1})
        wait_for(lambda: are_equal(kitchen, study), "both have the same", [kitchen, study])
        yield kitchen, study


def relay(device: Device) -> Any:
    (view,) = device.call("GET", "relays")["relays"]
    return view


def settled(*devices: Device) -> bool:
    return are_equal(*devices) and not any(device.space("home")["forks"] for device in devices)


def left(device: Device) -> bool:
    sync(device)
    return not relay(device).get("to_send")


def remembered(device: Device) -> Past:
    device.stop()
    past = Past(device)
    device.start()
    return past


def set_back(device: Device, past: Past) -> None:
    device.stop()
    past.come_back()
    device.start()


def test_what_it_lost_comes_back(pair: tuple[Device, Device]) -> None:
    """The other one is away all the time. What comes after it is a new life's."""
    kitchen, study = pair
    study.stop()
    past = remembered(kitchen)
    for number in range(20):
        kitchen.put("home", "notes", f"lost{number}", {"n": number})
    wait_for(lambda: left(kitchen), "it is left there", [kitchen])
    set_back(kitchen, past)

    def is_back() -> bool:
        sync(kitchen)
        return len(kitchen.export("home")["notes"]) == 23

    wait_for(is_back, "what it lost is there again", [kitchen])
    kitchen.put("home", "notes", "after", {"n": 1})
    origins = len(kitchen.space("home")["clock"])
    assert origins == 2
    study.start()
    wait_for(lambda: settled(kitchen, study), "both have the same", [kitchen, study], patience_s=PATIENCE_S)
    assert len(study.export("home")["notes"]) == 24
    assert everything(kitchen) == everything(study)


def fork(kitchen: Device, past: Past) -> None:
    """It was set back, and writes while it sees no relay."""
    more, kitchen.more = kitchen.more, ""
    set_back(kitchen, past)
    kitchen.put("home", "notes", "second", {"text": "of the second life"})
    kitchen.patch("home", "notes", "edited", text="second")
    kitchen.delete("home", "notes", "gone")
    kitchen.stop()
    kitchen.more = more
    kitchen.start()


@pytest.mark.parametrize("taken", [True, False], ids=["taken before", "taken later"])
def test_a_fork_heals_under_kills(pair: tuple[Device, Device], taken: bool) -> None:  # noqa: FBT001 - a parameter
    """The other one took what the first life left before, or comes only when it has been set back."""
    kitchen, study = pair
    past = remembered(kitchen)
    if not taken:
        study.stop()
    kitchen.put("home", "notes", "first", {"text": "of the first life"})
    kitchen.patch("home", "notes", "edited", text="first")
    wait_for(lambda: left(kitchen), "it is left there", [kitchen])
    if taken:
        wait_for(lambda: are_equal(kitchen, study), "both have the same", [kitchen, study])
    fork(kitchen, past)
    if not taken:

        def waits() -> bool:
            sync(kitchen)
            return bool(relay(kitchen).get("code") == "fork")

        wait_for(waits, "it says that nobody has what it left before", [kitchen])
        assert kitchen.space("home")["state"] == "degraded"
        study.start()
    stages = ("fork closed", "snapshot left", "copy set aside", "old copy taken in")
    killed: set[tuple[Device, str]] = set()

    def healed() -> bool:
        for device in (kitchen, study):
            for stage in stages:
                if device.events(stage) and (device, stage) not in killed:
                    killed.add((device, stage))
                    device.kill()
                    device.start()
        return settled(kitchen, study)

    wait_for(healed, "both have the same", [kitchen, study], patience_s=PATIENCE_S)
    assert killed
    assert all(kitchen.events(stage) or study.events(stage) for stage in stages)
    notes = kitchen.export("home")["notes"]
    assert set(notes) == {"common", "edited", "first", "second"}
    assert everything(kitchen) == everything(study)
    for device in (kitchen, study):
        (conflict,) = [one for one in device.conflicts("home") if one["kind"] == "field"]
        assert {value["value"] for value in conflict["values"]} == {"first", "second"}
        device.put("home", "notes", f"later {device.name}", {"by": device.name})
    wait_for(lambda: settled(kitchen, study), "it goes on", [kitchen, study], patience_s=PATIENCE_S)
    assert len(kitchen.export("home")["notes"]) == 6
    assert [relay(device)["findings"] for device in (kitchen, study)] == [[], []]
