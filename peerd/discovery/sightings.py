"""A sighting: something said where a device may be. A hint, never an identity.

Also the rule which addresses of a stranger are worth dialling, and in what order.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peerd.discovery.interfaces import Interface

Address = tuple[str, int]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ADDRESSES = 16
LOWEST_PORT = 1024

_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7")
)  # RFC 1918, 3927, 4291 section 2.5.6, 4193


class Sighting(msgspec.Struct, frozen=True):
    """Addresses at which one announcement says its sender is reached, best first.

    `instance` is the same for as long as the announcement stands and says nothing else: it is made here, never
    taken from the network, so it may be logged. A static or remembered address has no nonce and no tags.
    """

    source: Literal["mdns", "static", "remembered"]
    instance: str
    addresses: tuple[Address, ...]
    nonce: bytes = b""
    tags: tuple[bytes, ...] = ()
    pairing_name: str | None = None


def dialable(announced: Iterable[tuple[bytes, int]], interface: Interface) -> tuple[Address, ...]:
    """What of the (packed address, port) pairs heard on `interface` may be dialled, best first.

    Only addresses that a router would not carry to the Internet, or that lie in a network of the interface itself;
    those of the loopback interface only when heard there, for elsewhere they mean ourselves. A link-local IPv6
    address gets the interface as its scope.
    """
    ranked: dict[Address, int] = {}
    for packed, port in announced:
        if len(packed) not in (4, 16) or not LOWEST_PORT <= port <= 0xFFFF:
            continue
        address = ipaddress.ip_address(packed)
        rank = _rank(address, interface)
        if rank is None:
            continue
        scoped = f"{address}%{interface.name}" if _needs_scope(address) else str(address)
        ranked[scoped, port] = rank
    return tuple(sorted(ranked, key=lambda each: ranked[each]))[:MAX_ADDRESSES]


def _needs_scope(address: IpAddress) -> bool:
    return address.version == 6 and address.is_link_local


def _rank(address: IpAddress, interface: Interface) -> int | None:
    """A small number for an address that is likely to answer, None for one that must not be dialled."""
    if address.is_loopback:
        return 0 if interface.loopback else None
    if interface.loopback or address.is_multicast or address.is_unspecified:
        return None
    on_link = any(address in network for network in interface.networks)
    if not on_link and not any(address in network for network in _LOCAL):
        return None
    if _needs_scope(address):
        return 2  # between the families: it works where neither has a common network, but not on every driver
    if on_link:
        return 1 if address.version == 4 else 3
    return 4
