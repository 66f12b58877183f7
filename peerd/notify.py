"""What peerd tells systemd, and the sockets it gets from it. Without systemd all of it does nothing.

The protocol is sd_notify(3): datagrams of `KEY=value` lines to $NOTIFY_SOCKET, a path or, with a leading "@", an
abstract name. The unit is `Type=notify`: READY=1 ends the start; at a reload RELOADING=1 with the monotonic time
comes first and READY=1 after; STOPPING=1 opens the stop. STATUS= is the line that `systemctl status` shows.

The watchdog is fed from the event loop (`feed_watchdog`), so a loop that hangs starves it and systemd restarts the
daemon. Socket activation is sd_listen_fds(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING, Final

from peerd import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

log = logs.get(__name__)

_FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
_SEND_TIMEOUT_S: Final = 1.0


class Notifier:
    """Speaks to the service manager named in `environ`; `active` says whether there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))

    @property
    def active(self) -> bool:
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Started, or done reloading."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whether or not the new configuration was any good."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", "")

    def stopping(self, status: str = "") -> None:
        """The stop has begun."""
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """One line for people."""
        self._send("", text)

    def watchdog(self) -> None:
        """The event loop is alive."""
        self._send("WATCHDOG=1", "")

    def _send(self, state: str, status: str) -> None:
        if self._address is None:
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                # The manager's queue may be full: wait a little, never for ever.
                out.settimeout(_SEND_TIMEOUT_S)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("service manager not reached", cause=error.strerror or str(error))


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often the watchdog wants feeding, half of what it allows; None when there is no watchdog for us."""
    owner = environ.get("WATCHDOG_PID", "")
    if owner and owner != str(os.getpid()):
        return None
    allowed_us = environ.get("WATCHDOG_USEC", "")
    if not allowed_us.isascii() or not allowed_us.isdigit() or int(allowed_us) == 0:
        return None
    return int(allowed_us) / 1_000_000 / 2


async def feed_watchdog(
    notifier: Notifier, interval_s: float | None, healthy: Callable[[], bool] = lambda: True
) -> None:
    """Feed until cancelled, as long as `healthy()` holds; returns at once when there is no watchdog."""
    if interval_s is None or not notifier.active:
        return
    while True:
        if healthy():
            notifier.watchdog()
        await asyncio.sleep(interval_s)


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> dict[str, list[socket.socket]]:
    """The listening sockets that systemd passed to this process, by the name of their socket unit.

    They are the caller's to close and are not inherited by children. The variables are removed from `environ`, so
    that a second call gives nothing.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    passed: dict[str, list[socket.socket]] = {}
    if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return passed
    for index in range(int(count)):
        fd = _FIRST_FD + index
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        passed.setdefault(name, []).append(socket.socket(fileno=fd))
    return passed


def _address(given: str) -> str | None:
    if given.startswith("@") and len(given) > 1:
        return "\0" + given[1:]
    # Anything else is a transport that only virtual machines use (vsock:...).
    return given if given.startswith("/") else None
