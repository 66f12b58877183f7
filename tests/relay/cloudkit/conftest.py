"""An emulator and devices that use it, on one virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from peerd.relay.cloudkit.client import Client, Place
from peerd.relay.cloudkit.gate import Gate
from peerd.relay.cloudkit.keyfile import read_key
from peerd.relay.cloudkit.opening import gate_file
from peerd.relay.cloudkit.store import CloudKitStore
from tests.relay.cloudkit.backend import new_account
from tests.relay.emulator.server import Emulator


class Times:
    """Stands still until it is moved. `ahead_s`: how wrong the wall clock of a device is."""

    def __init__(self) -> None:
        self.now_s = 1_900_000_000.0
        self.ahead_s = 0.0
        self.chance = 1.0  # where in its range a random number falls

    def server_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return int((self.now_s + self.ahead_s) * 1000)

    def boottime_s(self) -> float:
        return self.now_s - 1_800_000_000.0

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.chance


class Device(NamedTuple):
    store: CloudKitStore
    client: Client
    gate: Gate


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def emulator(times: Times) -> AsyncIterator[Emulator]:
    async with Emulator(now=times.server_s) as running:
        yield running


@pytest.fixture
def place(emulator: Emulator, tmp_path: Path) -> Place:
    return new_account(emulator, tmp_path)[0]


@pytest.fixture
def key_file(place: Place, tmp_path: Path) -> Path:
    return tmp_path / f"{place.key_id[:8]}.pem"


@pytest.fixture
async def device(place: Place, key_file: Path, tmp_path: Path, times: Times) -> AsyncIterator[Callable[..., Device]]:
    """Call it for one more device, or for the same one after a restart if it is given the same name."""
    made: list[Device] = []

    def new(name: str = "one", timeout_s: float = 20.0, inline_bytes: int = 256 << 10) -> Device:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        gate = Gate(gate_file(folder, place), times)
        client = Client(place, lambda: read_key(key_file, {}), gate, times, timeout_s=timeout_s)
        made.append(Device(CloudKitStore(client, inline_bytes=inline_bytes), client, gate))
        return made[-1]

    yield new
    for one in made:
        await one.store.close()


@pytest.fixture
def store(device: Callable[..., Device]) -> CloudKitStore:
    return device().store
