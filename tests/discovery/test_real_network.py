"""Real processes on a real switch made of namespaces: discovery across machines, and interfaces that come and go."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import mdns_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.namespaces import Machine, Network

pytestmark = pytest.mark.namespaces

WAIT_S = 40.0


class Node:
    """A discovering process on a machine, and everything it wrote."""

    def __init__(self, machine: Machine, number: int, *patterns: str) -> None:
        self.tag = bytes([number]) * 8
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.process = machine.popen(
            [sys.executable, str(Path(mdns_node.__file__)), "7337", self.tag.hex(), *(patterns or ("*", "!lo"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until `condition()` is true and give its value; on failure show what was written."""
        end_s = time.monotonic() + WAIT_S
        with self._news:
            while not (value := condition()):
                left_s = end_s - time.monotonic()
                assert left_s > 0, f"waited in vain; it wrote {self.events}"
                self._news.wait(min(left_s, 1.0))
        return value

    def sees(self, other: Node) -> dict[str, Any] | None:
        """The latest sighting of the other that stands."""
        gone = {event["instance"] for event in self.events if event["event"] == "gone"}
        seen = [event for event in self.events if other.tag.hex() in event.get("tags", ())]
        return seen[-1] if seen and seen[-1]["instance"] not in gone else None

    @property
    def state(self) -> dict[str, Any]:
        """What it said last about itself."""
        return next((event for event in reversed(self.events) if event["event"] == "state"), {})

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def mark(self) -> None:
        """Forget what was written so far."""
        with self._news:
            self.events.clear()

    def end(self) -> None:
        """Kill it and read the rest."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()


@pytest.fixture
def nodes(network: Network) -> Any:
    """Makes nodes that end with the test."""
    made: list[Node] = []

    def make(machine: Machine, *patterns: str) -> Node:
        made.append(Node(machine, len(made) + 1, *patterns))
        return made[-1]

    yield make
    for node in made:
        node.end()


def test_machines_on_a_switch_find_each_other_with_all_their_addresses(network: Network, nodes: Any) -> None:
    """IPv4, IPv6 of the network, and link-local IPv6 with the scope of the seer's own interface."""
    machines = [network.machine(name) for name in ("kitchen", "study", "attic")]
    all_nodes = [nodes(machine) for machine in machines]
    for node in all_nodes:
        for other, machine in zip(all_nodes, machines, strict=True):
            if other is node:
                continue
            seen = node.until(lambda node=node, other=other: node.sees(other))
            hosts = [host for host, _ in seen["addresses"]]
            assert hosts[0] == machine.ipv4
            assert hosts[1].startswith("fe80::")
            assert hosts[1].endswith("%eth0")
            assert hosts[2] == machine.ipv6
            assert {port for _, port in seen["addresses"]} == {7337}


def test_several_daemons_on_one_machine_and_one_elsewhere(network: Network, nodes: Any) -> None:
    """They share the port, and each finds all the others."""
    here, there = network.machine("here"), network.machine("there")
    all_nodes = [nodes(here, "*"), nodes(here, "*"), nodes(there, "*")]
    for node in all_nodes:
        for other in all_nodes:
            if other is not node:
                node.until(lambda node=node, other=other: node.sees(other))


def test_machines_without_ipv4_find_each_other(network: Network, nodes: Any) -> None:
    """Link-local IPv6 is enough: no lease, no router."""
    machines = [network.machine(name, up=False) for name in ("kitchen", "study")]
    for machine in machines:
        machine.link("up")
    first, second = (nodes(machine) for machine in machines)
    for node, other in ((first, second), (second, first)):
        (address,) = node.until(lambda node=node, other=other: node.sees(other))["addresses"]
        assert address[0].startswith("fe80::")
        assert address[0].endswith("%eth0")


def test_an_interface_that_comes_up_later_is_used(network: Network, nodes: Any) -> None:
    """Started without a network it says so; plugged in it finds the others at once, and says what it uses."""
    kitchen, late = network.machine("kitchen"), network.machine("late", up=False)
    first, second = nodes(kitchen), nodes(late)
    second.until(lambda: second.state.get("state") == "failed")
    assert "no interface with multicast is up" in second.state["problem"]
    network.plug_in(late)
    second.until(lambda: second.state.get("interfaces") == ["eth0"])
    second.until(lambda: second.sees(first))
    first.until(lambda: first.sees(second))
    assert second.state["state"] == "running"
    assert second.state["problem"] is None


def test_a_cable_that_was_out_is_noticed_on_its_own_side(network: Network, nodes: Any) -> None:
    """While it is out there is a sentence; when it is in again both find each other anew, under a new identity."""
    first, second = nodes(network.machine("kitchen")), nodes(study := network.machine("study"))
    before = first.until(lambda: first.sees(second))
    second.until(lambda: second.sees(first))
    network.cut(study)
    second.until(lambda: second.state.get("state") == "failed")
    second.mark()
    network.mend(study)
    second.until(lambda: second.sees(first))
    after = first.until(lambda: (seen := first.sees(second)) and seen["instance"] != before["instance"] and seen)
    assert after["addresses"]


def test_a_new_address_is_announced(network: Network, nodes: Any) -> None:
    """Another lease, another prefix: the others hear of it without asking."""
    first, second = nodes(network.machine("kitchen")), nodes(study := network.machine("study"))
    first.until(lambda: first.sees(second))
    study.run("ip", "address", "add", "10.77.0.99/16", "dev", "eth0")
    study.run("ip", "address", "del", study.ipv4 + "/24", "dev", "eth0")
    hosts = first.until(
        lambda: (
            (seen := first.sees(second))
            and (hosts := [host for host, _ in seen["addresses"]])
            and study.ipv4 not in hosts
            and hosts
        )
    )
    assert "10.77.0.99" in hosts


def test_an_excluded_interface_neither_hears_nor_speaks(network: Network, nodes: Any) -> None:
    """Who excludes the interface sees nobody there and is seen by nobody; another one on the same machine is."""
    here, there = network.machine("here"), network.machine("there")
    hidden, shown, other = nodes(here, "*", "!eth0"), nodes(here), nodes(there)
    other.until(lambda: other.sees(shown))
    shown.until(lambda: shown.sees(other))
    hidden.until(lambda: hidden.state)
    assert hidden.state["interfaces"] == ["lo"]
    assert other.sees(hidden) is None
    assert hidden.sees(other) is None


def test_who_leaves_says_goodbye_and_who_is_killed_is_swept(network: Network, nodes: Any) -> None:
    """A goodbye takes effect at once; a machine that vanished is forgotten after the next look around."""
    kitchen = network.machine("kitchen")
    first = nodes(kitchen)
    polite, killed = nodes(network.machine("polite")), nodes(network.machine("killed"))
    seen = first.until(lambda: first.sees(polite))
    lost = first.until(lambda: first.sees(killed))
    polite.tell("stop")
    first.until(lambda: {"event": "gone", "instance": seen["instance"]} in first.events)
    killed.process.kill()
    kitchen.run("ip", "address", "add", "10.77.0.98/24", "dev", "eth0")  # a network change: it looks around
    first.until(lambda: {"event": "gone", "instance": lost["instance"]} in first.events)


def test_a_pairing_name_crosses_the_network(network: Network, nodes: Any) -> None:
    """Shown while the window is open, withdrawn when it closes."""
    first, second = nodes(network.machine("kitchen")), nodes(network.machine("study"))
    assert first.until(lambda: first.sees(second))["name"] is None
    second.tell("announce study")
    first.until(lambda: (first.sees(second) or {}).get("name") == "study")
    second.tell("announce")
    first.until(lambda: (seen := first.sees(second)) and seen["name"] is None)
