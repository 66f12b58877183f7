"""Where other devices reach this one.

    accepted --limits--> opening --TLS, request, authorise--> link --on_link returns--> gone
                 |                          |
                 RST                        403, 426, 503 or nothing at all, within five seconds

A connection counts against the limits from the moment it is accepted. A member's link stops counting when it is
upgraded, one that pairs or introduces itself when it ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from peerd import logs
from peerd.errors import LinkLost, ProtocolError
from peerd.net.incoming import Incoming
from peerd.net.limits import Gate, Limits
from peerd.net.link import SYNC, TLS_SHUTDOWN_S, Link, drop
from peerd.net.refusal import Refusal
from peerd.net.sockets import Address, address_of, open_listening, reset, tune
from peerd.net.tls import Identity, peer_device, server_context

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    Authorise = Callable[[bytes, str, Address], Refusal | None]
    OnLink = Callable[[Link], Awaitable[None]]

_ACCEPT_PAUSE_S = 1.0
_STOPPING_S = 5.0
_GOING_AWAY = 1001
_INTERNAL_ERROR = 1011
_NORMAL = 1000

_log = logs.get(__name__)


class _Visitor:
    """One accepted connection, and what of it has to be given back."""

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address
        self.theirs: bytes | None = None
        self.link: Link | None = None
        self.counted = True  # against the limits
        self.adopted = False  # by a transport, which closes the socket


class Listener:
    """Listens on every entry of `listen`, (host, port), and turns authorised connections into links.

    `authorise(device, subprotocol, address)` decides, before the upgrade, whether the device gets a link; it
    must not block. `on_link(link)` owns the link until it returns; then the link is closed.
    """

    def __init__(
        self,
        identity: Identity,
        listen: Sequence[Address],
        authorise: Authorise,
        on_link: OnLink,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._tls = server_context(identity)
        self._listen = listen
        self._authorise = authorise
        self._on_link = on_link
        self._limits = limits or Limits()
        self._gate = Gate(self._limits, now_s=0.0)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._visitors: dict[asyncio.Task[None], _Visitor] = {}
        self._links_of: Counter[bytes] = Counter()
        self.problems: list[str] = []

    @property
    def addresses(self) -> list[Address]:
        """What is really bound, with the ports that were chosen for port 0."""
        return [address_of(sock.getsockname()) for sock in self._sockets]

    @property
    def waiting(self) -> int:
        """How many connections count as not authenticated."""
        return self._gate.waiting

    async def start(self) -> None:
        """Listen, or with no entry at all only be there. ConfigError if an entry cannot be bound; `problems` names what
        is missing but not fatal.
        """
        if not self._listen:
            return
        self._sockets, self.problems = open_listening(self._listen)
        for problem in self.problems:
            _log.warning("address not available", cause=problem)
        self._accepting = [asyncio.create_task(self._accept(sock)) for sock in self._sockets]

    async def stop(self) -> None:
        """Stop listening, say goodbye on every link (1001) and wait until their owners are done."""
        await _cancel(self._accepting)
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        opening = [task for task, visitor in self._visitors.items() if visitor.link is None]
        links = [visitor.link for visitor in self._visitors.values() if visitor.link is not None]
        await _cancel(opening)
        await asyncio.gather(*(link.close(_GOING_AWAY, "going away") for link in links))
        if self._visitors:
            await asyncio.wait(self._visitors, timeout=_STOPPING_S)
        await _cancel(list(self._visitors))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        fails = False
        while True:
            try:
                sock, sockaddr = await loop.sock_accept(listening)
            except OSError as error:  # out of descriptors or memory: others have to give some back first
                if not fails:
                    _log.warning("accept failed", cause=str(error))
                fails = True
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            fails = False
            address = address_of(sockaddr)
            refused = self._gate.enter(address[0], loop.time())
            if refused is None:
                self._welcome(_Visitor(sock, address))
            else:
                _log.debug("connection refused", address=address[0], cause=refused)
                reset(sock)
            await asyncio.sleep(0)  # sock_accept does not yield while connections are waiting

    def _welcome(self, visitor: _Visitor) -> None:
        task = asyncio.create_task(self._serve(visitor))
        self._visitors[task] = visitor
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        visitor = self._visitors.pop(task)
        self._uncount(visitor)
        if not visitor.adopted:  # cancelled before it began
            reset(visitor.sock)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("connection failed", address=visitor.address[0], exc_info=error)

    def _uncount(self, visitor: _Visitor) -> None:
        if visitor.counted:
            visitor.counted = False
            self._gate.leave(visitor.address[0])

    async def _serve(self, visitor: _Visitor) -> None:
        try:
            async with asyncio.timeout(self._limits.opening_s):
                link = await self._open(visitor)
        except TimeoutError:
            _log.debug("handshake timed out", address=visitor.address[0])
        except OSError as error:  # ssl's errors are among them
            _log.debug("handshake failed", address=visitor.address[0], cause=str(error))
        else:
            if link is not None:
                visitor.link = link
                await self._own(visitor, link)

    async def _open(self, visitor: _Visitor) -> Link | None:
        """TLS and the upgrade; None if the device was refused, and told so."""
        visitor.adopted = True
        tune(visitor.sock)
        transport, incoming = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Incoming(partial(self._judge, visitor)),
            visitor.sock,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.opening_s,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S,
        )
        try:
            visitor.theirs = peer_device(transport.get_extra_info("ssl_object"))
            upgraded = await incoming.upgrade()
        except BaseException:
            await drop(incoming)
            raise
        if not upgraded or visitor.theirs is None:
            return None
        return Link(incoming, theirs=visitor.theirs, dialed=False, address=visitor.address)

    def _judge(self, visitor: _Visitor, subprotocol: str) -> tuple[Refusal, HTTPStatus] | None:
        theirs = visitor.theirs
        if theirs is None:
            return Refusal("unknown-device", "Your certificate holds no device key."), HTTPStatus.FORBIDDEN
        refusal = self._authorise(theirs, subprotocol, visitor.address)
        if refusal is not None:
            _log.info("peer refused", peer=theirs, address=visitor.address[0], code=refusal.code)
            return refusal, HTTPStatus.FORBIDDEN
        if self._links_of[theirs] >= self._limits.links_per_device:
            return Refusal("busy", "You have too many links here."), HTTPStatus.SERVICE_UNAVAILABLE
        return None

    async def _own(self, visitor: _Visitor, link: Link) -> None:
        if link.subprotocol == SYNC:
            self._uncount(visitor)
        self._links_of[link.theirs] += 1
        code, reason = _GOING_AWAY, "going away"  # unless it ends otherwise, it was cancelled
        try:
            await self._on_link(link)
            code, reason = _NORMAL, ""
        except (LinkLost, ProtocolError) as error:
            _log.debug("link ended", peer=link.theirs, cause=str(error))
            code, reason = getattr(error, "close_code", _NORMAL), ""
        except Exception:  # noqa: BLE001 - a bug of the link's owner must not end the listener
            _log.exception("link handler failed", peer=link.theirs)
            code, reason = _INTERNAL_ERROR, "internal error"
        finally:
            self._links_of -= Counter({link.theirs: 1})
            await link.close(code, reason)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
