"""Real daemons without a network path between them, and CloudKit, as the emulator has it, in bad weather."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relay.cloudkit.cloud import Cloud
from tests.support.daemons import Device, House, wait_for
from tests.system.test_relay import are_equal, is_member, let_in, write_on_both_sides_under_kills

# More than one segment takes, and hardly smaller when compressed: so it goes by way of assets.
LARGE = "secret" + "".join(
    random.Random(1).choices(string.ascii_letters + string.digits + string.punctuation, k=900_000)
)

SOON = "from peerd.engine.members import petitioning; petitioning.LOOK_S = (0.5, 1.0)"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path) as one:
        yield one


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def to_send(device: Device) -> int:
    (relay,) = device.call("POST", "relays", "sync", body={})["relays"]
    return int(relay.get("to_send", 0))


def test_devices_that_meet_in_the_cloud_alone_come_to_the_same(house: House, cloud: Cloud) -> None:
    kitchen, study = house.start("kitchen", "study", listen=[], mdns=False, more=cloud.account().settings)
    kitchen.create("home")
    let_in(kitchen, study)
    cloud.emulator.faults.weather(0.1, 1)
    for number in range(30):
        kitchen.put("home", "notes", f"k{number}", {"text": "small secret"})
        study.put("home", "notes", f"s{number}", {"text": "small secret"})
    kitchen.put("home", "notes", "large", {"text": LARGE})
    study.kill()
    wait_for(lambda: not to_send(kitchen), "it is left there")
    study.start()
    wait_for(lambda: are_equal(kitchen, study), "both have the same", patience_s=120.0)
    assert study.call("GET", "spaces", "home", "records", "notes", "large")["value"]["text"] == LARGE

    held = cloud.emulator.database()
    assert all(len(name) == 64 for name in held.records)
    contents = [*held.assets.values(), *(one.fields["d"] for one in held.records.values() if "d" in one.fields)]
    assert held.assets
    assert not any(b"secret" in content for content in contents)
    assert cloud.emulator.early == 0
    assert cloud.emulator.in_flight_most <= 2  # one a device


def test_a_device_is_let_in_by_itself(house: House, cloud: Cloud) -> None:
    """Nobody tells either to look, and nothing there says that something has come."""
    kitchen, study = house.start("kitchen", "study", listen=[], mdns=False, more=cloud.account().settings, meddle=SOON)
    kitchen.create("home")
    made = kitchen.call("POST", "spaces", "home", "tickets", body={})
    study.call("POST", "petitions", body={"file": made["file"], "code": made["code"]})
    study.wait(lambda: is_member(study), "it is let in")


def test_ten_thousand_records_and_edits_of_both_sides_survive_kills(house: House, cloud: Cloud) -> None:
    desk, laptop = house.start("desk", "laptop", listen=[], mdns=False, more=cloud.account().settings)
    write_on_both_sides_under_kills(desk, laptop)
    held = cloud.emulator.database()
    contents = [*held.assets.values(), *(one.fields["d"] for one in held.records.values() if "d" in one.fields)]
    assert not any(b"canary" in content or b"secret" in content for content in contents)
    assert cloud.emulator.early == 0
