"""What the kernel's messages mean, with messages caught from a real kernel, made ones, and garbage."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from peerd.discovery.netlink import (
    MAX_REMEMBERED,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    AddressNews,
    LinkNews,
    NetworkView,
    dump_request,
    parse,
)

UP, RUNNING, LOWER_UP = 0x1, 0x40, 0x10000
CARRIER = UP | RUNNING | LOWER_UP
TENTATIVE = 0x40

# Caught with a socket in all three groups while `ip address add 10.7.7.7/24 dev eth0` ran, then `ip link set eth0
# down`, on an x86-64 kernel 6.18 in a fresh namespace with a veth pair.
CAUGHT_ADDRESS = bytes.fromhex(
    "50000000140000007df9036b463b00000218800002000000080001000a070707080002000a070707090003006574683000000000"
    "080008008000000014000600ffffffffffffffffebe30300ebe30300"
)
CAUGHT_DOWN = bytes.fromhex(
    "e00500001000000000000000000000000000010002000000021000000100000009000300657468300000000008000d00e8030000"
    "05001000020000000500110000000000050043000000000008000400dc050000080032004400000008003300ffff000008001b00"
    "0000000008001e000000000008003d000000000008001f000200000008002800ffff0000080029000000010008003a0000000100"
    "08003f0000000100080040000000010008003b00f8ff070008003c00ffff00000800420000000000080020000200000005002100"
    "00000000080023000300000008002f00010000000800300002000000060044000000000006004500000000000500270000000000"
    "0a000100e68fa55d318400000a000200ffffffffffff0000cc001700040000000000000003000000000000006001000000000000"
    "22010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000006400070004000000030000006001000022010000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000c002b000500020000000000100012000900010076657468000000000800250000000000"
    "08000500030000000c0006006e6f71756575650030031a008c000200880001000000000000000000000000000100000001000000"
    "01000000010000000000000001000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000010270000e8030000000000000000000000000000"
    "0000000001000000a0020a00080001001000008014000500ffff0000b8e3030038420000e8030000f40002000000000040000000"
    "dc05000001000000010000000100000001000000ffffffffa00f0000e803000000000000803a0900805101000300000058020000"
    "100000000000000001000000010000000100000060ea000000000000000000000000000000000000000000000000000000000000"
    "000000000000000010270000e8030000010000000000000000000000010000000000000000000000010000000000000000000000"
    "000000000000000080ee360000000000000000000100000000000000000000000000000000000000000000000004000000000000"
    "ffff0000ffffffff0100000000000000000000000000000034010300260000000000000004000000000000002801000000000000"
    "00000000000000000400000000000000000000000000000000000000000000000000000000000000030000000000000003000000"
    "00000000f80000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000400000000000000"
    "0300000000000000000000000000000000000000000000002801000000000000f800000000000000000000000000000000000000"
    "00000000000000000000000000000000000000003c00060007000000000000000000000000000000000000000000000003000000"
    "00000000000000000000000000000000000000000000000000000000140007000000000000000000000000000000000005000800"
    "0000000024000e00000000000000000000000000000000000000000000000000000000000000000004003e8004004180"
)

little_endian_only = pytest.mark.skipif(struct.pack("=H", 1)[0] == 0, reason="the caught bytes are little-endian")


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def link(index: int, flags: int, *more: bytes, kind: int = RTM_NEWLINK, name: bytes = b"eth0") -> bytes:
    body = struct.pack("=BBHiII", 0, 0, 1, index, flags, 0) + attribute(3, name + b"\0") + b"".join(more)
    return message(kind, body)


def address(text: str, index: int = 2, flags: int = 0, kind: int = RTM_NEWADDR, *more: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    body = struct.pack("=BBBBI", family, 24, flags, 0, index) + attribute(1, socket.inet_pton(family, text))
    return message(kind, body + b"".join(more))


def news(datagram: bytes) -> list[LinkNews | AddressNews]:
    return [each.news for each in parse(datagram)[0]]


@little_endian_only
def test_a_caught_address_is_read() -> None:
    """The local address, its prefix and its interface, from a real kernel's bytes."""
    (read,) = [each for each in news(CAUGHT_ADDRESS) if isinstance(each, AddressNews)]
    assert socket.inet_ntoa(read.address) == "10.7.7.7"
    assert read.prefix == 24
    assert read.usable


@little_endian_only
def test_a_caught_link_is_read() -> None:
    """The name and that it is of no use any more."""
    links = [each for each in news(CAUGHT_DOWN) if isinstance(each, LinkNews)]
    assert links
    assert {each.name for each in links} == {"eth0"}
    assert not links[-1].usable


@pytest.mark.parametrize(
    ("flags", "usable"), [(CARRIER, True), (UP | RUNNING, True), (UP, False), (RUNNING | LOWER_UP, False), (0, False)]
)
def test_a_link_is_usable_when_it_is_up_with_a_carrier(flags: int, usable: bool) -> None:  # noqa: FBT001 - a table
    """Either of the kernel's two words for a carrier counts."""
    assert news(link(2, flags)) == [LinkNews(2, "eth0", usable=usable)]


def test_a_deleted_link_and_a_port_of_a_bridge_are_not_usable() -> None:
    """Containers come and go as ports of a bridge; the bridge is what speaks."""
    port = attribute(18, attribute(1, b"veth\0") + attribute(4, b"bridge\0"))
    assert news(link(2, CARRIER, kind=RTM_DELLINK)) == [LinkNews(2, "eth0", usable=False)]
    assert news(link(2, CARRIER, port)) == [LinkNews(2, "eth0", usable=False)]
    assert news(link(2, CARRIER, attribute(18, attribute(1, b"veth\0")))) == [LinkNews(2, "eth0", usable=True)]


def test_a_tentative_address_is_not_usable_yet() -> None:
    """Duplicate address detection first; both places for the flags count, the wider one last."""
    packed = socket.inet_pton(socket.AF_INET6, "fe80::1")
    wide = attribute(8, struct.pack("=I", TENTATIVE))
    assert news(address("fe80::1", flags=TENTATIVE)) == [AddressNews(2, packed, 24, usable=False)]
    assert news(address("fe80::1", 2, 0, RTM_NEWADDR, wide)) == [AddressNews(2, packed, 24, usable=False)]
    assert news(address("fe80::1")) == [AddressNews(2, packed, 24, usable=True)]
    assert news(address("fe80::1", kind=RTM_DELADDR)) == [AddressNews(2, packed, 24, usable=False)]


def test_a_datagram_holds_several_messages_and_may_end_a_dump() -> None:
    """Messages are aligned to four bytes; a listed state is told from an event by its flag."""
    listed = message(RTM_NEWLINK, link(3, CARRIER, name=b"wlan0")[16:], flags=2)
    said, ends = parse(listed + address("10.0.0.1") + message(3, bytes(4)))
    assert [each.listed for each in said] == [True, False]
    assert ends
    assert parse(message(2, bytes(20)))[1]
    assert not parse(listed)[1]


def test_only_what_changes_something_is_news() -> None:
    """Renewed lifetimes and repeated states are noise; a carrier or an address that comes or goes is not."""
    view = NetworkView(lambda _: True)

    def tell(datagram: bytes) -> list[bool]:
        return [view.apply(each) for each in news(datagram)]

    assert tell(link(2, CARRIER)) == [True]
    assert tell(link(2, CARRIER)) == [False]
    assert tell(address("10.0.0.1")) == [True]
    assert tell(address("10.0.0.1")) == [False]
    assert tell(address("fe80::1", flags=TENTATIVE)) == [False]
    assert tell(address("fe80::1")) == [True]
    assert tell(link(2, UP)) == [True]
    assert tell(address("10.0.0.1", kind=RTM_DELADDR)) == [False]  # the link is down anyway
    assert tell(link(2, CARRIER)) == [True]
    assert tell(address("fe80::1", kind=RTM_DELADDR)) == [True]


def test_interfaces_that_nobody_chose_are_no_news() -> None:
    """Neither they nor their addresses."""
    view = NetworkView(lambda name: name != "docker0")
    for datagram in (link(5, CARRIER, name=b"docker0"), address("172.17.0.1", 5), link(5, UP, name=b"docker0")):
        assert [view.apply(each) for each in news(datagram)] == [False]


def test_what_is_remembered_is_bounded() -> None:
    """A namespace with endless addresses does not make the daemon grow."""
    view = NetworkView(lambda _: True)
    for n in range(MAX_REMEMBERED + 100):
        view.apply(AddressNews(2, n.to_bytes(16), 64, usable=True))
    assert len(view._addresses) == MAX_REMEMBERED


def test_garbage_and_cut_messages_never_raise() -> None:
    """Whatever is in the buffer, the parser ends, and what it gives has the right shape."""
    chance = random.Random(11)
    whole = link(2, CARRIER, attribute(18, attribute(4, b"bridge\0"))) + address("10.0.0.1") + address("fe80::1")
    view = NetworkView(lambda _: True)
    for _ in range(20_000):
        mutated = bytearray(whole)
        for _ in range(chance.randrange(6)):
            mutated[chance.randrange(len(mutated))] = chance.choice((0, 1, 4, 255, chance.randrange(256)))
        for each in news(bytes(mutated[: chance.randrange(len(mutated) + 1)])):
            view.apply(each)
            if isinstance(each, AddressNews):
                assert len(each.address) in (4, 16)
    assert news(b"") == []
    assert news(bytes(200)) == []


def test_the_requests_are_what_the_kernel_answers() -> None:
    """A dump of links and of addresses, each ended by the kernel, names the loopback."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(5)
        for kind in (RTM_GETLINK, RTM_GETADDR):
            kernel.send(dump_request(kind))
            said, ends = [], False
            while not ends:
                more, ends = parse(kernel.recv(1 << 16))
                said += more
            assert all(each.listed for each in said)
            if kind == RTM_GETLINK:
                assert "lo" in {each.news.name for each in said if isinstance(each.news, LinkNews)}
            else:
                assert b"\x7f\0\0\1" in {each.news.address for each in said if isinstance(each.news, AddressNews)}
