"""A network of links that delay, stall and break, but never reorder or corrupt within one link, as TLS over TCP.

Cutting a link loses a tail of what is under way, so one side may have heard what the other never learns was heard. A
partition stalls: nothing is lost until it heals, or until the keepalive of either side gives the link up.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from peerd.core.stored import Address
from peerd.errors import LinkLost, LocalProtocolError
from tests.network_simulation.virtual_loop import loop_here

FRAME_BYTES = 1 << 20
FRAMES_IN_FLIGHT = 3
KEEPALIVE_S = (15.0, 40.0)


class Refused(LinkLost):
    """A dial that came to nothing."""


class Weather:
    """How links behave at the moment."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.delay_s = 0.002
        self.jitter_s = 0.002
        self.bytes_per_s = 20e6
        self.dropped_hellos = 0.0  # share of links that die with their first frame

    def delay_of(self, size_bytes: int) -> float:
        return self.delay_s + self.chance.random() * self.jitter_s + size_bytes / self.bytes_per_s


class SimLink:
    """One end of a link: satisfies `engine.ports.Link`."""

    def __init__(self, network: Network, ours: bytes, theirs: bytes, address: Address, *, dialed: bool) -> None:
        self.ours = ours
        self.theirs = theirs
        self.dialed = dialed
        self.address = address
        self.subprotocol = ""
        self.other: SimLink
        self.frames_sent: list[bytes] = []  # kept if `network.keeps_frames`
        self._network = network
        self._arrived: deque[bytes] = deque()
        self._under_way: deque[bytes] = deque()  # towards us
        self._last_arrival_s = 0.0
        self._end: LinkLost | None = None  # what receive says when all that arrived was read
        self._closed = False  # by us
        self._change = asyncio.Event()

    async def send(self, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes")
        while len(self.other._under_way) + len(self.other._arrived) >= FRAMES_IN_FLIGHT and not self._is_over():
            self._change.clear()
            await self._change.wait()
        if self._is_over():
            raise LinkLost("the link broke")
        if self._network.keeps_frames:
            self.frames_sent.append(frame)
        self.other._expect(frame)
        await asyncio.sleep(0)

    def _is_over(self) -> bool:
        return self._closed or self._end is not None

    def _expect(self, frame: bytes) -> None:
        self._under_way.append(frame)
        loop = loop_here()
        at_s = max(loop.time() + self._network.weather.delay_of(len(frame)), self._last_arrival_s + 1e-6)
        self._last_arrival_s = at_s
        self._network.call_at(at_s, self._arrive)

    def _arrive(self) -> None:
        if not self._under_way or self._end is not None:
            return
        if self._network.is_parted(self.ours, self.theirs):
            return  # the heal moves it on
        self._arrived.append(self._under_way.popleft())
        self._wake()

    def move_on(self) -> None:
        """The partition is over: what was stalled comes in, in order."""
        for _ in range(len(self._under_way)):
            self._arrive()

    def _wake(self) -> None:
        self._change.set()
        self.other._change.set()

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._closed:
                raise LinkLost("the link was closed by us")
            if self._end is not None:
                raise self._end
            self._change.clear()
            await self._change.wait()
        frame = self._arrived.popleft()
        self._wake()
        return frame

    async def close(self, code: int, reason: str) -> None:
        if not self._closed and self._end is None:
            self._closed = True
            self._wake()
            if not self._network.is_parted(self.ours, self.theirs):
                delay_s = self._network.weather.delay_of(0)
                at_s = max(loop_here().time() + delay_s, self.other._last_arrival_s + 1e-6)
                self._network.call_at(at_s, lambda: self.other.break_off(f"closed by them: {code} {reason}"))
            else:
                self._network.give_up_later(self.other)
        await asyncio.sleep(self._network.weather.delay_s)
        self._network.links.pop(self, None)

    def break_off(self, why: str) -> None:
        """This end learns that the link is gone; what had not arrived never will."""
        if self._end is None:
            self._end = LinkLost(why)
            self._under_way.clear()
            self._wake()
        self._network.links.pop(self, None)


OnLink = Callable[[SimLink], Awaitable[None]]
Authorise = Callable[[bytes, str, Address], object]


class Host:
    """A running device on the network. `spawn` starts a task in its life."""

    def __init__(
        self, device: bytes, authorise: Authorise, on_link: OnLink, spawn: Callable[[Awaitable[None]], None]
    ) -> None:
        self.device = device
        self.authorise = authorise
        self.on_link = on_link
        self.spawn = spawn


class Network:
    """`context` is that of the simulation itself, in which nothing belongs to a device."""

    def __init__(self, chance: random.Random, context: Context) -> None:
        self.chance = chance
        self.weather = Weather(chance)
        self.hosts: dict[Address, Host] = {}
        self.links: dict[SimLink, None] = {}  # both ends of each
        self.group_of: dict[bytes, int] = {}  # devices in different groups are parted
        self.keeps_frames = False
        self.dials = 0
        self._context = context

    def call_at(self, at_s: float, work: Callable[[], None]) -> None:
        loop_here().call_at(at_s, work, context=self._context)

    def _host_of(self, device: bytes) -> str:
        return next((address[0] for address, host in self.hosts.items() if host.device == device), "sim")

    def is_parted(self, one: bytes, other: bytes) -> bool:
        return self.group_of.get(one, 0) != self.group_of.get(other, 0)

    # ---- dialling

    async def dial(
        self, ours: bytes, address: Address, subprotocol: str, expect: bytes | None, timeout_s: float
    ) -> SimLink:
        self.dials += 1
        await asyncio.sleep(self.weather.delay_of(0) * 2)
        host = self.hosts.get(address)
        if host is not None and self.is_parted(ours, host.device):
            await asyncio.sleep(timeout_s)
            raise Refused("no answer in time", code="timeout")
        if host is None:
            raise Refused("nothing listens there", code="refused-connection")
        if host.device == ours or (expect is not None and host.device != expect):
            raise Refused("another device answers there", code="wrong-device")
        refusal = host.authorise(ours, subprotocol, ("sim", 1))
        if refusal is not None:
            raise Refused(getattr(refusal, "detail", ""), code=getattr(refusal, "code", "unknown-device"))
        mine = SimLink(self, ours, host.device, address, dialed=True)
        theirs = SimLink(self, host.device, ours, (self._host_of(ours), 1), dialed=False)
        mine.other, theirs.other = theirs, mine
        mine.subprotocol = theirs.subprotocol = subprotocol
        self.links[mine] = self.links[theirs] = None
        host.spawn(host.on_link(theirs))
        if self.chance.random() < self.weather.dropped_hellos:
            self.call_at(loop_here().time() + self.weather.delay_s / 2, lambda: self.cut(mine))
        try:
            await asyncio.sleep(self.weather.delay_of(0))
        except asyncio.CancelledError:
            self.cut(mine)
            raise
        return mine

    # ---- weather

    def cut(self, link: SimLink) -> None:
        """Break a link at once; each side has received some of what was under way to it, in order."""
        for end in (link, link.other):
            arriving = self.chance.randint(0, len(end._under_way))
            for _ in range(arriving):
                end._arrived.append(end._under_way.popleft())
        link.break_off("the link broke")
        link.other.break_off("the link broke")

    def cut_some(self, share: float) -> int:
        chosen = [link for link in list(self.links) if link.dialed and self.chance.random() < share]
        for link in chosen:
            self.cut(link)
        return len(chosen)

    def cut_all_of(self, device: bytes) -> None:
        for link in list(self.links):
            if link.ours == device:
                self.cut(link)

    def part(self, groups: dict[bytes, int]) -> None:
        """Devices of different groups do not hear each other any more."""
        self.group_of = dict(groups)
        for link in list(self.links):
            if self.is_parted(link.ours, link.theirs):
                self.give_up_later(link)

    def give_up_later(self, link: SimLink) -> None:
        def look() -> None:
            if self.is_parted(link.ours, link.theirs) or link.other._closed or link.other._end is not None:
                link.break_off("no answer to pings")

        self.call_at(loop_here().time() + self.chance.uniform(*KEEPALIVE_S), look)

    def heal(self) -> None:
        self.group_of = {}
        for link in list(self.links):
            link.move_on()
