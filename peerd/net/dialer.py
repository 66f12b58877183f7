"""Reaching another device: TCP, TLS, the pin, the upgrade; and in words what came between."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn, cast

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.uri import parse_uri

from peerd.core.device_id import short_id
from peerd.errors import PAUSED, RESUME_THERE, LinkLost
from peerd.net import link as links
from peerd.net.link import Link, drop
from peerd.net.refusal import read_refusal
from peerd.net.sockets import Address, tune
from peerd.net.tls import Identity, client_context, peer_device

if TYPE_CHECKING:
    from websockets.typing import Subprotocol

_PER_ADDRESS_S = 3.0
_URI = parse_uri("wss://peerd/")  # no address of ours or theirs goes into the request


# What a person does about it, where the sentence does not say so itself.
_NEXT_STEPS = {
    "no-route": "Check the name or address, and this machine's network.",
    "not-websocket": "Check the port.",
    "refused-connection": "Start peerd there, or check the port.",
    "timeout": "Is it switched on, and does its firewall let this port in?",
    "two-machines": 'Make the copy a device of its own: see docs/recovery.md, "A cloned machine".',
    "tls": "Check the address and the port.",
}


class DialFailed(LinkLost):
    """No link came of it; `code` says why.

        no-route            the name or the network leads nowhere
        refused-connection  the machine is there, nothing listens
        timeout             no answer in time
        tls                 what answers is no peerd, or does not take our certificate
        wrong-device        it is another device than the expected one, or this one
        two-machines        it is another machine that has this device's key
        unknown-device      they do not know us: we are in none of their spaces
        removed             we were removed there
        paused              its user lets it have no links at the moment
        version             they speak another major version; the sentence names both
        busy                they have no room at the moment
        not-websocket       TLS is right, and then something else than peerd speaks

    `theirs` is the device that said so, as proven by TLS, or None if it did not come to that: the word of
    a device that was not expected counts for nothing.
    """

    def __init__(self, code: str, message: str, *, theirs: bytes | None = None, next_step: str = "") -> None:
        super().__init__(message, code=code, next_step=next_step or _NEXT_STEPS.get(code, ""))
        self.theirs = theirs


class Dialer:
    """Opens links to other devices in the name of this one."""

    def __init__(self, identity: Identity) -> None:
        self._ours = identity.device
        self._tls = client_context(identity)

    async def dial(self, address: Address, subprotocol: str, expect: bytes | None, timeout_s: float = 10.0) -> Link:
        """A link to whoever has this address, which must be the device `expect` if that is given, and is never
        ourselves. The host may be a name, all of whose addresses are tried, or carry an IPv6 scope
        ("fe80::1%eth0"). DialFailed says why there is none.
        """
        where = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        try:
            async with asyncio.timeout(timeout_s):
                sock = await _connect(address, where)
                return await self._open(sock, address, where, subprotocol, expect)
        except TimeoutError as error:
            raise DialFailed("timeout", f"{where} did not answer within {timeout_s:g} s.") from error

    async def _open(
        self, sock: socket.socket, address: Address, where: str, subprotocol: str, expect: bytes | None
    ) -> Link:
        transport, connection = await self._handshake(sock, where, subprotocol)
        try:
            theirs = peer_device(transport.get_extra_info("ssl_object"))
            here = _is_here(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
            theirs = self._check_pin(theirs, expect, where, here=here)
            await _upgrade(connection, where, subprotocol, theirs)
        except BaseException:
            await drop(connection)
            raise
        connection.start_keepalive()
        return Link(connection, theirs=theirs, dialed=True, address=address)

    async def _handshake(
        self, sock: socket.socket, where: str, subprotocol: str
    ) -> tuple[asyncio.Transport, ClientConnection]:
        try:
            return await asyncio.get_running_loop().create_connection(
                lambda: _connection(subprotocol),
                sock=sock,
                ssl=self._tls,
                server_hostname="",  # nothing about us in the clear
                ssl_shutdown_timeout=links.TLS_SHUTDOWN_S,
            )
        except ssl.SSLError as error:
            raise DialFailed("tls", f"What answers at {where} is no peerd: {_tls_reason(error)}.") from error
        except OSError as error:
            raise DialFailed("busy", f"{where} hung up at once; it may have too much to do.") from error

    def _check_pin(self, theirs: bytes | None, expect: bytes | None, where: str, *, here: bool) -> bytes:
        if theirs is None:
            raise DialFailed("tls", f"What answers at {where} has no device key.")
        if theirs == self._ours:
            if not here:
                raise DialFailed("two-machines", f"{where} is another machine with this device's key.", theirs=theirs)
            step = "Give the address of the other device."
            raise DialFailed("wrong-device", f"{where} is this device itself.", theirs=theirs, next_step=step)
        if expect is not None and theirs != expect:
            raise DialFailed(
                "wrong-device",
                f"{where} is device {short_id(theirs)}, not {short_id(expect)}.",
                theirs=theirs,
                next_step="If that device was set up anew, pair it again.",
            )
        return theirs


def _is_here(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    """Does a connection with these two ends lead to this machine? Whoever dials an own address does it from there."""
    near, far = (str(end[0]).partition("%")[0] for end in (ours, theirs))
    return near == far or ip_address(far).is_loopback


def _connection(subprotocol: str) -> ClientConnection:
    protocol = ClientProtocol(
        _URI,
        subprotocols=[cast("Subprotocol", subprotocol)],
        max_size=links.max_frame_bytes(subprotocol),
        logger=links.frames_log,
    )
    return ClientConnection(
        protocol,
        ping_interval=links.PING_INTERVAL_S,
        ping_timeout=links.PING_TIMEOUT_S,
        close_timeout=links.CLOSE_TIMEOUT_S,
        max_queue=links.FRAMES_WAITING,
        write_limit=links.WRITE_LIMIT_BYTES,
    )


async def _upgrade(connection: ClientConnection, where: str, subprotocol: str, theirs: bytes) -> None:
    try:
        await connection.handshake(user_agent_header=None)
    except InvalidStatus as refused:
        answer = read_refusal(refused.response)
        if answer.code == "paused":
            raise DialFailed("paused", PAUSED, theirs=theirs, next_step=RESUME_THERE) from refused
        says_more = answer.detail and answer.detail.replace(" ", "-") != answer.code
        said = f": {answer.detail}" if says_more else "."
        raise DialFailed(answer.code, f"{where} refused the link ({answer.code}){said}", theirs=theirs) from refused
    except InvalidHandshake as error:
        _explain(connection, where, theirs, error)
    if connection.subprotocol != subprotocol:
        raise DialFailed("version", f"{where} does not speak {subprotocol}; update the older one.", theirs=theirs)


def _explain(connection: ClientConnection, where: str, theirs: bytes, error: InvalidHandshake) -> NoReturn:
    """No proper HTTP answer. In TLS 1.3 this is also where a client hears that its certificate was refused."""
    broken = connection.connection_exc
    if isinstance(broken, ssl.SSLError):
        raise DialFailed(
            "tls", f"{where} does not take our certificate: {_tls_reason(broken)}.", theirs=theirs
        ) from error
    if isinstance(error.__cause__, EOFError):
        raise DialFailed("busy", f"{where} hung up without an answer.", theirs=theirs) from error
    raise DialFailed("not-websocket", f"{where} answers, but not as peerd does.", theirs=theirs) from error


async def _connect(address: Address, where: str) -> socket.socket:
    """A TCP connection to the first address of this host that takes one."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise DialFailed(
            "no-route", f"There is no address for {where}: {getattr(error, 'strerror', error)}."
        ) from error
    failure: OSError = OSError(errno.EHOSTUNREACH, "no address")
    for family, kind, proto, _, sockaddr in found:
        try:
            async with asyncio.timeout(_PER_ADDRESS_S if len(found) > 1 else None):
                return await _connect_one(family, kind, proto, sockaddr)
        except OSError as error:  # TimeoutError is one
            failure = error
    raise _no_connection(where, failure) from failure


async def _connect_one(family: int, kind: int, proto: int, sockaddr: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _no_connection(where: str, error: OSError) -> DialFailed:
    if isinstance(error, ConnectionRefusedError):
        return DialFailed("refused-connection", f"Nothing listens at {where}.")
    if isinstance(error, TimeoutError):
        return DialFailed("timeout", f"{where} did not answer.")
    if isinstance(error, ConnectionError):
        return DialFailed("busy", f"{where} hung up at once; it may have too much to do.")
    # asyncio puts the address into the place of the kernel's words.
    why = os.strerror(error.errno) if error.errno else error
    return DialFailed("no-route", f"There is no way to {where}: {why}.")


def _tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
