"""Which announced addresses may be dialled, and in what order."""

from __future__ import annotations

import ipaddress
import random
import socket

import pytest

from peerd.discovery.interfaces import Interface
from peerd.discovery.sightings import MAX_ADDRESSES, dialable

ETH = Interface(
    name="eth0",
    index=2,
    loopback=False,
    addresses=("192.168.1.2", "2001:db8:1::2"),
    networks=(ipaddress.ip_network("192.168.1.0/24"), ipaddress.ip_network("2001:db8:1::/64")),
)
LO = Interface(name="lo", index=1, loopback=True, addresses=("127.0.0.1",), networks=())


def pack(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def hosts(*texts: str, on: Interface = ETH) -> list[str]:
    return [host for host, _ in dialable([(pack(text), 7337) for text in texts], on)]


def test_the_best_address_comes_first() -> None:
    """Our own IPv4 network, then link-local IPv6 with its scope, then our own IPv6 network, then other local ones."""
    announced = ("10.9.9.9", "2001:db8:1::7", "fe80::7", "192.168.1.7", "fd00::7")
    assert hosts(*announced) == ["192.168.1.7", "fe80::7%eth0", "2001:db8:1::7", "10.9.9.9", "fd00::7"]


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "2001:db8:2::1", "224.0.0.1", "ff02::1", "::", "255.255.255.255", "240.0.0.1", "100.64.0.1"],
)
def test_an_address_that_leads_out_of_the_local_network_is_not_dialled(text: str) -> None:
    """A stranger on the link must not aim this daemon at the Internet."""
    assert hosts(text) == []
    assert dialable([(bytes(4), 7337)], ETH) == ()


def test_a_public_address_of_our_own_network_is_local() -> None:
    """Some networks have only public addresses."""
    assert hosts("2001:db8:1::9") == ["2001:db8:1::9"]


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_counts_only_where_it_was_heard_on_the_loopback(text: str) -> None:
    """Anywhere else it would mean ourselves."""
    assert hosts(text) == []


def test_on_the_loopback_nothing_else_counts() -> None:
    """What is said there is meant for this machine."""
    assert hosts("127.0.0.1", "10.0.0.1", "fe80::1", on=LO) == ["127.0.0.1"]


@pytest.mark.parametrize("port", [0, 22, 1023, 65536])
def test_ports_of_system_services_are_not_dialled(port: int) -> None:
    """Nor are impossible ones."""
    assert dialable([(pack("192.168.1.7"), port)], ETH) == ()
    assert dialable([(pack("192.168.1.7"), 1024)], ETH) == (("192.168.1.7", 1024),)


def test_the_number_of_addresses_is_bounded_and_each_is_named_once() -> None:
    """However many were announced."""
    many = [(pack(f"192.168.1.{n}"), 7337) for n in range(200)]
    assert len(dialable(many + many, ETH)) == MAX_ADDRESSES
    assert len(dialable([many[0]] * 9, ETH)) == 1


def test_any_bytes_are_an_address_or_nothing() -> None:
    """Wrong lengths and random addresses never raise."""
    chance = random.Random(3)
    for _ in range(2000):
        packed = chance.randbytes(chance.choice((0, 3, 4, 4, 16, 16, 17)))
        for host, port in dialable([(packed, chance.randrange(-1, 70000))], ETH):
            ipaddress.ip_address(host)
            assert 1024 <= port <= 65535
