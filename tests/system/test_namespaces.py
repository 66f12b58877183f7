"""Daemons on machines of their own, made of network namespaces: real mDNS, loss, delay, cables pulled, sleep.

PEERD_SLEEP_S sets how long the sleeping device is stopped (25 s); minutes are as good.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerd.control.client import Client, path
from peerd.errors import PeerdError
from tests.support.air import Air, air_missing
from tests.support.daemons import Device, House, pair, start_all, wait_for
from tests.support.namespaces import Machine, Network, missing

pytestmark = pytest.mark.namespaces

SLEEP_S = float(os.environ.get("PEERD_SLEEP_S", "25"))
BACK_WITHIN_S = 10.0  # lenient: the machine may be busy; what was measured is printed
AWAY_S = 3.0
GIVEN_UP_S = 45.0  # a silent link is given up within this


def need(reason: str | None) -> None:
    """Skip with a sentence; where everything has to be proven, fail with it."""
    if reason is not None:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture
def network() -> Iterator[Network]:
    need(missing())
    with Network() as network:
        yield network


@pytest.fixture
def house(tmp_path: Path, network: Network) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def seconds_until(condition: Callable[[], object], what: str, devices: list[Device]) -> float:
    """How long it takes from now on; printed."""
    took_s = wait_for(condition, what, devices)
    print(f"{took_s:6.2f} s until {what}")  # noqa: T201 - the measurement that people want to see
    return took_s


class Load:
    """Somebody writes a few records a second to each of some devices, until told to stop."""

    def __init__(self, devices: list[Device]) -> None:
        self.acknowledged: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(device,)) for device in devices]
        for thread in self._threads:
            thread.start()

    def _write(self, device: Device) -> None:
        number = 0
        with Client(str(device.socket)) as client:
            while not self._stop.wait(0.1):
                number += 1
                key = f"{device.name}-{number}"
                try:
                    client.call("PUT", path("spaces", "home", "records", "load", key), body={"n": number})
                    client.call("PUT", path("spaces", "home", "records", "hot", str(number % 3)), body={"by": key})
                except PeerdError:
                    continue
                self.acknowledged.add(key)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_five_machines_on_a_bad_network(network: Network, house: House) -> None:
    """5 % loss and 50 ms on every path, one machine behind another, load, a partition healed: equal everywhere."""
    need(air_missing())
    with Air(delay_s=0.05, loss=0.05, seed=1) as air, Air(delay_s=0.05, loss=0.05, seed=2) as cellar:
        machines = {name: network.machine(name, up=False) for name in ("kitchen", "study", "attic", "hall", "cellar")}
        for number, name in enumerate(("kitchen", "study", "attic", "hall"), 1):
            air.plug(machines[name], "air0", f"10.88.0.{number}")
        for number, name in enumerate(("hall", "cellar"), 1):
            cellar.plug(machines[name], "air1", f"10.99.0.{number}")
        devices = [house.device(name, machine) for name, machine in machines.items()]
        kitchen, study, attic, hall, below = devices
        start_all(devices)
        kitchen.create("home")
        for inviter, joiner in ((kitchen, study), (study, attic), (attic, hall), (hall, below)):
            pair(inviter, joiner, "home", by_address=False)
        near = [kitchen, study, attic, hall]
        wait_for(lambda: all(len(one.linked()) >= 3 for one in near), "the four are linked", devices)
        wait_for(lambda: below.linked() == {"hall"}, "the cellar reaches the hall, and nobody else", devices)
        load = Load(devices)
        try:
            wait_for(lambda: len(load.acknowledged) > 50, "the load is on", devices)
            air.cut(machines["attic"])
            kitchen.put("home", "notes", "apart", {"by": "kitchen"})
            attic.put("home", "notes", "apart", {"by": "attic"})
            seen = len(load.acknowledged)
            wait_for(lambda: len(load.acknowledged) > seen + 100, "both sides have written", devices)
            air.mend(machines["attic"])
            took_s = seconds_until(
                lambda: kitchen.conflicts("home") and attic.conflicts("home"), "the halves have met", devices
            )
            assert took_s < 3 * BACK_WITHIN_S  # what was written meanwhile has to come through the loss as well
        finally:
            load.stop()
        export = house.agree("home", patience_s=120)
        assert set(export["load"]) >= load.acknowledged
        assert below.linked() == {"hall"}
        print(f"{air.frames + cellar.frames} frames, {air.lost + cellar.lost} lost")  # noqa: T201 - for people


# ---- two machines on a good network


@pytest.fixture
def two(network: Network, house: House) -> list[Device]:
    """Linked, in sync, found by mDNS."""
    devices = [house.device(name, network.machine(name)) for name in ("kitchen", "study")]
    start_all(devices)
    devices[0].create("home")
    pair(devices[0], devices[1], "home", by_address=False)
    house.agree("home")
    wait_for(lambda: all(one.linked() for one in devices), "they are linked", devices)
    return devices


def machine_of(device: Device) -> Machine:
    assert device.machine is not None
    return device.machine


def meet_again(house: House, two: list[Device], what: str, come_back: Callable[[], None]) -> float:
    """Both write while apart; then how long it takes from the return until both have everything."""
    kitchen, study = two
    kitchen.put("home", "notes", f"{what}, kitchen", {"x": 1})
    study.put("home", "notes", f"{what}, study", {"x": 2})
    come_back()
    took_s = seconds_until(
        lambda: kitchen.get("home", "notes", f"{what}, study") and study.get("home", "notes", f"{what}, kitchen"),
        f"both have what was written apart ({what})",
        two,
    )
    house.agree("home")
    return took_s


def test_a_cable_pulled_and_put_in(network: Network, house: House, two: list[Device]) -> None:
    """Carrier lost for some seconds, three times: they meet again at once."""
    machine = machine_of(two[1])
    for attempt in range(3):
        network.cut(machine)
        time.sleep(AWAY_S)
        assert meet_again(house, two, f"cable {attempt}", lambda: network.mend(machine)) < BACK_WITHIN_S


def test_packets_lost_in_silence(network: Network, house: House, two: list[Device]) -> None:
    """Nobody is told: the link is given up after some time, and found again when packets pass."""
    machine = machine_of(two[1])
    network.lose(machine)
    wait_for(lambda: not two[0].linked() and not two[1].linked(), "both have noticed", two)
    assert two[0].peer("home", two[1])["reason"]
    assert meet_again(house, two, "silence", lambda: network.find(machine)) < BACK_WITHIN_S


def test_a_new_address(house: House, two: list[Device]) -> None:
    """The machine gets other addresses, as after a new lease: links to the old ones are void, the new ones are told."""
    machine = machine_of(two[1])

    machine.run("ip", "address", "flush", "dev", "eth0")

    def move() -> None:
        machine.run("ip", "address", "add", "10.77.0.200/24", "brd", "+", "dev", "eth0")

    assert meet_again(house, two, "new address", move) < BACK_WITHIN_S
    two[0].wait(
        lambda: any("10.77.0.200" in address for address in two[0].call("GET", "peers")["peers"][0]["addresses"]),
        "the new address is known",
    )


def test_asleep(house: House, two: list[Device]) -> None:
    """SIGSTOP for some time, SIGCONT, and they meet again, whether or not the other has given it up meanwhile."""
    kitchen, study = two
    study.pause()
    time.sleep(SLEEP_S)
    if SLEEP_S > GIVEN_UP_S:
        kitchen.wait(lambda: not kitchen.linked(), "it is given up")
    kitchen.put("home", "notes", "while asleep", {"x": 1})
    study.resume()
    took_s = seconds_until(lambda: study.get("home", "notes", "while asleep"), "the sleeper has caught up", two)
    assert took_s < BACK_WITHIN_S
    assert meet_again(house, two, "awake", lambda: None) < BACK_WITHIN_S
