from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.utils import accept_key

from peerd.errors import LinkLost
from peerd.identity import Identity
from peerd.net import dialer
from peerd.net.dialer import Dialer, DialFailed
from peerd.net.link import PAIR, SYNC
from peerd.net.refusal import Refusal
from peerd.net.tls import _load_certificate, server_context

Address = tuple[str, int]


async def failure(device: Identity, address: Address, subprotocol: str = SYNC, **options: Any) -> DialFailed:
    with pytest.raises(DialFailed) as failed:
        await Dialer(device).dial(address, subprotocol, options.pop("expect", None), **options)
    assert isinstance(failed.value, LinkLost)
    return failed.value


@asynccontextmanager
async def serving(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Address]:
    """A server that is no peerd; its connections are dropped when the conversation is over."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
            await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    options = {"ssl_shutdown_timeout": 1} if tls else {}
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, **options)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


def answering(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return talk


async def test_a_link_is_dialled(station: Any, friend: Identity) -> None:
    """With or without an expectation, the link knows whom it reached; pairing has a subprotocol of its own."""
    station.admit(friend)
    station.pairing = True
    for expect in (station.identity.device, None):
        for subprotocol in (SYNC, PAIR):
            link = await Dialer(friend).dial(station.address, subprotocol, expect)
            assert (link.theirs, link.subprotocol) == (station.identity.device, subprotocol)
            link.abort()


async def test_a_name_that_does_not_exist(friend: Identity) -> None:
    """No address for a name is "no-route", and the sentence names it."""
    failed = await failure(friend, ("no such name.invalid", 7337))
    assert failed.code == "no-route"
    assert "no such name.invalid" in str(failed)
    assert failed.next_step


async def test_an_address_without_a_route(friend: Identity) -> None:
    """A network that the kernel knows no way to is "no-route"."""
    failed = await failure(friend, ("fe80::1%no-such-if", 7337))
    assert failed.code == "no-route"
    failed = await failure(friend, ("255.255.255.255", 7337))
    assert failed.code == "no-route"
    assert str(failed) in {
        f"There is no way to 255.255.255.255:7337: {os.strerror(code)}." for code in (errno.ENETUNREACH, errno.EACCES)
    }


async def test_nothing_listens(friend: Identity) -> None:
    """A closed port is "refused-connection"."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    failed = await failure(friend, address)
    assert failed.code == "refused-connection"
    assert failed.theirs is None
    assert failed.next_step == "Start peerd there, or check the port."


@contextmanager
def black_hole() -> Iterator[Address]:
    """An address that lets nobody in and says nothing: a queue of one that is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()


@pytest.mark.parametrize("stage", ["tcp", "tls", "http"])
async def test_no_answer_in_time(friend: Identity, stranger: Identity, stage: str) -> None:
    """A machine that stops answering, at any stage, is "timeout" after the given time."""

    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    if stage == "tcp":
        with black_hole() as address:
            failed = await failure(friend, address, timeout_s=0.2)
    else:
        context = server_context(friend) if stage == "http" else None
        async with serving(say_nothing, context) as address:
            failed = await failure(stranger, address, timeout_s=0.2)
    assert failed.code == "timeout"


async def test_no_tls(friend: Identity) -> None:
    """What answers TLS with something else is "tls"."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")

    async with serving(greet) as address:
        assert (await failure(friend, address)).code == "tls"


async def test_hung_up_at_once(friend: Identity) -> None:
    """A listener that closes before TLS, as ours does when it has too much to do, is "busy"."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(hang_up) as address:
        assert (await failure(friend, address)).code == "busy"


async def test_a_tls_server_that_is_no_peerd(friend: Identity, stranger: Identity) -> None:
    """A certificate that the public CA has not signed is "tls"."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example")])
    other = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, other.public_bytes(Encoding.PEM) + private)
    async with serving(answering(b""), context) as address:
        failed = await failure(friend, address)
    assert failed.code == "tls"
    assert failed.theirs is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "not-websocket"),
        (b"HTTP/1.1 302 Found\r\nLocation: wss://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "not-websocket"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "not-websocket"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not-websocket"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not-websocket"),
        (b"", "busy"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "busy"),
    ],
)
async def test_another_service_behind_a_proper_certificate(
    friend: Identity, stranger: Identity, answer: bytes, code: str
) -> None:
    """TLS is right and the rest is not: "not-websocket"; no redirect is followed. Silence is "busy"."""
    async with serving(answering(answer), server_context(stranger)) as address:
        failed = await failure(friend, address)
    assert (failed.code, failed.theirs) == (code, stranger.device)


async def test_ourselves(station: Any) -> None:
    """An address that leads back to this device is "wrong-device", and says so."""
    failed = await failure(station.identity, station.address)
    assert (failed.code, failed.theirs) == ("wrong-device", station.identity.device)
    assert "itself" in str(failed)


@pytest.mark.parametrize(
    ("near", "far", "here"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_another_machine_with_our_key_is_told_from_ourselves(near: str, far: str, *, here: bool) -> None:
    """By the ends of the connection: to dial oneself is to dial from the address that is dialled."""
    assert dialer._is_here((near, 50_000), (far, 7337)) == here


async def test_a_machine_with_our_key_elsewhere_is_named(station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "_is_here", lambda *_: False)
    failed = await failure(station.identity, station.address)
    assert (failed.code, failed.theirs) == ("two-machines", station.identity.device)
    assert "A cloned machine" in failed.next_step


async def test_another_device_than_expected(station: Any, friend: Identity, stranger: Identity) -> None:
    """The sentence names both devices by their short ids."""
    failed = await failure(friend, station.address, expect=stranger.device)
    assert failed.code == "wrong-device"
    assert failed.theirs == station.identity.device


@pytest.mark.parametrize("code", ["unknown-device", "removed"])
async def test_why_a_device_was_refused_arrives(station: Any, friend: Identity, code: str) -> None:
    """The listener's code and sentence reach the dialler, together with who said so."""
    station.listener._authorise = lambda *_: Refusal(code, "You left on Tuesday.")
    failed = await failure(friend, station.address, expect=station.identity.device)
    assert (failed.code, failed.theirs) == (code, station.identity.device)
    assert "You left on Tuesday." in str(failed)
    station.listener._authorise = lambda *_: Refusal(code, code.replace("-", " "))
    failed = await failure(friend, station.address, expect=station.identity.device)
    assert str(failed).endswith(f"refused the link ({code}).")


async def test_another_major_version_is_named_on_both_sides(station: Any, friend: Identity) -> None:
    """A member that speaks a version we do not know is told both; a stranger only that it is one."""
    failed = await failure(friend, station.address, "peerd.sync.9")
    assert failed.code == "unknown-device"
    assert "peerd.sync" not in str(failed)
    station.admit(friend)
    failed = await failure(friend, station.address, "peerd.sync.9")
    assert failed.code == "version"
    assert "peerd.sync.1" in str(failed)
    assert "peerd.sync.9" in str(failed)
    assert {subprotocol for _, subprotocol in station.asked} == {SYNC}


async def test_another_version_of_pairing(station: Any, friend: Identity) -> None:
    """It is judged as pairing: without a window it is a stranger's, with one the versions are named."""
    station.admit(friend)
    assert (await failure(friend, station.address, "peerd.pair.2")).code == "unknown-device"
    station.pairing = True
    failed = await failure(friend, station.address, "peerd.pair.2")
    assert failed.code == "version"
    assert "peerd.pair.1" in str(failed)


async def test_a_server_that_agrees_to_nothing(friend: Identity, stranger: Identity) -> None:
    """An upgrade without our subprotocol is no link."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        await reader.read()

    async with serving(agree, server_context(stranger)) as address:
        assert (await failure(friend, address)).code == "version"


async def test_what_goes_out_says_little(friend: Identity, stranger: Identity) -> None:
    """The request carries no address, no version of ours and no library's name."""
    heads: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))

    async with serving(listen, server_context(stranger)) as address:
        await failure(friend, address)
    lines = [line.split(b":")[0] for line in heads[0].split(b"\r\n")]
    assert lines == [
        b"GET / HTTP/1.1",
        b"Host",
        b"Upgrade",
        b"Connection",
        b"Sec-WebSocket-Key",
        b"Sec-WebSocket-Version",
        b"Sec-WebSocket-Protocol",
        b"",
        b"",
    ]
    assert b"Host: peerd\r\n" in heads[0]


async def test_all_addresses_of_a_name_are_tried(
    station: Any, friend: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose first address refuses and whose second says nothing still leads to the live one."""
    station.admit(friend)
    monkeypatch.setattr("peerd.net.dialer._PER_ADDRESS_S", 0.1)
    with black_hole() as silent:
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", silent),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", station.address),
        ]

        async def resolve(host: str, port: int, **_options: Any) -> list[Any]:
            assert (host, port) == ("nas.lan", 7337)
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        link = await Dialer(friend).dial(("nas.lan", 7337), SYNC, station.identity.device)
    link.abort()


def _link_local() -> str | None:
    """A link-local address of this machine with its interface, from the kernel's table."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else []:
        address, _, _, scope, flags, name = line.split()
        if scope == "20" and not int(flags, 16) & 0x48:  # neither tentative nor failed
            host = ":".join(address[start : start + 4] for start in range(0, 32, 4))
            return f"{host}%{name}"
    return None


async def test_a_link_local_address_with_its_scope(open_station: Any, friend: Identity) -> None:
    """A device found by IPv6 multicast is reached by its scoped address, and sees ours with its scope."""
    host = _link_local()
    if host is None:
        pytest.skip("this machine has no link-local IPv6 address")
    station = await open_station(listen=(("::", 0),))
    station.admit(friend)
    port = station.address[1]
    link = await Dialer(friend).dial((host, port), SYNC, station.identity.device)
    accepted = await station.links.get()
    assert link.address == (host, port)
    assert accepted.address[0].endswith("%" + host.partition("%")[2])
    link.abort()


async def test_no_proxy_is_used(station: Any, friend: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about proxies is for other programs."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "wss_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    station.admit(friend)
    (await Dialer(friend).dial(station.address, SYNC, None)).abort()


async def test_a_cancelled_dial_leaves_nothing(station: Any, friend: Identity) -> None:
    """Wherever it is cancelled, no connection of it stays."""
    station.admit(friend)
    for steps in range(12):
        dialing = asyncio.create_task(Dialer(friend).dial(station.address, SYNC, None))
        for _ in range(steps):
            await asyncio.sleep(0)
        dialing.cancel()
        (ended,) = await asyncio.gather(dialing, return_exceptions=True)
        if not isinstance(ended, BaseException):
            ended.abort()
    async with asyncio.timeout(5):
        while station.listener.waiting:  # noqa: ASYNC110 - a counter rings nobody
            await asyncio.sleep(0.005)
