"""Real daemons without a network path between them, and a stick with a file system that knows no links and no case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relay.mounts import Mount, mounted
from tests.support.daemons import House, wait_for
from tests.system.test_relay import are_equal, everything, let_in, start

RECORDS = 200


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


@pytest.fixture(params=["vfat", "exfat"])
def stick(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mount]:
    yield from mounted(tmp_path, request.param)


def test_a_stick_of_another_system_brings_everything(house: House, stick: Mount) -> None:
    """Also when it was pulled out while somebody was writing to it."""
    desk, laptop = start(house, stick.path, "desk", "laptop")
    desk.create("home")
    let_in(desk, laptop)
    for number in range(RECORDS):
        (desk, laptop)[number % 2].put("home", "own", f"k{number}", {"n": number})
        if number == RECORDS // 2:
            desk.kill()
            desk.start()
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop])
    assert everything(desk) == everything(laptop)
    assert len(desk.export("home")["own"]) == RECORDS
    assert [one["findings"] for device in (desk, laptop) for one in device.call("GET", "relays")["relays"]] == [[], []]
    desk.stop()
    laptop.stop()
