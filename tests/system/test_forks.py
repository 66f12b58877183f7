"""A whole machine that was set back, its marks with it, and wrote before it met the others: two histories of one
device. They are named, and healed without losing a value of either; also if daemons are killed meanwhile. And a copied
machine, which makes none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair, wait_for


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Three members that all know where the others are."""
    with House(tmp_path) as house:
        for name in ("kitchen", "study", "attic"):
            house.device(name, mdns=False)
        for device in house.devices:
            device.peers = [other.address for other in house.devices if other is not device]
            device.start()
        kitchen, study, attic = house.devices
        kitchen.create("home")
        pair(kitchen, study, "home")
        pair(kitchen, attic, "home")
        for key in ("common", "edited", "gone"):
            kitchen.put("home", "notes", key, {"text": "old", "more": 1})
        house.agree("home")
        yield house


class Past:
    """The files of a device that is stopped, to be written back under their old inodes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._files = {path: path.read_bytes() for path in self._found()}

    def _found(self) -> list[Path]:
        state = self._device.state_dir
        return [path for folder in ("spaces", "marks") for path in (state / folder).iterdir() if path.is_file()]

    def come_back(self) -> None:
        for path in self._found():
            if path not in self._files:
                path.unlink()
                continue
            with path.open("r+b") as file:  # not replaced: the inode stays
                file.write(self._files[path])
                file.truncate()


def forked(house: House) -> None:
    """The kitchen wrote and the study has it; the kitchen was set back and wrote again, alone. The attic has
    neither.
    """
    kitchen, study, attic = house.devices
    attic.stop()
    kitchen.stop()
    past = Past(kitchen)
    kitchen.start()
    kitchen.put("home", "notes", "first", {"text": "of the first life"})
    kitchen.patch("home", "notes", "edited", text="first")
    house.agree("home", [kitchen, study])
    kitchen.stop()
    study.put("home", "notes", "by the study", {"on": "the first"})
    study.stop()
    past.come_back()
    kitchen.start()
    kitchen.put("home", "notes", "second", {"text": "of the second life"})
    kitchen.patch("home", "notes", "edited", text="second")
    kitchen.delete("home", "notes", "gone")


def check(house: House) -> None:
    """All devices hold everything that either side wrote, and agree on what is in dispute."""
    notes = house.agree("home")["notes"]
    assert set(notes) == {"common", "edited", "first", "second", "by the study"}
    for device in house.devices:
        fields = [one for one in device.conflicts("home") if one["kind"] == "field"]
        assert [{value["value"] for value in one["values"]} for one in fields] == [{"first", "second"}]
    wait_for(lambda: not any(one.space("home")["forks"] for one in house.devices), "all is healed", house.devices)
    kept = [path for device in house.devices for path in (device.state_dir / "set-aside").glob("*.db")]
    assert kept, "the copy that made way is kept"
    wait_for(lambda: not asides(house), "nothing is left beside the copies", house.devices)


def asides(house: House) -> list[Path]:
    return [path for device in house.devices for path in (device.state_dir / "spaces").glob("*.aside-*")]


def events(house: House, name: str) -> list[dict[str, Any]]:
    return [event for device in house.devices for event in device.events(name)]


def test_named_and_healed(house: House) -> None:
    """By two that hold one side each; a third that had neither comes later, and has all of it."""
    kitchen, study, attic = house.devices
    forked(house)
    study.start()
    wait_for(lambda: events(house, "old copy taken in"), "one took in what only it had", house.devices)
    found = events(house, "fork found")
    assert {one["device"] for one in found} <= {device.id.replace("-", "")[:8] for device in (kitchen, study)}
    assert len({one["origin"] for one in found}) == 1
    assert all("ours is" in one["cause"] and "theirs" in one["cause"] for one in found)
    attic.start()
    check(house)
    for number, device in enumerate(house.devices):
        device.put("home", "notes", f"later {number}", {"by": device.name})
    assert len(house.agree("home")["notes"]) == 8
    for device in house.devices:
        assert device.stop() == 0
        device.start()
    assert len(house.agree("home")["notes"]) == 8


def began(awaited: str, before: dict[Device, int]) -> list[Device]:
    return [device for device, count in before.items() if len(device.events(awaited)) > count]


def happened(house: House, awaited: str, before: dict[Device, int]) -> bool:
    return bool(began(awaited, before) or events(house, "old copy taken in"))


def test_killed_while_it_heals(house: House) -> None:
    """Whoever does the recopy, again and again, wherever it happens to be; slowly, so that there is an anywhere."""
    kitchen, study, attic = house.devices
    for device in house.devices:
        device.meddle = "import peerd.store.asides as one; one.ROWS_AT_ONCE = 1"
    forked(house)
    attic.start()
    for awaited in ("recopy begins", "copy set aside", "snapshot comes", "origin taken"):
        study.start()
        before = {device: len(device.events(awaited)) for device in (kitchen, study)}

        wait_for(partial(happened, house, awaited, before), awaited, house.devices)
        for device in began(awaited, before):
            device.kill()
            device.start()
        study.kill()
    study.start()
    check(house)


def test_a_copied_machine_makes_none(house: House) -> None:
    """Both run, both write, each under an origin of its own; the others link with one of them at a time, say that there
    are two, and have what both wrote.
    """
    kitchen, study, attic = house.devices
    attic.stop()
    kitchen.stop()
    clone = house.device("clone", mdns=False, peers=[study.address])
    shutil.copytree(kitchen.state_dir, clone.state_dir)
    kitchen.start()
    clone.start()
    for number in range(3):
        for device in (kitchen, clone):
            device.put("home", "notes", f"{device.name} {number}", {"n": number})
            device.patch("home", "notes", "edited", text=f"{device.name} {number}")
    clone.stop()
    for stays, follows in ((kitchen, clone), (clone, kitchen), (kitchen, None)):
        wait_for(partial(alike, stays, study), f"{stays} and study have the same", house.devices)
        if follows is not None:
            stays.stop()
            follows.start()
    assert events(house, "fork found") == []
    export = study.export("home")["notes"]
    assert {f"{name} {number}" for name in ("kitchen", "clone") for number in range(3)} <= set(export)
    (conflict,) = study.conflicts("home")
    assert {value["value"] for value in conflict["values"]} == {"kitchen 2", "clone 2"}


def alike(one: Device, other: Device) -> bool:
    mine, theirs = one.space("home"), other.space("home")
    return bool(mine["clock"] == theirs["clock"] and mine["digest"] == theirs["digest"])
