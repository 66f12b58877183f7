"""Bytes that nobody agreed on: before TLS, inside TLS, and on a link. The listener neither falls nor fills."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from peerd.errors import LinkLost, PeerdError
from peerd.identity import Identity
from peerd.net.dialer import Dialer
from peerd.net.limits import MAX_REQUEST_BYTES
from peerd.net.link import SYNC, Link, LinkClosed
from peerd.net.tls import client_context

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: peerd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: peerd.sync.1\r\n\r\n"
)
AT_ONCE = 20

Attack = Callable[[bytes], Awaitable[None]]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random for the test; the seed is printed when it fails."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest with a failure
    return random.Random(seed)


def mutated(chance: random.Random, original: bytes) -> bytes:
    """The bytes with something changed, cut, repeated, or put in."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 2, 16, 64)))
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:to]
        elif kind == 2:
            data[at:at] = data[at:to] * chance.choice((1, 50))
        elif kind == 3:
            data[at:to] = chance.randbytes(to - at)
        else:
            data[at:at] = chance.choice((b"\r\n", b"\0", b"\xff" * 5, b"\r\n\r\n", b"A" * 9000, b": "))
    return bytes(data)


def client_hello(device: Identity) -> bytes:
    """The first flight of a proper TLS client."""
    outgoing = ssl.MemoryBIO()
    tls = client_context(device).wrap_bio(ssl.MemoryBIO(), outgoing, server_side=False)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def attack(station: Any, inputs: list[bytes], tls: ssl.SSLContext | None = None) -> None:
    """Send each input on a connection of its own, then hang up; some wait for an answer first."""

    async def one(number: int, data: bytes) -> None:
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(*station.address, ssl=tls, server_hostname=tls and "")
        except (ConnectionError, ssl.SSLError):
            return
        try:
            writer.write(data)
            if number % 2:
                async with asyncio.timeout(0.05):
                    await reader.read(4096)
            else:
                await writer.drain()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    for start in range(0, len(inputs), AT_ONCE):
        batch = inputs[start : start + AT_ONCE]
        await asyncio.gather(*(one(number, data) for number, data in enumerate(batch)))


async def unharmed(station: Any, member: Identity) -> None:
    """Nothing of the strangers is left, and a member gets a link that works."""
    async with asyncio.timeout(10):
        while station.listener.waiting:  # noqa: ASYNC110 - a counter rings nobody
            await asyncio.sleep(0.005)
    while not station.links.empty():
        station.links.get_nowait().abort()
    dialed, accepted = await station.link_from(member)
    await dialed.send(b"still here")
    assert await accepted.receive() == b"still here"


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> Any:
    """A stranger can make neither us nor a library log a warning or an error."""
    with capture_logs() as logged:
        yield
    assert [event for event in logged if event["log_level"] not in ("debug", "info")] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_bytes_instead_of_tls(station: Any, friend: Identity, chance: random.Random) -> None:
    """Random bytes, and a client's first flight with something wrong in it."""
    hello = client_hello(friend)
    inputs = [chance.randbytes(chance.randrange(600)) for _ in range(400)]
    inputs += [mutated(chance, hello) for _ in range(800)]
    inputs += [b"\x16\x03\x01" + chance.randbytes(200) for _ in range(200)]
    await attack(station, inputs)
    assert not station.asked
    await unharmed(station, friend)


@pytest.mark.parametrize("known", ["stranger", "member"])
async def test_bytes_instead_of_a_request(
    station: Any, friend: Identity, stranger: Identity, chance: random.Random, known: str
) -> None:
    """Inside TLS, from a stranger and from a member: requests with something wrong in them."""
    if known == "member":
        station.admit(stranger)
    inputs = [mutated(chance, UPGRADE) for _ in range(300)]
    inputs += [chance.randbytes(chance.randrange(300)) for _ in range(60)]
    inputs += [UPGRADE + mutated(chance, frame) for frame in FRAMES for _ in range(5)]
    await attack(station, inputs, client_context(stranger))
    if known == "stranger":
        assert station.links.empty()
    await unharmed(station, friend)


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A masked WebSocket frame (RFC 6455 section 5.2) with the mask 0."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([fin << 7 | opcode]) + length + bytes(4) + payload


FRAMES = [
    frame(2, b"hello"),
    frame(2, b"x" * 300) + frame(9, b"ping") + frame(10, b"pong"),
    frame(2, b"a", fin=False) + frame(0, b"b", fin=False) + frame(0, b"c"),
    frame(1, b"text"),
    frame(8, (1000).to_bytes(2, "big") + b"bye"),
    frame(2, b"") * 200,
]


async def test_bytes_instead_of_frames(station: Any, friend: Identity, chance: random.Random) -> None:
    """On a member's link: whatever comes, `receive` ends with an error of ours, and the link with it."""
    ends: list[str] = []

    async def read_on(link: Link) -> None:
        try:
            while True:
                assert isinstance(await link.receive(), bytes)
        except PeerdError as error:
            ends.append(type(error).__name__)
            if not isinstance(error, LinkLost):
                raise

    station.on_link = read_on
    station.admit(friend)
    context = client_context(friend)

    async def one(data: bytes) -> None:
        reader, writer = await asyncio.open_connection(*station.address, ssl=context, server_hostname="")
        try:
            writer.write(UPGRADE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(data)
            async with asyncio.timeout(0.02):
                await reader.read(4096)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    inputs = [mutated(chance, chance.choice(FRAMES)) for _ in range(360)]
    for start in range(0, len(inputs), 8):
        await asyncio.gather(*(one(data) for data in inputs[start : start + 8]))
        async with asyncio.timeout(10):
            while station.listener._visitors:  # noqa: ASYNC110 - a dictionary rings nobody
                await asyncio.sleep(0.002)
    assert len(ends) == len(inputs)
    assert set(ends) == {"LinkClosed", "RemoteProtocolError"}
    station.on_link = station.hold
    await unharmed(station, friend)


async def _answer(station: Any, device: Identity, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*station.address, ssl=client_context(device), server_hostname="")
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_frames_behind_the_request_end_the_connection(station: Any, friend: Identity) -> None:
    """Nobody may speak before the answer: the library would hand on, or answer, such frames unasked."""
    station.admit(friend)
    for early in FRAMES:
        assert await _answer(station, friend, UPGRADE + early) == b""
    assert station.links.empty()
    assert (await _answer(station, friend, UPGRADE)).startswith(b"HTTP/1.1 101 ")


async def test_an_endless_request_ends_the_connection(station: Any, stranger: Identity) -> None:
    """Headers beyond 16 KiB are not collected, let alone the megabyte that the library allows."""
    head = UPGRADE[:-2]
    lines = (b"X-Header: " + b"a" * 1000 + b"\r\n") * 20
    assert len(head + lines) > MAX_REQUEST_BYTES
    assert await _answer(station, stranger, head, lines, b"\r\n") == b""
    assert not station.asked


async def test_a_request_in_pieces_is_a_request(station: Any, friend: Identity) -> None:
    """TCP may cut it anywhere."""
    station.admit(friend)
    pieces = [UPGRADE[start : start + 7] for start in range(0, len(UPGRADE), 7)]
    assert (await _answer(station, friend, *pieces)).startswith(b"HTTP/1.1 101 ")


async def test_a_byte_changed_on_the_way_breaks_the_link(station: Any, friend: Identity) -> None:
    """Whoever sits between two devices can end their link and do nothing else: no frame arrives changed."""
    station.admit(friend)
    meddle = asyncio.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := bytearray(await reader.read(65536)):
                if meddle.is_set():
                    data[-1] ^= 1
                writer.write(data)
        finally:
            writer.transport.abort()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection(*station.address)
        await asyncio.gather(pass_on(reader, inner[1]), pass_on(inner[0], writer), return_exceptions=True)

    async with await asyncio.start_server(between, "127.0.0.1", 0) as proxy:
        address = proxy.sockets[0].getsockname()
        dialed = await Dialer(friend).dial(address, SYNC, station.identity.device)
        accepted = await station.links.get()
        await dialed.send(b"untouched")
        assert await accepted.receive() == b"untouched"
        meddle.set()
        await dialed.send(b"changed")
        for link in (accepted, dialed):
            with pytest.raises(LinkClosed) as lost:
                await link.receive()
            assert lost.value.close_code == 1006
