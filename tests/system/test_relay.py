"""Real daemons without a network path between them, and one folder that both reach.

A device is let in by a file and a code. Ten thousand records and edits of the same fields on both sides travel while
both daemons are killed, in the middle of leaving and of fetching. In the end they have the same, every acknowledged
write is among it, and the folder shows nothing of it.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peerd.control.client import path
from peerd.errors import PeerdError
from tests.support.daemons import Device, House, wait_for

RECORDS = 10_000
BATCH = 1_000
KILLS = 6
FIELDS = 6  # of one record, which both sides write


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stick = tmp_path / "stick"
    stick.mkdir()
    return stick


def start(house: House, folder: Path, *names: str) -> list[Device]:
    """Daemons that listen nowhere and look for nobody."""
    more = f'[relay.folder]\npath = "{folder}"\nspaces = ["home"]\n'
    return house.start(*names, listen=[], mdns=False, more=more)


def let_in(inviter: Device, guest: Device) -> None:
    made = inviter.call("POST", "spaces", "home", "tickets", body={})
    guest.call("POST", "petitions", body={"file": made["file"], "code": made["code"]})

    def is_let_in() -> bool:
        for device in (inviter, guest):
            sync(device)
        return is_member(guest)

    guest.wait(is_let_in, "it is let in and hears of it")


def is_member(device: Device) -> bool:
    members = device.call("GET", "spaces", "home", "members")["members"]
    return any(one["own"] and one["role"] == "admin" for one in members)


def fill(device: Device) -> None:
    with device.client() as client:
        for first in range(0, RECORDS, BATCH):
            changes = [
                {"kind": "put", "collection": "bulk", "key": f"k{number:05}", "value": {"canary": f"secret-{number}"}}
                for number in range(first, first + BATCH)
            ]
            client.call("POST", path("spaces", "home", "transactions"), body={"changes": changes})


def sync(device: Device) -> None:
    """Now; whether it lives long enough is another question."""
    with contextlib.suppress(PeerdError):
        device.call("POST", "relays", "sync", body={})


def are_equal(*devices: Device) -> bool:
    for device in devices:
        sync(device)
    views = [device.space("home") for device in devices]
    return len({view["digest"] for view in views}) == 1 and all(view["clock"] == views[0]["clock"] for view in views)


def everything(device: Device) -> Any:
    conflicts = device.conflicts("home")
    return device.export("home"), sorted((one["id"], str(one["values"])) for one in conflicts)


def write_on_both_sides_under_kills(desk: Device, laptop: Device) -> None:
    """Two devices come into one space through their relay, write ten thousand records and the same fields on both
    sides, and are killed while they leave and fetch. In the end both have the same, all of it.
    """
    desk.create("home")
    let_in(desk, laptop)
    desk.put("home", "shared", "one", {})
    wait_for(lambda: are_equal(desk, laptop), "both have the record", [desk, laptop])
    chance = random.Random(7)
    own: dict[str, dict[str, int]] = {}
    for kill in range(KILLS):
        for device in (desk, laptop):
            device.put("home", "own", f"{device.name}-{kill}", {"n": kill})
            own[f"{device.name}-{kill}"] = {"n": kill}
            device.patch("home", "shared", "one", **{f"f{chance.randrange(FIELDS)}": f"{device.name}-{kill}"})
        if kill == 0:
            fill(desk)
        syncing = [threading.Thread(target=sync, args=[device]) for device in (desk, laptop)]
        for thread in syncing:
            thread.start()
        victim = (desk, laptop)[kill % 2]
        syncing[0].join(chance.uniform(0.01, 0.3))
        victim.kill()
        for thread in syncing:
            thread.join()
        victim.start()
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop])
    assert everything(desk) == everything(laptop)
    export = desk.export("home")
    assert len(export["bulk"]) == RECORDS
    assert export["own"] == own
    assert [one["findings"] for device in (desk, laptop) for one in device.call("GET", "relays")["relays"]] == [[], []]


def test_ten_thousand_records_and_edits_of_both_sides_survive_kills(house: House, folder: Path) -> None:
    desk, laptop = start(house, folder, "desk", "laptop")
    write_on_both_sides_under_kills(desk, laptop)
    for found in folder.glob("??/*"):
        assert b"canary" not in found.read_bytes()
        assert b"secret" not in found.read_bytes()


def test_a_stick_that_is_carried_around_brings_everything(house: House, folder: Path) -> None:
    """Only one of the two has it at a time; the other says so, and how to go on."""
    desk, laptop = start(house, folder, "desk", "laptop")
    desk.create("home")
    let_in(desk, laptop)
    in_pocket = folder.with_name("pocket")
    for turn in range(3):
        for device in (desk, laptop):
            device.put("home", "own", f"{device.name}-{turn}", {"n": turn})
        folder.rename(in_pocket)
        sync(desk)
        (view,) = desk.call("GET", "relays")["relays"]
        assert view["code"] == "relay-unreachable"
        assert str(folder) in view["reason"]
        assert view["next_step"]
        in_pocket.rename(folder)
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop])
    assert everything(desk) == everything(laptop)
    assert len(desk.export("home")["own"]) == 6
