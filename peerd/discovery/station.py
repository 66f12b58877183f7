"""mDNS on one interface: one zeroconf instance that knows one link.

An instance per interface, and not one for all, because names, addresses and scopes belong to a link: what is
announced on a link are that link's addresses; a link-local address that is heard has the scope of the link it was
heard on; two interfaces in one network do not flush each other's records (RFC 6762 section 10.2), since each has a
host name of its own; and an interface that fails, comes or goes leaves the others alone.

An announcement is read from one packet: pointer, service, text and addresses together, as RFC 6763 section 12 has
them sent. Nothing is put together from a cache that a stranger could fill, nobody is asked for missing pieces, and
zeroconf's ServiceBrowser is not used: in 0.154 it keeps a timer for every pointer record ever seen, so that a host
that invents names makes it grow without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import socket
from typing import TYPE_CHECKING, Final, cast

from zeroconf import IPVersion, NotRunningException, RecordUpdateListener

# Offered by the package, but left out of its __all__.
from zeroconf import DNSAddress, DNSOutgoing, DNSPointer  # type: ignore[attr-defined] # isort: skip
from zeroconf import DNSQuestion, DNSService, DNSText  # type: ignore[attr-defined] # isort: skip
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from peerd.core.tags import Announcement, encode_txt, parse_txt
from peerd.discovery.gate import MARK, Allowance, Gate
from peerd.discovery.sightings import MAX_ADDRESSES, Address, dialable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeroconf import RecordUpdate, Zeroconf

    from peerd.discovery.interfaces import Interface

SERVICE_TYPE: Final = f"_{MARK.decode()}._tcp.local."
MAX_TXT_BYTES: Final = 512

_ANNOUNCEMENT_TTL_S: Final = 1200  # zeroconf takes nothing below 1125
_INSTANCE: Final = re.compile(rf"([0-9a-z-]{{1,63}})\.{re.escape(SERVICE_TYPE)}")
_TYPE_PTR, _CLASS_IN = 12, 1  # RFC 1035 section 3.2
_MDNS_PORT: Final = 5353
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # linux/in.h, linux/in6.h; Python has no names for them

# It writes names from the network into its messages. What matters here is said by `problem` and `trouble`.
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)


class StationError(Exception):
    """This interface cannot be used now; the sentence is for the status command."""


class Station:
    """Announces and listens on one interface. `heard(instance, announcement, addresses)` gets every announcement
    that is understood, repetitions included, and None for one that was withdrawn or has expired.
    """

    def __init__(
        self,
        interface: Interface,
        heard: Callable[[str, Announcement | None, tuple[Address, ...]], None],
    ) -> None:
        self.interface = interface
        self.trouble: str | None = None
        self._heard = heard
        self._zeroconf: AsyncZeroconf | None = None
        self._gates: list[Gate] = []
        self._speaking: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Bind the sockets and listen.

        Raises:
            StationError: nothing can be received on this interface.
        """
        bound: list[str | int] = []
        if self.interface.ipv4:
            bound.append(self.interface.ipv4)
        if self.interface.ipv6:
            bound.append(self.interface.index)
        version = IPVersion.V4Only if len(bound) == 1 and self.interface.ipv4 else IPVersion.All
        try:
            _check_port(version)
            self._zeroconf = AsyncZeroconf(interfaces=bound, ip_version=version)
            await self._zeroconf.zeroconf.async_wait_for_start()
        except (OSError, RuntimeError, NotRunningException) as error:
            await self.close()
            raise StationError(_because(self.interface.name, error)) from error
        engine = self._zeroconf.zeroconf.engine
        if not engine.senders:
            await self.close()
            raise StationError(f"{self.interface.name}: the kernel refuses multicast on this interface")
        senders = {sender.transport for sender in engine.senders}
        self._guard([reader.transport for reader in engine.readers], senders)
        self._zeroconf.zeroconf.async_add_listener(_Listener(self._record_batch), None)

    def announce(self, port: int, instance: str, host: str, announcement: Announcement) -> None:
        """Say under these names that whoever is meant by `announcement` is reached at `port`."""
        if self._zeroconf is None:
            return
        self.trouble = None
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{instance}.{SERVICE_TYPE}",
            port=port,
            properties=encode_txt(announcement),
            server=f"{MARK.decode()}-{host}.local.",
            parsed_addresses=list(self.interface.addresses),
            other_ttl=_ANNOUNCEMENT_TTL_S,
        )
        self._speaking = asyncio.ensure_future(self._register(self._zeroconf, info))

    def ask(self) -> None:
        """Ask everybody on the link to announce themselves now."""
        if self._zeroconf is None:
            return
        self.trouble = None
        question = DNSOutgoing(0)
        question.add_question(DNSQuestion(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN))
        self._zeroconf.zeroconf.async_send(question)

    def deafen(self) -> None:
        """Hear nothing from now on. What is announced stands until `close`."""
        for gate in self._gates:
            gate.closed = True

    async def close(self) -> None:
        """Withdraw the announcement (three goodbyes in a quarter of a second) and free the sockets."""
        self.deafen()
        if self._speaking is not None:
            self._speaking.cancel()  # or it would announce again after the goodbye
            await asyncio.gather(self._speaking, return_exceptions=True)
            self._speaking = None
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            await zeroconf.async_close()

    async def _register(self, zeroconf: AsyncZeroconf, info: AsyncServiceInfo) -> None:
        # The names are random: there is nobody to ask whether they are taken.
        broadcasts = await zeroconf.async_register_service(info, cooperating_responders=True)
        await broadcasts

    def _guard(self, transports: list[asyncio.DatagramTransport], senders: set[asyncio.DatagramTransport]) -> None:
        """Put a gate before every socket, and keep the one that hears multicast to this interface."""
        allowance = Allowance(asyncio.get_running_loop().time())
        for transport in transports:
            inner = cast("asyncio.DatagramProtocol", transport.get_protocol())
            gate = Gate(inner, allowance, self._send_failed)
            transport.set_protocol(gate)
            self._gates.append(gate)
            if transport not in senders:
                _confine(transport.get_extra_info("socket"), self.interface.name)

    def _send_failed(self, error: OSError) -> None:
        self.trouble = f"{self.interface.name}: sending fails ({os.strerror(error.errno or 0)})"

    def _record_batch(self, records: list[RecordUpdate], now_ms: float) -> None:
        """Everything a packet said at once, or what has just expired."""
        texts: dict[str, bytes] = {}
        services: dict[str, DNSService] = {}
        hosts: dict[str, list[bytes]] = {}
        gone: list[str] = []
        for update in records:
            record = update.new
            if isinstance(record, DNSPointer):
                if record.name == SERVICE_TYPE and record.is_expired(now_ms):
                    gone.append(record.alias)
            elif record.is_expired(now_ms):
                continue
            elif isinstance(record, DNSText):
                texts[record.name] = record.text
            elif isinstance(record, DNSService):
                services[record.name] = record
            elif isinstance(record, DNSAddress):
                hosts.setdefault(record.name, []).append(record.address)
        for name in gone:
            self._tell(name, None, ())
        for name, text in texts.items():
            service = services.get(name)
            announcement = parse_txt(split_txt(text))
            if service is None or announcement is None:
                continue
            announced = [(packed, service.port) for packed in hosts.get(service.server, ())[: 2 * MAX_ADDRESSES]]
            addresses = dialable(announced, self.interface)
            if addresses:
                self._tell(name, announcement, addresses)

    def _tell(self, name: str, announcement: Announcement | None, addresses: tuple[Address, ...]) -> None:
        match = _INSTANCE.fullmatch(name)
        if match:
            self._heard(match[1], announcement, addresses)


def split_txt(text: bytes) -> Mapping[bytes, bytes | None]:
    """The entries of a TXT record (RFC 6763 section 6); the first of a key counts. Nothing if it is cut or long."""
    entries: dict[bytes, bytes | None] = {}
    at = 0
    if len(text) > MAX_TXT_BYTES:
        return {}
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            return {}
        key, separator, value = text[at + 1 : end].partition(b"=")
        entries.setdefault(key, value if separator else None)
        at = end
    return entries


class _Listener(RecordUpdateListener):
    """zeroconf's way of handing over what a packet held."""

    def __init__(self, batch: Callable[[list[RecordUpdate], float], None]) -> None:
        super().__init__()
        self._batch = batch

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        del zc
        self._batch(records, now)

    def async_update_records_complete(self) -> None:
        """Nothing: the packet is all that counts, not the cache."""


def _confine(listening: socket.socket, name: str) -> None:
    """Let a socket bound to all addresses hear one interface only, so that nobody on an interface that was not
    chosen gets an answer. Without the first option (a kernel before 5.7 keeps it for root) the others still keep
    out the groups that somebody else on this machine has joined.
    """
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0"),
        (socket.IPPROTO_IP, _IP_MULTICAST_ALL, b"\0\0\0\0"),
        (socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, b"\0\0\0\0"),
    ):
        with contextlib.suppress(OSError):
            listening.setsockopt(level, option, value)


def _check_port(version: IPVersion) -> None:
    """Bind as zeroconf will, because it leaves a socket behind when it cannot."""
    family = socket.AF_INET if version is IPVersion.V4Only else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        trial.bind(("", _MDNS_PORT))


def _because(name: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{name}: another program holds UDP port 5353 for itself; let it share the port or stop it"
    cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return f"{name}: {cause}"
