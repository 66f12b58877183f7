"""Real daemons that share nothing but a relay, more records than its log is to hold, and daemons that are killed while
a snapshot is left and while it is taken in: by a device that has nothing yet, and by one that was away and lacks most.
Both write meanwhile. In the end all have the same, and every acknowledged write is among it.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from peerd.control.client import path
from tests.relay.cloudkit.cloud import Cloud
from tests.support.daemons import Device, House, wait_for
from tests.support.gate import Gate
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


class Scene(NamedTuple):
    """Two daemons, of which the second is a member of nothing yet. `leaving` and `taking` are passed by a part or two
    of a snapshot while they are shut, and by no more.
    """

    desk: Device
    laptop: Device
    leaving: Gate
    taking: Gate


@pytest.fixture(params=["folder", "cloudkit"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    stick = tmp_path / "stick"
    stick.mkdir()
    leaving = Gate(tmp_path, "peerd.engine.relay.sealed_relay", "SealedRelay.put_parts")
    taking = Gate(tmp_path, "peerd.engine.snapshots.filling", "Filling._decide")
    with House(tmp_path) as house, Cloud(tmp_path) as cloud:
        more = f'[relay.folder]\npath = "{stick}"\n' if request.param == "folder" else cloud.account().settings
        meddle = SOON + leaving.meddle + taking.meddle
        settings: dict[str, Any] = {"listen": [], "mdns": False, "more": f"{more}max_mb = 8\n", "meddle": meddle}
        desk, laptop = house.start("desk", "laptop", **settings)
        yield Scene(desk, laptop, leaving, taking)


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


@contextmanager
def syncing(device: Device, until: Callable[[], bool], what: str) -> Iterator[None]:
    """Have it sync again and again until something is so; then it is killed at the end of the block."""
    over = Event()

    def work() -> None:
        while not over.is_set():
            sync(device)
            over.wait(0.1)

    thread = Thread(target=work)
    thread.start()
    try:
        device.wait(until, what, PATIENCE_S)
        yield
    finally:
        over.set()
        device.kill()
        thread.join()


def left(device: Device) -> int:
    """How many snapshots it has left."""
    return len(device.events("snapshot left"))


def kill_while_leaving(device: Device, gate: Gate) -> None:
    """Again and again in the middle of a snapshot; then one is left whole."""
    before = left(device)
    for _ in range(KILLS):
        with syncing(device, lambda: gate.waits(device.pid), "one is half left"):
            pass
        device.start()
    gate.open()
    while left(device) == before:
        sync(device)
    gate.shut()


def kill_while_taking(device: Device, gate: Gate, own: dict[str, Any]) -> None:
    """Again and again when some but not all parts of a snapshot are here, with a write of its own before each."""
    seen = 0

    def more_is_here() -> bool:
        return parts_taken(device) > seen and gate.waits(device.pid)

    for kill in range(KILLS):
        with syncing(device, more_is_here, "some of it is here"):
            device.put("home", "own", f"{device.name}-{kill}", {"n": kill})
            own[f"{device.name}-{kill}"] = {"n": kill}
        seen = parts_taken(device)
        device.start()
    gate.open()


def test_a_new_device_and_one_that_was_away_start_from_a_snapshot_under_kills(scene: Scene) -> None:
    desk, laptop, leaving, taking = scene
    chance = random.Random(11)
    own: dict[str, Any] = {}
    desk.create("home")
    fill(desk, chance, 0)
    kill_while_leaving(desk, leaving)

    let_in(desk, laptop)
    kill_while_taking(laptop, taking, own)
    for number in range(50):
        desk.put("home", "bulk", f"k{number:05}", value(chance, 1))
        desk.put("home", "own", f"desk-{number}", {"n": number})
        own[f"desk-{number}"] = {"n": number}
    leaving.open()
    wait_for(lambda: are_equal(desk, laptop), "both have the same", [desk, laptop], patience_s=PATIENCE_S)
    assert laptop.events("snapshot in place")
    assert everything(desk) == everything(laptop)
    assert laptop.export("home")["own"] == own

    laptop.stop()
    leaving.shut()
    taking.shut()
    fill(desk, chance, 2)
    for number in range(50):
        desk.delete("home", "bulk", f"k{number:05}")
    desk.kill()
    desk.start()  # or it would let an hour pass between two of its own
    kill_while_leaving(desk, leaving)
    places = len(laptop.events("snapshot in place"))
    laptop.start()
    kill_while_taking(laptop, taking, own)
    leaving.open()
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
