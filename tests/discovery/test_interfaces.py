"""Which interfaces there are and which are meant."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from peerd.discovery.interfaces import Interface, choose, named, read_interfaces

if TYPE_CHECKING:
    from tests.support.namespaces import Network


def interface(name: str, index: int, *, star: bool = True) -> Interface:
    return Interface(name=name, index=index, loopback=name == "lo", addresses=(), networks=(), wanted_by_star=star)


ALL = [
    interface("lo", 1),
    interface("eth0", 2),
    interface("wlan0", 3),
    interface("docker0", 4),
    interface("tun0", 5, star=False),
]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*"], ["eth0", "wlan0", "docker0", "lo"]),
        (["eth0"], ["eth0"]),
        (["wlan*", "eth?"], ["eth0", "wlan0"]),
        (["*", "!docker0"], ["eth0", "wlan0", "lo"]),
        (["!docker*", "!lo"], ["eth0", "wlan0"]),
        (["tun0"], ["tun0"]),
        (["*", "tun*"], ["eth0", "wlan0", "docker0", "tun0", "lo"]),
        (["eth0", "!eth0"], []),
        (["ETH0"], []),
        (["lo"], ["lo"]),
    ],
)
def test_patterns_choose(patterns: list[str], names: list[str]) -> None:
    """Names, globs and exclusions; tunnels only when spelled out; the loopback last."""
    assert [each.name for each in choose(ALL, patterns)] == names


def test_a_name_alone_can_be_asked_for() -> None:
    """The watcher of the network knows names before it knows anything else."""
    assert named("eth0", ["*"])
    assert not named("docker0", ["*", "!docker0"])
    assert named("wlan0", ["!docker0"])


def test_the_loopback_of_this_machine_is_read() -> None:
    """IPv4 only: Linux does not route IPv6 multicast there."""
    (lo,) = [each for each in read_interfaces() if each.loopback]
    assert lo.ipv4 == "127.0.0.1"
    assert lo.ipv6 is None
    assert lo.index > 0


@pytest.mark.namespaces
def test_real_interfaces_are_read(network: Network) -> None:
    """An interface that is up with its addresses and networks; not one that is down, nor one without a carrier."""
    machine, other = network.machine("here"), network.machine("there", up=False)
    with machine.entered():
        (eth,) = [each for each in read_interfaces() if not each.loopback]
    assert eth.name == "eth0"
    assert eth.ipv4 == machine.ipv4
    assert machine.ipv6 in eth.addresses
    assert any(address.startswith("fe80::") for address in eth.addresses)
    assert ipaddress.ip_network("10.77.0.0/24") in eth.networks
    assert eth.wanted_by_star
    with other.entered():
        assert [each.name for each in read_interfaces()] == ["lo"]
    network.cut(machine)
    with machine.entered():
        assert [each.name for each in read_interfaces()] == ["lo"]


@pytest.mark.namespaces
def test_labels_tunnels_and_wide_networks(network: Network) -> None:
    """A labelled address belongs to its interface; a tunnel is not reached by "*", and half the Internet is no link."""
    machine = network.machine("here")
    machine.run("ip", "address", "add", "10.78.0.1/24", "dev", "eth0", "label", "eth0:1")
    machine.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
    machine.run("ip", "address", "add", "10.9.0.1/1", "dev", "eth0")
    with machine.entered():
        (eth,) = [each for each in read_interfaces() if each.name.startswith("eth0")]
    assert "10.78.0.1" in eth.addresses
    assert all(network.prefixlen >= 8 for network in eth.networks)
