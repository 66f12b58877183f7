"""Static addresses: how a person writes them, and what they stand for at the moment.

nas.lan            a name, or an IPv4 address, at the usual port
nas.lan:7337
[fd00::7]:7337     IPv6 in brackets if a port follows, a link-local one with its scope: [fe80::7%eth0]
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Final

from peerd.discovery.sightings import MAX_ADDRESSES, Address, Sighting
from peerd.errors import LinkLost, UserError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

DEFAULT_PORT: Final = 7337
LOOKUP_S: Final = 5.0
MAX_LOOKUPS: Final = 4

_BRACKETS: Final = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?")
_PLAIN: Final = re.compile(r"([^:\[\]]+)(?::([0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_address(text: str, setting: str) -> Address:
    """`(host, port)` of what a person wrote; `setting` is where, for the sentence of the error.

    Raises:
        UserError: it is no address.
    """
    bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    parts = None if bare_ipv6 else (_BRACKETS.fullmatch(text) or _PLAIN.fullmatch(text))
    if bare_ipv6 and _is_ipv6(text):
        return text, DEFAULT_PORT
    if parts is None:
        raise _not_an_address(text, setting)
    host, port = parts[1], int(parts[2] or DEFAULT_PORT)
    if not 1 <= port <= 0xFFFF:
        raise _not_an_address(text, setting)
    if not (_is_ipv6(host) if text.startswith("[") else _is_host(host)):
        raise _not_an_address(text, setting)
    return host, port


class Resolver:
    """Turns static addresses into sightings. At most `MAX_LOOKUPS` names are being looked up at once, each once."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or _look_up
        self._running: dict[Address, asyncio.Task[Sequence[str]]] = {}
        self._turns = asyncio.Semaphore(MAX_LOOKUPS)

    async def sight(self, address: Address, timeout_s: float = LOOKUP_S) -> Sighting:
        """All addresses that stand behind one.

        Raises:
            LinkLost: the name is not known (code "unresolved") or the answer takes longer than `timeout_s`; the
                lookup goes on then, and a later call may find it done.
        """
        host, port = address
        task = self._running.get(address)
        if task is None:
            task = self._running[address] = asyncio.get_running_loop().create_task(self._in_turn(address))
            task.add_done_callback(lambda done: self._finished(address, done))
        try:
            found = await asyncio.wait_for(asyncio.shield(task), timeout_s)
        except TimeoutError as error:
            raise _unresolved(host, f"no answer in {timeout_s:g} s") from error
        except OSError as error:
            raise _unresolved(host, error.strerror or "unknown") from error
        hosts = list(dict.fromkeys(found))[:MAX_ADDRESSES]
        if not hosts:
            raise _unresolved(host, "it has no address")
        return Sighting(
            source="static",
            instance=f"static-{host}:{port}",
            addresses=tuple((each, port) for each in hosts),
        )

    async def close(self) -> None:
        """Wait for nothing any more."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _in_turn(self, address: Address) -> Sequence[str]:
        async with self._turns:
            return await self._lookup(*address)

    def _finished(self, address: Address, task: asyncio.Task[Sequence[str]]) -> None:
        self._running.pop(address, None)
        if not task.cancelled():
            task.exception()  # somebody may have stopped waiting for it


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_with_scope(str(where[0]), where[3] if len(where) == 4 else 0) for *_, where in found]


def _with_scope(host: str, scope: int) -> str:
    if not scope or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:
        return host


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    if all(label.isdigit() for label in labels):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _not_an_address(text: str, setting: str) -> UserError:
    return UserError(
        f"{setting}: {text[:100]!a} is not an address",
        code="bad-address",
        next_step='Write "host", "host:port" or "[IPv6]:port", with a port from 1 to 65535.',
    )


def _unresolved(host: str, cause: str) -> LinkLost:
    return LinkLost(
        f"{host} cannot be resolved: {cause}",
        code="unresolved",
        next_step="Check the name in network.peers, or write the address instead.",
    )
