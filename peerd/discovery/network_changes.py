"""Notices that the network changed: links and addresses that come and go.

The kernel tells (AF_NETLINK, groups for links and addresses), `netlink.NetworkView` decides whether it is news, and
`on_change` is called once the news has been quiet for `QUIET_S`, at the latest `LATEST_S` after the first. Where a
sandbox forbids AF_NETLINK, the list of interfaces is compared every `POLL_S` instead, and `way` says so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Final, Literal

from peerd import logs
from peerd.discovery import netlink
from peerd.discovery.interfaces import read_interfaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerd.discovery.interfaces import Interface

QUIET_S: Final = 0.2
LATEST_S: Final = 1.0
POLL_S: Final = 5.0

_READS_AT_ONCE: Final = 32
_DATAGRAM_BYTES: Final = 1 << 16
_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_QUESTIONS: Final = (netlink.RTM_GETLINK, netlink.RTM_GETADDR)

log = logs.get(__name__)


class NetworkChanges:
    """Calls `on_change()` from the loop after each burst of changes; it must not block.

    `wanted(name)` says which interfaces matter; bridge ports never do.
    """

    def __init__(
        self,
        on_change: Callable[[], object],
        *,
        wanted: Callable[[str], bool] = lambda _: True,
        read: Callable[[], list[Interface]] = read_interfaces,
        open_socket: Callable[[], socket.socket] | None = None,
    ) -> None:
        self._on_change = on_change
        self._read = read
        self._open_socket = open_socket or _open_netlink
        self._socket: socket.socket | None = None
        self._wanted = wanted
        self._view = netlink.NetworkView(wanted)
        self._questions: list[int] = []
        self._pending: asyncio.TimerHandle | None = None
        self._first_s: float | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._before: list[Interface] | None = None
        self.way: Literal["off", "netlink", "polling"] = "off"

    def start(self) -> None:
        """Begin to watch; must be called in the loop."""
        try:
            self._socket = self._open_socket()
        except OSError as error:
            self._begin_polling(error)
            return
        self.way = "netlink"
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
        self._list_everything()

    def stop(self) -> None:
        """End it; `on_change` is not called any more."""
        self.way = "off"
        self._close_socket()
        for timer in (self._pending, self._poll_timer):
            if timer is not None:
                timer.cancel()
        self._pending = self._poll_timer = self._first_s = None

    # --- netlink ------------------------------------------------------------------------------------

    def _list_everything(self) -> None:
        """Ask for all links and addresses, so that the view is complete."""
        self._view = netlink.NetworkView(self._wanted)
        self._questions = list(_QUESTIONS)
        self._ask_next()

    def _ask_next(self) -> None:
        if self._socket is None or not self._questions:
            return
        try:
            self._socket.send(netlink.dump_request(self._questions.pop(0)))
        except OSError as error:
            self._begin_polling(error)

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):  # then the loop gets its turn
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._begin_polling(error)
                    return
                # More happened than the socket could hold: something did change, and the view has a hole.
                self._list_everything()
                self._changed()
            else:
                self._take(datagram)

    def _take(self, datagram: bytes) -> None:
        said, ends_dump = netlink.parse(datagram)
        changes = [self._view.apply(each.news) and not each.listed for each in said]
        if any(changes):
            self._changed()
        if ends_dump:
            self._ask_next()

    def _close_socket(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    # --- the slower way -----------------------------------------------------------------------------

    def _begin_polling(self, error: OSError) -> None:
        self._close_socket()
        self.way = "polling"
        log.warning(
            "network changes polled",
            cause=f"AF_NETLINK cannot be used: {os.strerror(error.errno or 0)}",
            hint="allow AF_NETLINK (RestrictAddressFamilies=) to notice changes at once",
        )
        self._before = self._snapshot()
        self._poll_later()

    def _poll_later(self) -> None:
        self._poll_timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        now = self._snapshot()
        if now != self._before:
            self._before = now
            self._changed()
        self._poll_later()

    def _snapshot(self) -> list[Interface] | None:
        try:
            return self._read()
        except OSError:
            return None

    # --- the debounce -------------------------------------------------------------------------------

    def _changed(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._first_s is None:
            self._first_s = now_s
        if self._pending is not None:
            self._pending.cancel()
        self._pending = loop.call_at(min(now_s + QUIET_S, self._first_s + LATEST_S), self._tell)

    def _tell(self) -> None:
        self._pending = self._first_s = None
        self._on_change()


def _open_netlink() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, _GROUPS))
    except OSError:
        opened.close()
        raise
    return opened
