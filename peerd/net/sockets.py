"""TCP sockets: addresses with their IPv6 scope, options that notice a dead link, binding what `listen` names."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from peerd.errors import CannotListen, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = tuple[str, int]

# A link is dead when nothing of it was acknowledged for this long. The kernel sees to it alone: for data that
# is on its way and for a receiver that takes none by TCP_USER_TIMEOUT, on an idle link by keepalive probes.
# Where a ping falls between the last probe and its verdict, both times add up: measured 14 to 17 s, at most 30 s.
DEAD_AFTER_S = 15
_PROBE_AFTER_S = 10
_PROBE_EVERY_S = 5

_BACKLOG = 64
_SHARED_PORT_TRIES = 8
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


def tune(sock: socket.socket) -> None:
    """Send at once, and notice a dead peer after about `DEAD_AFTER_S`."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)


def reset(sock: socket.socket) -> None:
    """Close with a RST: no goodbye, and nothing of it stays in the kernel."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def address_of(sockaddr: tuple[Any, ...]) -> Address:
    """(host, port) of a socket address; a link-local IPv6 host carries its interface, "fe80::1%eth0"."""
    host, port = sockaddr[:2]
    scope = sockaddr[3] if len(sockaddr) == 4 else 0
    if scope and "%" not in host:
        try:
            host = f"{host}%{socket.if_indextoname(scope)}"
        except OSError:  # the interface went away meanwhile; its number still says which one it was
            host = f"{host}%{scope}"
    return host, port


def open_listening(listen: Sequence[Address]) -> tuple[list[socket.socket], list[str]]:
    """Listening sockets, not blocking, for every entry, and the problems that do not keep the others from
    working. Entries with port 0 share one free port where possible. An IPv6 socket takes IPv6 only, so that
    0.0.0.0 and [::] can have the same port. Names are looked up, blocking, at this one moment.

    CannotListen, with every problem, if an entry cannot be bound or none is left; ConfigError if there is no entry.
    """
    for _ in range(_SHARED_PORT_TRIES):
        attempt = _Attempt(shares_port=True)
        attempt.bind_all(listen)
        if not attempt.shared_port_taken:
            return attempt.outcome()
        attempt.close()
    attempt = _Attempt(shares_port=False)
    attempt.bind_all(listen)
    return attempt.outcome()


class _Attempt:
    """One try to bind every entry; everything it opened is closed together if it fails."""

    def __init__(self, *, shares_port: bool) -> None:
        self.sockets: list[socket.socket] = []
        self.problems: list[str] = []
        self.errors: list[str] = []
        self.shared_port_taken = False
        self._shares_port = shares_port
        self._shared_port = 0

    def bind_all(self, listen: Sequence[Address]) -> None:
        for host, port in listen:
            try:
                found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            except (socket.gaierror, UnicodeError) as error:
                self.errors.append(_sentence(host, port, f"no such address ({error})"))
                continue
            for family, _, _, _, sockaddr in found:
                try:
                    self._bind(family, sockaddr, port)
                except OSError as error:
                    self._note(host, port, family, error)

    def outcome(self) -> tuple[list[socket.socket], list[str]]:
        if self.sockets and not self.errors:
            return self.sockets, self.problems
        self.close()
        if problems := self.errors or self.problems:
            raise CannotListen(problems)
        raise ConfigError(["network.listen: names no address"])

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()

    def _bind(self, family: int, sockaddr: tuple[Any, ...], port: int) -> None:
        shares = port == 0 and self._shares_port
        wanted = (sockaddr[0], port or (self._shared_port if shares else 0), *sockaddr[2:])
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(wanted)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self.sockets.append(sock)
        if shares:
            self._shared_port = sock.getsockname()[1]

    def _note(self, host: str, port: int, family: int, error: OSError) -> None:
        if family == socket.AF_INET6 and (
            error.errno in _NO_IPV6 or (error.errno == errno.EADDRNOTAVAIL and host in ("::", "::1", ""))
        ):
            self.problems.append(_sentence(host, port, "this machine has no IPv6"))
        elif error.errno == errno.EADDRINUSE and port == 0 and self._shared_port:
            self.shared_port_taken = True
        else:
            self.errors.append(_sentence(host, port, _reason(error)))


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop what uses it (another peerd?) or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; name one that `ip address` shows, or 0.0.0.0 and [::] for all"
    if error.errno == errno.EACCES:
        return "not allowed; ports below 1024 need a privilege"
    return error.strerror or str(error)


def _sentence(host: str, port: int, why: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"network.listen: cannot listen on {shown}:{port}: {why}"
