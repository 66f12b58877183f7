"""Real sockets and real TLS on the loopback; after every test nothing is left running."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.identity import Identity
from peerd.net.dialer import Dialer
from peerd.net.limits import Limits
from peerd.net.link import SYNC, Link
from peerd.net.listener import Listener
from peerd.net.refusal import Refusal

Address = tuple[str, int]
EASY = Limits(per_address=100, in_all=100, handshakes_per_s=1e6)  # loopback is one address, tests are fast


def identity() -> Identity:
    return Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())


class Station:
    """A device with a listener that knows its members and keeps every link until the other side ends it."""

    def __init__(self, limits: Limits = EASY, listen: tuple[Address, ...] = (("127.0.0.1", 0),)) -> None:
        self.identity = identity()
        self.members: set[bytes] = set()
        self.pairing = False
        self.asked: list[tuple[bytes, str]] = []
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.on_link: Callable[[Link], Awaitable[None]] = self.hold
        self.release = asyncio.Event()
        self.listener = Listener(self.identity, listen, self.authorise, self.take, limits=limits)

    @property
    def address(self) -> Address:
        return self.listener.addresses[0]

    def authorise(self, device: bytes, subprotocol: str, _address: Address) -> Refusal | None:
        self.asked.append((device, subprotocol))
        if subprotocol != SYNC:
            return None if self.pairing else Refusal("unknown-device", "Nobody is pairing here.")
        return None if device in self.members else Refusal("unknown-device", "This device does not know you.")

    async def take(self, link: Link) -> None:
        await self.on_link(link)

    async def hold(self, link: Link) -> None:
        self.links.put_nowait(link)
        await self.release.wait()

    def admit(self, *devices: Identity) -> None:
        self.members.update(device.device for device in devices)

    async def link_from(self, device: Identity, subprotocol: str = SYNC) -> tuple[Link, Link]:
        """(the dialler's end, the listener's end) of a new link from this device."""
        self.admit(device)
        dialed = await Dialer(device).dial(self.address, subprotocol, self.identity.device)
        return dialed, await self.links.get()


@pytest.fixture
def friend() -> Identity:
    return identity()


@pytest.fixture
def stranger() -> Identity:
    return identity()


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task, no transport and no complaint of the event loop outlives a test."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(15):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left)
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints


@pytest.fixture
async def open_station() -> AsyncIterator[Callable[..., Awaitable[Station]]]:
    """Starts stations, and stops them with the test."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: Any, **named: Any) -> Station:
            station = Station(*arguments, **named)
            await station.listener.start()
            stack.push_async_callback(station.listener.stop)
            stack.callback(station.release.set)
            return station

        yield start


@pytest.fixture
async def station(open_station: Callable[..., Awaitable[Station]]) -> Station:
    """A station on a free port of 127.0.0.1 without narrow limits."""
    return await open_station()


@pytest.fixture
async def ends(station: Station, friend: Identity) -> AsyncIterator[tuple[Link, Link]]:
    """A link of a friend to the station: (the dialler's end, the listener's end)."""
    dialed, accepted = await station.link_from(friend)
    yield dialed, accepted
    dialed.abort()
    accepted.abort()
