"""A new device joins a full space: it begins with a snapshot, is written to meanwhile, and both sides are killed in the
middle of it. PEERD_RECORDS says how full.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from peerd.control.client import path
from tests.support.daemons import Device, House, pair
from tests.support.gate import Gate

RECORDS = int(os.environ.get("PEERD_RECORDS", "40000"))
BATCH = 1_000
PATIENCE_S = 300.0
PARTS = 3  # with records, that each process takes in before the gate is opened


def fill(device: Device) -> None:
    with device.client() as client:
        for first in range(0, RECORDS, BATCH):
            changes = [
                {"kind": "put", "collection": "bulk", "key": f"{number * 7919 % RECORDS:08}", "value": record(number)}
                for number in range(first, first + BATCH)
            ]
            client.call("POST", path("spaces", "home", "transactions"), body={"changes": changes})


def record(number: int) -> dict[str, Any]:
    return {"n": number, "title": f"title of number {number}", "text": f"{number:x} " * 20}


def half_way(device: Device, at_least: int = 1) -> int:
    """How much of a snapshot is here when some of it is, and some is not."""
    found: list[int] = []

    def is_half_way() -> bool:
        snapshot = device.space("home")["snapshot"]
        if snapshot is None or not at_least <= snapshot["records"] < snapshot["of_records"]:
            return False
        found.append(snapshot["records"])
        return True

    device.wait(is_half_way, "a snapshot comes in", PATIENCE_S)
    return found[0]


def test_a_new_device_begins_with_a_snapshot_whoever_is_killed(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        kitchen, study = (house.device(name, mdns=False) for name in ("kitchen", "study"))
        kitchen.peers, study.peers = [study.address], [kitchen.address]
        gate = Gate(tmp_path, "peerd.engine.snapshots.filling", "Filling._decide", passes=PARTS)
        study.meddle = gate.meddle
        kitchen.start()
        study.start()
        kitchen.create("home")
        fill(kitchen)
        pair(kitchen, study, "home")
        # The new device is killed: it goes on with what it has.
        before = half_way(study)
        study.put("home", "notes", "first", {"by": "study"})
        study.kill()
        study.start()
        assert half_way(study, before + 1) > before
        # What it writes reaches the other while the snapshot comes in.
        study.put("home", "notes", "second", {"by": "study"})
        kitchen.wait(lambda: kitchen.get("home", "notes", "second"), "what is written there arrives", PATIENCE_S)
        # The maker is killed: another one is made.
        half_way(study)
        kitchen.kill()
        study.put("home", "notes", "third", {"by": "study"})
        study.delete("home", "notes", "first")
        gate.open()
        kitchen.start()
        kitchen.put("home", "bulk", "00000003", {"n": -1})
        found = house.agree("home", patience_s=PATIENCE_S)
        assert len(found["bulk"]) == RECORDS
        assert found["bulk"]["00000003"] == {"n": -1}
        assert set(found["notes"]) == {"second", "third"}
        view = study.space("home")
        assert (view["snapshot"], view["taken"]["name"], view["taken"]["agreed"]) == (None, "kitchen", False)
        assert len(study.events("snapshot in place")) == 1
        assert len(study.transactions("home")) < RECORDS // BATCH
