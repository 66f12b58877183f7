"""What one interface hears: real packets taken apart, mutated, and sent in floods."""

from __future__ import annotations

import asyncio
import random
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from zeroconf import (  # type: ignore[attr-defined] # absent from its __all__
    DNSAddress,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSService,
    DNSText,
)

from peerd.core.tags import Announcement, encode_txt
from peerd.discovery.gate import BURST_PACKETS
from peerd.discovery.interfaces import read_interfaces
from peerd.discovery.station import MAX_TXT_BYTES, SERVICE_TYPE, Station, split_txt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.usefixtures("quiet_loopback")

NONCE = bytes(range(16))
GROUP = "224.0.0.251"
FROM = ("127.0.0.1", 5353)


class Ear:
    """An open station on the loopback whose datagrams come from the test."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Announcement | None, tuple[tuple[str, int], ...]]] = []
        (lo,) = [each for each in read_interfaces() if each.loopback]
        self.news = asyncio.Event()
        self.station = Station(lo, self._hear)

    def _hear(self, name: str, said: Announcement | None, addresses: tuple[tuple[str, int], ...]) -> None:
        self.heard.append((name, said, addresses))
        self.news.set()

    def receive(self, packet: bytes) -> None:
        """As if it had come from the network; the rate is not what these tests are about."""
        gate = self.station._gates[0]
        gate._allowance._left = BURST_PACKETS
        gate.datagram_received(packet, FROM)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    made = Ear()
    await made.station.open()
    yield made
    await made.station.close()


def txt(said: Announcement) -> bytes:
    entries = (key + b"=" + value for key, value in encode_txt(said).items())
    return b"".join(bytes([len(entry)]) + entry for entry in entries)


def announcement(
    instance: str = "abc",
    *,
    text: bytes | None = None,
    port: int = 7337,
    host: str = "peerd-h.local.",
    addresses: tuple[bytes, ...] = (b"\x7f\0\0\1",),
    ttl: int = 1200,
    leave_out: type | None = None,
) -> bytes:
    name = f"{instance}.{SERVICE_TYPE}"
    records: list[Any] = [
        DNSPointer(SERVICE_TYPE, 12, 1, ttl, name, 0.0),
        DNSService(name, 33, 0x8001, ttl, 0, 0, port, host, 0.0),
        DNSText(name, 16, 0x8001, ttl, txt(Announcement(NONCE)) if text is None else text, 0.0),
        *(DNSAddress(host, 1 if len(a) == 4 else 28, 0x8001, ttl, a, created=0.0) for a in addresses),
    ]
    out = DNSOutgoing(0x8400)
    for record in records:
        if type(record) is not leave_out:
            out.add_answer_at_time(record, 0)
    return out.packets()[0]


def test_the_entries_of_a_txt_record() -> None:
    """The first of a key counts; a key may have no value; a record that is cut or long says nothing."""
    assert split_txt(b"\x03a=1\x03a=2\x01b\x03c==\0") == {b"a": b"1", b"b": None, b"c": b"=", b"": None}
    assert split_txt(b"\x05a=1") == {}
    assert split_txt(b"\x03a=1" * (MAX_TXT_BYTES // 4 + 1)) == {}
    assert split_txt(b"") == {}


async def test_a_whole_announcement_is_heard(ear: Ear) -> None:
    """Instance, words and addresses from one packet."""
    ear.receive(announcement())
    assert ear.heard == [("abc", Announcement(NONCE), (("127.0.0.1", 7337),))]


async def test_a_goodbye_is_heard(ear: Ear) -> None:
    """The pointer with no time to live ends what it announced."""
    ear.receive(announcement())
    ear.receive(announcement(ttl=0))
    assert ear.heard[1:] == [("abc", None, ())]


@pytest.mark.parametrize(
    "packet",
    [
        announcement(leave_out=DNSText),
        announcement(leave_out=DNSService),
        announcement(leave_out=DNSAddress),
        announcement(text=b"\x03v=1"),
        announcement(text=txt(Announcement(NONCE)) + bytes(600)),
        announcement(port=80),
        announcement(addresses=(b"\x08\x08\x08\x08",)),
        announcement("a b\x1b[31m"),
        announcement("_other"),
        announcement("a.b"),
        announcement().replace(b"_peerd", b"_Peerd"),
    ],
    ids=[
        "no text", "no service", "no address", "no nonce", "long text", "low port", "public address", "escape",
        "underscore", "two labels", "another type",
    ],
)  # fmt: skip
async def test_anything_less_is_not_heard(ear: Ear, packet: bytes) -> None:
    """Nothing is put together from several packets and nothing doubtful is believed."""
    ear.receive(packet)
    ear.receive(announcement("good"))
    assert [said[0] for said in ear.heard] == ["good"]


async def test_mutated_packets_do_no_harm(ear: Ear, log_events: Callable[[], list[dict[str, Any]]]) -> None:
    """Thousands of real packets with wrong bytes: no exception, no log line, and the next good packet is heard."""
    chance = random.Random(13)
    ear.station.announce(7337, "own", "h", Announcement(NONCE[::-1]))
    await asyncio.sleep(0)
    question = DNSOutgoing(0)
    for name, kind in ((SERVICE_TYPE, 12), (f"own.{SERVICE_TYPE}", 255), ("peerd-h.local.", 28)):
        question.add_question(DNSQuestion(name, kind, 0x8001))
    whole = [question.packets()[0]] * 10 + [
        announcement(f"n{n}", text=txt(Announcement(NONCE, (b"t" * 8,), "kitchen")), addresses=(b"\x7f\0\0\1",) * 3)
        for n in range(20)
    ]
    for _ in range(6000):
        mutated = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(1, 8)):
            mutated[chance.randrange(len(mutated))] = chance.choice((0, 0xC0, 0xFF, chance.randrange(256)))
        ear.receive(bytes(mutated[: chance.choice((len(mutated), chance.randrange(len(mutated)) + 1))]))
    for name, said, addresses in ear.heard:
        assert name.isascii()
        assert name.isprintable()
        assert (said is None) == (addresses == ())
    ear.heard.clear()
    ear.receive(announcement("good"))
    assert ear.heard[-1][0] == "good"
    await asyncio.sleep(0.3)  # answers that were delayed go out
    assert log_events() == []


async def test_a_flood_of_names_does_not_make_it_grow(ear: Ear) -> None:
    """A host that invents records with the longest lives: after the library's cache is full, memory stays."""
    chance = random.Random(17)

    def flood(packets: int) -> None:
        for _ in range(packets):
            out = DNSOutgoing(0x8400)
            for _ in range(20):
                name = f"{chance.randbytes(8).hex()}.{SERVICE_TYPE}"
                out.add_answer_at_time(DNSPointer(SERVICE_TYPE, 12, 1, 2**31 - 1, name, 0.0), 0)
            ear.receive(out.packets()[0])

    flood(600)  # 12,000 records: more than the cache takes
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    flood(1000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # The 10,000 cached records are replaced by traced ones, some 700 bytes each; a timer per name would double it
    # with every 10,000 names.
    assert grown < 12 << 20
    ear.receive(announcement("good"))
    assert ear.heard[-1][0] == "good"


async def test_what_is_said_on_another_interface_is_not_heard(ear: Ear) -> None:
    """Also where another program of this machine listens there: the interface was not chosen, it gets no answer."""
    others = [each.ipv4 for each in read_interfaces() if not each.loopback and each.ipv4]
    if not others:
        pytest.skip("this machine has only its loopback")
    with sharing_5353() as avahi:
        for address in (others[0], "127.0.0.1"):
            packed = socket.inet_aton(address)
            avahi.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + packed)
            avahi.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, packed)
            avahi.sendto(announcement("there" if address == others[0] else "here"), (GROUP, 5353))
    await asyncio.wait_for(ear.news.wait(), 10)
    assert [said[0] for said in ear.heard] == ["here"]


def sharing_5353() -> socket.socket:
    """A socket as another responder on this machine has one."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(("", 5353))
    return opened


async def test_a_deaf_station_hears_nothing(ear: Ear) -> None:
    """Between being replaced and being closed."""
    ear.station.deafen()
    ear.receive(announcement())
    assert ear.heard == []


async def test_closing_twice_or_unopened_is_harmless() -> None:
    """Whatever went wrong before."""
    ear = Ear()
    await ear.station.close()
    ear.station.announce(7337, "abc", "h", Announcement(NONCE))
    ear.station.ask()
    await ear.station.open()
    ear.station.announce(7337, "abc", "h", Announcement(NONCE))
    await asyncio.gather(ear.station.close(), ear.station.close())
