"""rtnetlink (rtnetlink(7)): what the kernel says about links and addresses, and whether it is news.

Pure. The kernel repeats itself: every router advertisement renews the lifetime of an address, a wireless driver
reports its scans. `NetworkView` remembers just enough to tell such noise from a change that ends connections or
opens new ways: a link going up or down or losing its carrier, an address that becomes usable or goes.

    nlmsghdr   length u32, type u16, flags u16, sequence u32, port u32
    ifinfomsg  family u8, pad u8, type u16, index i32, flags u32, change u32
    ifaddrmsg  family u8, prefix u8, flags u8, scope u8, index u32
    rtattr     length u16, type u16, value; aligned to 4
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

MAX_REMEMBERED: Final = 4096

_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BBHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_WORD: Final = struct.Struct("=I")
_REQUEST_DUMP: Final = 0x1 | 0x300
_UP, _RUNNING, _LOWER_UP = 0x1, 0x40, 0x10000
_TENTATIVE, _DAD_FAILED = 0x40, 0x08
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_SLAVE_KIND = 3, 18, 4
_PORTS: Final = (b"bridge", b"bond", b"team")
_AF_INET, _AF_INET6 = 2, 10
_ERROR, _DONE, _MULTI = 2, 3, 0x2

T = TypeVar("T")


class LinkNews(msgspec.Struct, frozen=True):
    index: int
    name: str
    usable: bool  # up, with a carrier, and not the port of a bridge or bond, which speak through their master


class AddressNews(msgspec.Struct, frozen=True):
    index: int
    address: bytes
    prefix: int
    usable: bool


class Said(msgspec.Struct, frozen=True):
    """`listed` if it answers a dump: the state as it is, not an event."""

    news: LinkNews | AddressNews
    listed: bool


def dump_request(kind: int) -> bytes:
    """The request for everything of `kind` (RTM_GETLINK or RTM_GETADDR), one at a time per socket."""
    body = bytes(_ADDRESS.size if kind == RTM_GETADDR else _LINK.size)  # family 0: all of them
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, kind, 0) + body


def parse(datagram: bytes) -> tuple[list[Said], bool]:
    """What a datagram from the kernel says, and whether a dump ends with it.

    Kinds that are not of interest, and what is cut short, are left out.
    """
    said: list[Said] = []
    ends = False
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size or at + length > len(datagram):
            break
        body = datagram[at + _HEADER.size : at + length]
        ends = ends or kind in (_ERROR, _DONE)
        news = _link(kind, body) or _address(kind, body)
        if news is not None:
            said.append(Said(news, listed=bool(flags & _MULTI)))
        at += (length + 3) & ~3
    return said, ends


class NetworkView:
    """The links that are usable and their addresses. Feed it what `parse` gives.

    `wanted(name)` says which interfaces matter.
    """

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._links: set[int] = set()
        self._addresses: set[tuple[int, bytes, int]] = set()

    def apply(self, news: LinkNews | AddressNews) -> bool:
        """Take it in; whether it changes what is usable. An address of a link that is not usable is no news."""
        if isinstance(news, LinkNews):
            return _note(self._links, news.index, there=news.usable and self._wanted(news.name))
        key = (news.index, news.address, news.prefix)
        return _note(self._addresses, key, there=news.usable) and news.index in self._links


def _note(known: set[T], key: T, *, there: bool) -> bool:
    if there == (key in known):
        return False
    if not there:
        known.discard(key)
    elif len(known) < MAX_REMEMBERED:
        known.add(key)
    return True


def _link(kind: int, body: bytes) -> LinkNews | None:
    if kind not in (RTM_NEWLINK, RTM_DELLINK) or len(body) < _LINK.size:
        return None
    _, _, _, index, flags, _ = _LINK.unpack_from(body)
    name = ""
    port = False
    for number, value in _attributes(body[_LINK.size :]):
        if number == _IFLA_IFNAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif number == _IFLA_LINKINFO:
            port = dict(_attributes(value)).get(_IFLA_INFO_SLAVE_KIND, b"").rstrip(b"\0") in _PORTS
    there = flags & _UP and flags & (_RUNNING | _LOWER_UP)
    return LinkNews(index, name, usable=bool(kind == RTM_NEWLINK and there and not port))


def _address(kind: int, body: bytes) -> AddressNews | None:
    if kind not in (RTM_NEWADDR, RTM_DELADDR) or len(body) < _ADDRESS.size:
        return None
    family, prefix, flags, _, index = _ADDRESS.unpack_from(body)
    if family not in (_AF_INET, _AF_INET6):
        return None
    address = b""
    for number, value in _attributes(body[_ADDRESS.size :]):
        if number == _IFA_LOCAL or (number == _IFA_ADDRESS and not address):
            address = value
        elif number == _IFA_FLAGS and len(value) == _WORD.size:
            (flags,) = _WORD.unpack(value)
    if len(address) not in (4, 16):
        return None
    usable = kind == RTM_NEWADDR and not flags & (_TENTATIVE | _DAD_FAILED)
    return AddressNews(index, address, prefix, usable=usable)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, number = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            return
        yield number, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
