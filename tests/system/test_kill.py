"""SIGKILL in random places under load: nothing that was acknowledged is lost, and no sequence number is used twice.

Three daemons, two writers at each. A writer notes what was acknowledged and with which dot; what broke off may have
happened or not, but whole. In the end all three logs, states and digests are compared with each other and the notes.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peerd.control.client import Client, Problem, path
from peerd.errors import PeerdError
from tests.support.daemons import Device, House, pair, wait_for

KILLS = int(os.environ.get("PEERD_KILLS", "50"))
HOT = 5  # records that everybody writes
PARTS = 3  # records that a writer always writes together
PAUSE_S = 0.01  # between two writes of a writer


class Writer:
    """Writes to one device until it is told to stop, whatever happens to the device."""

    def __init__(self, device: Device, name: str, seed: int) -> None:
        self.name = name
        self.acknowledged: dict[str, Any] = {}  # dot -> {(collection, key): value}
        self.failures: list[str] = []
        self.last: dict[str, int] = {}  # "own" and "parts": the largest number that was acknowledged
        self.tried: dict[str, int] = {}  # and the largest that was tried
        self._device = device
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        with Client(str(self._device.socket), timeout_s=30) as client:
            while not self._stop.is_set():
                number += 1
                try:
                    self._write(client, number)
                except Problem as problem:
                    if problem.status != 503:  # it is stopping: nobody asked it to
                        self.failures.append(f"{self.name}: {problem}")
                except PeerdError:
                    pass  # it is dead at the moment
                self._stop.wait(PAUSE_S)

    def _write(self, client: Client, number: int) -> None:
        kind = self._chance.choice(("own", "hot", "parts"))
        if kind == "own":
            self._send(client, number, {("own", f"{self.name}-{number:05}"): {"n": number}})
        elif kind == "hot":
            key = f"hot-{self._chance.randrange(HOT)}"
            field = f"f{self._chance.randrange(3)}"
            self._send(client, number, {("hot", key): {field: f"{self.name}-{number}"}})
        else:
            self.tried["parts"] = number
            self._send(client, number, {("parts", f"{self.name}-{one}"): {"n": number} for one in range(PARTS)})
            self.last["parts"] = number

    def _send(self, client: Client, number: int, records: dict[tuple[str, str], dict[str, Any]]) -> None:
        changes = [
            {"kind": "patch", "collection": collection, "key": key, "set": fields}
            if collection == "hot"
            else {"kind": "put", "collection": collection, "key": key, "value": fields}
            for (collection, key), fields in records.items()
        ]
        answer = client.call("POST", path("spaces", "home", "transactions"), body={"changes": changes}).body
        dot = answer["dot"]
        if dot is None or dot in self.acknowledged:
            self.failures.append(f"{self.name}: write {number} was given the dot {dot}")
        self.acknowledged[dot] = records


@pytest.fixture
def seed() -> int:
    """Printed when a test fails; PEERD_SEED plays it again as far as processes can be."""
    seed = int(os.environ.get("PEERD_SEED") or random.SystemRandom().getrandbits(32))
    print(f"seed {seed}")  # noqa: T201 - shown by pytest with a failure
    return seed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Three members, linked by addresses, with the records that everybody writes."""
    with House(tmp_path) as house:
        devices = [house.device(name, mdns=False) for name in ("kitchen", "study", "attic")]
        for device in devices:
            device.peers = [other.address for other in devices if other is not device]
            device.start()
        devices[0].create("home")
        for other in devices[1:]:
            pair(devices[0], other, "home")
        for number in range(HOT):
            devices[0].put("home", "hot", f"hot-{number}", {"f0": ""})
        house.agree("home")
        yield house


def test_nothing_acknowledged_is_lost(house: House, seed: int) -> None:
    """50 kills: then every acknowledged transaction is in every log, and what was overwritten shows by whom."""
    chance = random.Random(seed)
    devices = house.devices
    writers = [Writer(device, f"{device.name}-{one}", seed + one) for device in devices for one in range(2)]
    try:
        for _ in range(KILLS):
            victim = chance.choice(devices)
            threading.Event().wait(chance.uniform(0, 0.3))
            victim.kill()
            victim.launch()
            if chance.random() < 0.6:  # otherwise the next kill may find it starting
                victim.wait(victim.is_up, "it is back")
        wait_for(lambda: all(device.is_up() for device in devices), "all are back", devices)
    finally:
        for writer in writers:
            writer.stop()
    assert [failure for writer in writers for failure in writer.failures] == []
    acknowledged = {dot: records for writer in writers for dot, records in writer.acknowledged.items()}
    assert len(acknowledged) == sum(len(writer.acknowledged) for writer in writers), "a dot was given twice"
    assert len(acknowledged) > KILLS
    state = house.agree("home", patience_s=120)
    logs = [contents(device) for device in devices]
    assert logs[0] == logs[1] == logs[2], "a transaction has different contents on different devices"
    for dot, records in acknowledged.items():
        assert logs[0].get(dot) == records, f"acknowledged as {dot}, and lost or changed"
    check_state(state, logs[0], writers)
    print(f"{len(acknowledged)} acknowledged, {len(logs[0])} in the log")  # noqa: T201 - a measurement for whoever asks


def contents(device: Device) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """Its log: what each transaction set, by its dot."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for one in device.transactions("home"):
        assert one["dot"] not in found, "a dot stands twice in one log"
        found[one["dot"]] = {(change["collection"], change["key"]): change.get("set", {}) for change in one["changes"]}
    return found


def check_state(state: Any, log: dict[str, dict[tuple[str, str], dict[str, Any]]], writers: list[Writer]) -> None:
    """What nobody else writes is there as it was written; what everybody writes was written by somebody."""
    for writer in writers:
        for records in writer.acknowledged.values():
            for (collection, key), fields in records.items():
                if collection == "own":
                    assert state["own"][key] == fields
        parts = {state["parts"][f"{writer.name}-{one}"]["n"] for one in range(PARTS)}
        assert len(parts) == 1, "a transaction was torn"
        assert writer.last["parts"] <= parts.pop() <= writer.tried["parts"]
    said: dict[tuple[str, str], set[str]] = {}
    for records in log.values():
        for (collection, key), fields in records.items():
            if collection == "hot":
                for field, value in fields.items():
                    said.setdefault((key, field), set()).add(value)
    for key, record in state["hot"].items():
        for field, value in record.items():
            assert value in said[key, field]
