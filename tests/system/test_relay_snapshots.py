"""Real daemons that share nothing but a relay, more records than its log is to hold, and daemons that are killed while
a snapshot is left and while it is taken in: by a device that has nothing yet, and by one that was away and lacks most.
Both write meanwhile. In the end all have the same, and every acknowledged write is among it.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from peerd.control.client import path
from peerd.errors import PeerdError
from tests.relay.cloudkit.cloud import Cloud
from tests.support.daemons import Device, House, wait_for
from tests.system.test_relay import are_equal, everything, let_in, sync

RECORDS = 12_000
BATCH = 500
KILLS = 3  # in the middle, of each
PATIENCE_S = 240.0
SOON = """
import functools
import peerd.declared as declared
import peerd.engine.relay.snapshots as snapshots
declared.CourierSettings = functools.partial(
    declared.CourierSettings, foreign_s=(0.5, 1.0), snapshot_from_bytes=1 << 18
)
snapshots.AT_ONCE = 1
"""  # a snapshot is left soon, and in many steps


@pytest.fixture(params=["folder", "cloudkit"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    """Two daemons; the second one is a member of nothing yet."""
    stick = tmp_path / "stick"
    stick.mkdir()
    with House(tmp_path) as house, Cloud(tmp_path) as cloud:
        more = f'[relay.folder]\npath = "{stick}"\n' if request.param == "folder" else cloud.account().settings
        settings: dict[str, Any] = {"listen": [], "mdns": False, "more": f"{more}max_mb = 8\n", "meddle": SOON}
        desk, laptop = house.start("desk", "laptop", **settings)
        yield desk, laptop


def fill(device: Device, chance: random.Random, n: int) -> None:
    """Texts that hardly become smaller when they are compressed."""
    with device.client() as client:
        for first in range(0, RECORDS, BATCH):
            changes = [
                {"kind": "put", "collection": "bulk", "key": f"k{number:05}", "value": value(chance, n)}
                for number in range(first, first + BATCH)
            ]
            client.call("POST", path("spaces", "home", "transactions"), body={"changes": changes})


def value(chance: random.Random, n: int) -> dict[str, Any]:
    return {"text": chance.randbytes(400).hex(), "n": n}


def relay(device: Device) -> dict[str, Any]:
    (view,) = device.call("GET", "relays")["relays"]
    return dict(view)


def database(device: Device) -> Path:
    (found,) = (device.state_dir / "spaces").glob("*.db")
    return found


def parts_taken(device: Device) -> int:
    """Of a snapshot that is coming in, as the disk has it."""
    with closing(sqlite3.connect(f"file:{database(device)}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT parts FROM incoming WHERE phase < 2").fetchone()
    return int(row[0]) if row else 0


def syncing(device: Device) -> Thread:
    thread = Thread(target=sync, args=[device])
    thread.start()
    return thread


def kill_while_leaving(device: Device, before: int) -> int:
    """At random moments until a snapshot is there. Gives how many of them were in the middle of one."""
    chance, middles = random.Random(before), 0
    deadline_s = time.monotonic() + PATIENCE_S
    while len(device.events("snapshot left")) == before:
        assert time.monotonic() < deadline_s, device.said()
        thread = syncing(device)
        thread.join(chance.uniform(0.3, 2.5) if middles < KILLS else PATIENCE_S)
        if middles < KILLS and len(device.events("snapshot left")) == before:
            device.kill()
            middles += 1
            device.start()
        thread.join()
    return middles


def kill_while_taking(device: Device, own: dict[str, Any]) -> int:
    """Again and again while parts of a snapshot come in, with a write of its own before each. Gives how often some but
    not all of it was there.
    """
    middles, seen = 0, 0
    for kill in range(40):
        if middles == KILLS:
            break
        thread = syncing(device)
        deadline_s = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < deadline_s and parts_taken(device) <= seen:
            time.sleep(0.005)
        with suppress(PeerdError):
            device.put("home", "own", f"{device.name}-{kill}", {"n": kill})
            own[f"{device.name}-{kill}"] = {"n": kill}
        device.kill()
        thread.join()
        now = parts_taken(device)
        middles += now > 0
        seen = now
        device.start()
        if not now and kill and device.events("snapshot in place"):
            break
    return middles


def test_a_new_device_and_one_that_was_away_start_from_a_snapshot_under_kills(pair: tuple[Device, Device]) -> None:
    desk, laptop = pair
    chance = random.Random(11)
    own: dict[str, Any] = {}
    desk.create("home")
    fill(desk, chance, 0)
    assert kill_while_leaving(desk, 0) == KILLS

    let_in(desk, laptop)
    middles = kill_while_taking(laptop, own)
    for number in range(50):
        desk.put("home", "bulk", f"k{number:05}", value(chance, 1))
        desk.put("home", "own", f"desk-{number}", {"n": number})
        own[f"desk-{number}"] = {"n": number}
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop], patience_s=PATIENCE_S)
    assert middles, "it was killed while a snapshot came"
    assert laptop.events("snapshot in place")
    assert everything(desk) == everything(laptop)
    assert laptop.export("home")["own"] == own

    laptop.stop()
    fill(desk, chance, 2)
    for number in range(50):
        desk.delete("home", "bulk", f"k{number:05}")
    kill_while_leaving(desk, len(desk.events("snapshot left")))
    laptop.start()
    places = len(laptop.events("snapshot in place"))
    middles = kill_while_taking(laptop, own)
    assert middles
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop], patience_s=PATIENCE_S)
    assert len(laptop.events("snapshot in place")) > places
    assert everything(desk) == everything(laptop)
    export = laptop.export("home")
    assert export["own"] == own
    assert len(export["bulk"]) == RECORDS - 50
    assert {one["n"] for one in export["bulk"].values()} == {2}
    for device in (desk, laptop):
        assert relay(device)["findings"] == []
        assert relay(device)["held_bytes"] <= 12 << 20
