"""The network interfaces of this machine, and which of them are meant by the configuration."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import ifaddr
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES_EACH: Final = 8

_SHORTEST_PREFIX: Final = 8  # half of the Internet is no local network, whatever a tunnel was configured with
_SIOCGIFFLAGS: Final = 0x8913
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING, _MULTICAST = 0x1, 0x8, 0x10, 0x40, 0x1000  # netdevice(7)


class Interface(msgspec.Struct, frozen=True):
    """An interface that is up and has an address. Two readings are equal if nothing that matters here changed.

    `wanted_by_star` is false where "*" should not reach: tunnels to elsewhere, and the ports of a bridge, which
    speak through it.
    """

    name: str
    index: int
    loopback: bool
    addresses: tuple[str, ...]  # without scope, at most `MAX_ADDRESSES_EACH`
    networks: tuple[IpNetwork, ...]
    wanted_by_star: bool = True

    @property
    def ipv4(self) -> str | None:
        """The first IPv4 address."""
        return next((address for address in self.addresses if ":" not in address), None)

    @property
    def ipv6(self) -> str | None:
        """The first IPv6 address."""
        return next((address for address in self.addresses if ":" in address), None)


def read_interfaces() -> list[Interface]:
    """Every interface that is up, carries multicast or is the loopback, and has an address.

    Raises:
        OSError: the kernel refuses to say (a sandbox without AF_NETLINK).
    """
    found: dict[str, list[ifaddr.IP]] = {}
    for adapter in ifaddr.get_adapters():
        # An address with a label of its own ("eth0:1") still belongs to the interface before the colon.
        found.setdefault(str(adapter.name).partition(":")[0], []).extend(adapter.ips)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        read = [_interface(handle, name, ips) for name, ips in found.items()]
    return sorted((each for each in read if each is not None), key=lambda each: each.index)


def choose(interfaces: Iterable[Interface], patterns: Sequence[str]) -> list[Interface]:
    """Those that are `named` by the patterns, the loopback last.

    "*" means every interface of a local network; a tunnel or the port of a bridge must be named otherwise ("wg0",
    "tun*").
    """
    spelled_out = [pattern for pattern in patterns if pattern != "*" and not pattern.startswith("!")]
    chosen = [
        each
        for each in interfaces
        if named(each.name, patterns)
        and (each.wanted_by_star or any(fnmatchcase(each.name, pattern) for pattern in spelled_out))
    ]
    return sorted(chosen, key=lambda each: (each.loopback, each.index))


def named(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the interface and none that begins with "!" excludes it.

    A list of exclusions alone starts from all.
    """
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    included = [pattern for pattern in patterns if not pattern.startswith("!")] or ["*"]
    return any(fnmatchcase(name, p) for p in included) and not any(fnmatchcase(name, p) for p in excluded)


def _interface(handle: socket.socket, name: str, ips: list[ifaddr.IP]) -> Interface | None:
    try:
        flags = _flags(handle, name)
        index = socket.if_nametoindex(name)
    except OSError:
        return None  # gone since it was listed
    loopback = bool(flags & _LOOPBACK)
    if not flags & _UP or not flags & _RUNNING or not (flags & _MULTICAST or loopback):
        return None
    numbered = [(ip.ip if isinstance(ip.ip, str) else ip.ip[0], ip.network_prefix) for ip in ips]
    if loopback:
        # Linux has no route for IPv6 multicast on the loopback; IPv4 does without one.
        numbered = [(text, prefix) for text, prefix in numbered if text.startswith("127.")]
    if not numbered:
        return None
    networks = (ipaddress.ip_network(f"{text}/{prefix}", strict=False) for text, prefix in numbered)
    return Interface(
        name=name,
        index=index,
        loopback=loopback,
        addresses=tuple(text for text, _ in numbered[:MAX_ADDRESSES_EACH]),
        networks=tuple(network for network in networks if network.prefixlen >= _SHORTEST_PREFIX),
        wanted_by_star=not flags & _POINT_TO_POINT and not Path(f"/sys/class/net/{name}/brport").exists(),
    )


def _flags(handle: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(handle, _SIOCGIFFLAGS, struct.pack("16sH14x", name.encode()[:15], 0))
    return int(struct.unpack("16sH14x", answer)[1])
