from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from peerd.errors import ConfigError, RemoteProtocolError
from peerd.identity import Identity
from peerd.net.dialer import Dialer, DialFailed
from peerd.net.limits import Limits
from peerd.net.link import INTRODUCE, PAIR, SYNC, Link, LinkClosed
from peerd.net.listener import Listener
from peerd.net.tls import client_context

Open = Callable[..., Awaitable[Any]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
BRIEF = Limits(opening_s=0.2, per_address=100, in_all=100, handshakes_per_s=1e6)


@asynccontextmanager
async def knock(station: Any, source: str = "127.0.0.1", **options: Any) -> AsyncIterator[Streams]:
    """A plain TCP connection to the station from this loopback address."""
    reader, writer = await asyncio.open_connection(*station.address, local_addr=(source, 0), **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def is_dropped(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection over which nothing is said."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def waits(station: Any, count: int) -> None:
    """Wait until so many connections count as not authenticated."""
    async with asyncio.timeout(5):
        while station.listener.waiting != count:  # noqa: ASYNC110 - a counter rings nobody
            await asyncio.sleep(0.005)


async def test_who_says_nothing_is_dropped(open_station: Open) -> None:
    """A connection that does not begin TLS is gone after the opening time, and counts no longer."""
    station = await open_station(BRIEF)
    async with knock(station) as (reader, _):
        assert await is_dropped(reader)
    await waits(station, 0)


async def test_who_drips_tls_is_dropped(open_station: Open) -> None:
    """A handshake that goes on and on, a byte at a time, ends with the opening time too."""
    station = await open_station(BRIEF)
    async with knock(station) as (reader, writer):
        dropped = asyncio.create_task(is_dropped(reader))
        for byte in b"\x16\x03\x01\x20\x00\x01" + bytes(10_000):
            if dropped.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        assert dropped.done()
        assert await dropped
    await waits(station, 0)


async def test_who_asks_nothing_after_tls_is_dropped(open_station: Open, friend: Identity) -> None:
    """The opening time covers TLS and the request together, for members as well."""
    station = await open_station(BRIEF)
    station.admit(friend)
    async with knock(station, ssl=client_context(friend), server_hostname="") as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: pee")
        assert await is_dropped(reader)
    await waits(station, 0)
    assert not station.asked


async def test_the_fifth_connection_of_an_address_is_dropped(open_station: Open) -> None:
    """Four unauthenticated connections of one address are open; the fifth is closed at once, that of another
    address is not, and when one of the four goes there is room again.
    """
    station = await open_station(Limits(opening_s=60, handshakes_per_s=1e6))
    async with knock(station) as (_, first), knock(station), knock(station), knock(station):
        await waits(station, 4)
        async with knock(station) as (reader, _):
            assert await is_dropped(reader)
        async with knock(station, "127.0.0.2"):
            await waits(station, 5)
        await waits(station, 4)
        first.transport.abort()
        await waits(station, 3)
        async with knock(station):
            await waits(station, 4)


async def test_the_33rd_connection_is_dropped(open_station: Open) -> None:
    """However many addresses they come from."""
    station = await open_station(Limits(opening_s=60, handshakes_per_s=1e6))
    held = []
    for number in range(32):
        source = (f"127.0.0.{2 + number // 4}", 0)
        held.append(await asyncio.open_connection(*station.address, local_addr=source))
    await waits(station, 32)
    async with knock(station, "127.0.0.99") as (reader, _):
        assert await is_dropped(reader)
    for _, writer in held:
        writer.transport.abort()
    await waits(station, 0)


async def test_the_eleventh_handshake_of_a_second_is_dropped(open_station: Open) -> None:
    """Ten handshakes are begun at once, not eleven. No time passes here, so that the eleventh never fits."""
    station = await open_station(Limits(opening_s=60, handshakes_per_s=10, per_address=100))
    station.listener._gate._fill = lambda _now_s: None
    held = [await asyncio.open_connection(*station.address) for _ in range(10)]
    await waits(station, 10)
    async with knock(station) as (reader, _):
        assert await is_dropped(reader)
    for _, writer in held:
        writer.transport.abort()
    await waits(station, 0)


@pytest.mark.parametrize("subprotocol", [PAIR, INTRODUCE])
async def test_links_of_members_do_not_count(open_station: Open, friend: Identity, subprotocol: str) -> None:
    """A member's link takes no place from those that have not said who they are; one to pair or to say it does."""
    station = await open_station(Limits(opening_s=60, handshakes_per_s=1e6, per_address=1))
    for _ in range(3):
        await station.link_from(friend)
        await waits(station, 0)
    station.pairing = True
    dialed, _ = await station.link_from(friend, subprotocol)
    await waits(station, 1)
    with pytest.raises(DialFailed) as failed:
        await Dialer(friend).dial(station.address, SYNC, None)
    assert failed.value.code == "busy"
    station.release.set()
    with pytest.raises(LinkClosed):
        await dialed.receive()
    await waits(station, 0)


async def test_one_device_has_eight_links(station: Any, friend: Identity, stranger: Identity) -> None:
    """The ninth is told that this device is busy; other devices are not affected, and ends make room."""
    for _ in range(7):
        await station.link_from(friend)
    dialed, _ = await station.link_from(friend)
    station.listener._limits = Limits(per_address=100, links_per_device=8)
    with pytest.raises(DialFailed, match="too many links") as failed:
        await Dialer(friend).dial(station.address, SYNC, None)
    assert failed.value.code == "busy"
    await station.link_from(stranger)
    station.release.set()
    with pytest.raises(LinkClosed):
        await dialed.receive()
    await station.link_from(friend)


async def test_a_link_belongs_to_its_owner_until_it_returns(station: Any, friend: Identity) -> None:
    """`on_link` gets the link; when it returns, the link is closed with 1000."""
    dialed, accepted = await station.link_from(friend)
    await accepted.send(b"mine")
    assert await dialed.receive() == b"mine"
    station.release.set()
    with pytest.raises(LinkClosed) as lost:
        await dialed.receive()
    assert lost.value.close_code == 1000


@pytest.mark.parametrize(
    ("error", "code", "level"),
    [
        (ZeroDivisionError("a bug"), 1011, "error"),
        (RemoteProtocolError("bad frame", close_code=4400), 4400, "debug"),
    ],
)
async def test_an_owner_that_fails(station: Any, friend: Identity, error: Exception, code: int, level: str) -> None:
    """A bug of the owner ends its link with 1011 and is logged; a protocol error closes with its own code.
    The listener goes on.
    """

    async def fail(_link: Link) -> None:
        raise error

    station.on_link = fail
    station.admit(friend)
    with capture_logs() as logged:
        dialed = await Dialer(friend).dial(station.address, SYNC, None)
        with pytest.raises(LinkClosed) as lost:
            await dialed.receive()
    assert lost.value.close_code == code
    assert level in {event["log_level"] for event in logged}
    station.on_link = station.hold
    await station.link_from(friend)


async def test_stopping_says_goodbye(open_station: Open, friend: Identity) -> None:
    """Links end with 1001, half-open connections just end, the port is free, and owners have returned."""
    station = await open_station()
    ended: list[LinkClosed] = []

    async def own(link: Link) -> None:
        try:
            await link.receive()
        except LinkClosed as lost:
            ended.append(lost)

    station.on_link = own
    station.admit(friend)
    dialed = await Dialer(friend).dial(station.address, SYNC, None)
    address = station.address
    async with knock(station) as (reader, _):
        await waits(station, 1)
        hearing = asyncio.create_task(dialed.receive())
        await station.listener.stop()
        assert await is_dropped(reader)
    with pytest.raises(LinkClosed) as lost:
        await hearing
    assert (lost.value.close_code, lost.value.reason) == (1001, "going away")
    assert [one.ours for one in ended] == [True]
    assert station.listener.addresses == []
    socket.create_server(address).close()


async def test_stopping_ends_an_owner_that_does_not(
    open_station: Open, friend: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that does not notice the end of its link is cancelled after a while."""
    monkeypatch.setattr("peerd.net.listener._STOPPING_S", 0.05)
    station = await open_station()
    cancelled = asyncio.Event()

    async def sleep_on(link: Link) -> None:
        station.links.put_nowait(link)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    station.on_link = sleep_on
    dialed, _ = await station.link_from(friend)
    hearing = asyncio.create_task(dialed.receive())
    await station.listener.stop()
    assert cancelled.is_set()
    with pytest.raises(LinkClosed):
        await hearing


async def test_a_bug_in_authorise_is_no_permission(
    station: Any, friend: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """If the daemon's answer fails, the device gets an error without details, and the next one is served."""

    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("inside information")

    station.listener._authorise = fail
    with pytest.raises(DialFailed) as failed:
        await Dialer(friend).dial(station.address, SYNC, None)
    assert "inside" not in str(failed.value)
    assert "process_request failed" in caplog.text
    station.listener._authorise = station.authorise
    await station.link_from(friend)


async def test_it_listens_on_ipv4_and_ipv6_with_one_port(open_station: Open, friend: Identity) -> None:
    """Both addresses of port 0 lead to the same listener, each under its own."""
    station = await open_station(listen=(("127.0.0.1", 0), ("::1", 0)))
    (four, six) = station.listener.addresses
    assert (four[0], six[0]) == ("127.0.0.1", "::1")
    assert four[1] == six[1]
    station.admit(friend)
    for address in (four, six):
        dialed = await Dialer(friend).dial(address, SYNC, station.identity.device)
        accepted = await station.links.get()
        assert (dialed.address, accepted.address[0]) == (address, address[0])


async def test_a_port_in_use_is_a_configuration_error(station: Any) -> None:
    """Starting a second listener on the same port names the setting."""
    second = Listener(station.identity, [station.address], station.authorise, station.take)
    with pytest.raises(ConfigError, match=r"network\.listen"):
        await second.start()
    await second.stop()


async def test_a_listener_without_descriptors_goes_on_later(
    open_station: Open, friend: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When accept fails for want of descriptors, that is logged once and tried again."""
    monkeypatch.setattr("peerd.net.listener._ACCEPT_PAUSE_S", 0.01)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failures = 0

    async def run_out(sock: socket.socket) -> Any:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise OSError(24, "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", run_out)
    with capture_logs() as logged:
        station = await open_station()
        await station.link_from(friend)
    assert [event["event"] for event in logged if event["log_level"] == "warning"] == ["accept failed"]


async def test_without_an_address_nothing_listens_and_nothing_fails(friend: Identity) -> None:
    """A device may want to dial only."""
    listener = Listener(friend, (), lambda *_: None, lambda _: asyncio.sleep(0))
    await listener.start()
    assert (listener.addresses, listener.problems) == ([], [])
    await listener.stop()
