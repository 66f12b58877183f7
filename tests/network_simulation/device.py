"""A whole simulated device: everything that the daemon assembles, but sockets, discovery and the control server."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from peerd.core.clocks import Clock
from peerd.core.copy import CopyState
from peerd.core.stored import Address
from peerd.engine.links.dialing import Dialing
from peerd.engine.links.lookout import Lookout
from peerd.engine.links.peer_book import PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.members.introducing import Introducing
from peerd.engine.members.inviting import Inviting
from peerd.engine.members.joining import Joining
from peerd.engine.relay.relays import Relays
from peerd.engine.repair.scrub_rounds import scrub_now_and_then
from peerd.engine.service import Service
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.statuses import Statuses
from peerd.engine.tables.bindings import Bindings
from peerd.engine.upkeep.housekeeping import Housekeeping
from peerd.net.link import INTRODUCE, PAIR, SYNC
from peerd.net.refusal import Refusal
from peerd.relay.sealer import Sealer
from peerd.store.machine import Machine
from tests.engine.fake_files import FakeFiles, propose
from tests.network_simulation.disk import Backups, SimShelf
from tests.network_simulation.ledger import Ledger
from tests.network_simulation.network import Host, Network, SimLink
from tests.network_simulation.parts import Calendar, SimCrypto, SimKeys, SimTimes, WallClock
from tests.network_simulation.relay import SimRelay
from tests.network_simulation.virtual_loop import end_life, loop_here, within

T = TypeVar("T")


class SimDialer:
    """Satisfies `engine.ports.Dialer`."""

    def __init__(self, network: Network, ours: bytes) -> None:
        self._network = network
        self._ours = ours

    async def dial(self, address: Address, subprotocol: str, expect: bytes | None, timeout_s: float = 5.0) -> SimLink:
        return await self._network.dial(self._ours, address, subprotocol, expect, timeout_s)


@dataclass(frozen=True)
class SimSighting:
    instance: str
    addresses: tuple[Address, ...]
    nonce: bytes
    tags: tuple[bytes, ...]
    pairing_name: str | None


class Air:
    """Multicast: who is in the same part of the network hears announcements, most of the time."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self.loss = 0.1
        self._network = network
        self._chance = chance
        self._listeners: dict[bytes, Running] = {}

    def join(self, running: Running) -> None:
        self._listeners[running.keys.device] = running

    def leave(self, device: bytes) -> None:
        self._listeners.pop(device, None)

    def announce(self, speaker: Running) -> None:
        for device, listener in self._listeners.items():
            if device == speaker.keys.device or self._network.is_parted(device, speaker.keys.device):
                continue
            if self._chance.random() < self.loss:
                continue
            sighting = speaker.sighting()
            if sighting is not None:
                at_s = loop_here().time() + self._chance.uniform(0.0, 0.2)
                loop_here().call_at(at_s, listener.sight, sighting, context=listener.context)

    def refresh(self) -> None:
        """Everybody says again where it is."""
        for listener in list(self._listeners.values()):
            self.announce(listener)


class Running:
    """One life of a device's process: from its start to its stop or crash."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.keys = device.keys
        self.is_started = False
        chance = random.Random(device.chance.random())
        self.times = SimTimes(device.clock, chance)
        crypto = SimCrypto()
        self.shelf = SimShelf(
            device.state, self.keys.device, chance, self.times.wall_ms, device.machine, device.fault, device.made_way
        )
        self.spaces = Spaces(self.shelf, self.keys, crypto, self.times, lambda: device.name)
        self.book = PeerBook(self.times)
        self.switchboard = Switchboard(
            self.spaces.by_id, self.keys, self.times, self.book, name=device.name, software="peerd sim"
        )
        dialer = SimDialer(device.network, self.keys.device)
        self.dialing = Dialing(self.spaces.by_id, self.switchboard, self.book, dialer, self.keys, self.times)
        self.introducing = Introducing(self.spaces.by_id, self.switchboard.shared_with, dialer, self.keys, self.times)
        self.dialing.introductions.introduce = self.introducing.introduce
        self.switchboard.unshared = self.dialing.introductions.unshared
        self.inviting = Inviting(self.spaces, self.keys, self.times, lambda: device.name)
        self.joining = Joining(self.spaces, dialer, self.keys, crypto, self.times)
        self.lookout = Lookout(self.spaces, self.dialing, self.inviting, self.keys, self.times, lambda: device.name)
        self.statuses = Statuses(
            self.spaces,
            self.switchboard,
            self.book,
            self.keys,
            self.times,
            version="sim",
            device_name=lambda: device.name,
        )
        self.housekeeping = Housekeeping(self.spaces, self.switchboard, self.times)
        sealer = Sealer(crypto.seal, self.keys.open, self.times.random_bytes)
        self.relays = Relays(self.spaces, sealer, self.keys, self.times)
        bindings = Bindings(FakeFiles(), self.times, propose, device.state / "backups")
        self.service = Service(
            self.spaces, self.switchboard, self.dialing, self.statuses, self.inviting, self.joining, bindings
        )
        self._nonce = chance.randbytes(16)
        self._announced: tuple[Callable[[bytes], list[bytes]], str | None] | None = None
        self._works: set[asyncio.Task[None]] = set()
        self._introduce()

    def _introduce(self) -> None:
        self.spaces.opened = self._on_space
        self.spaces.closed = self._on_space_closed
        self.switchboard.changed = self.dialing.nudge
        self.inviting.window_changed = self.lookout.show
        self.joining.candidates = self.lookout.pairing_windows
        self.joining.everywhere = self.lookout.everybody
        self.joining.reached = self.dialing.let_in_by
        self.lookout.announce = self._announce
        self.service.couriers = self.relays
        self.statuses.relays = self.relays
        self.housekeeping.history_days = lambda _: self.device.history_days
        self.housekeeping.holders.holdings = self.relays.holdings
        self.housekeeping.holders.seen = self.relays.last_seen

    async def start(self) -> None:
        """As part of this life."""
        self.context = contextvars.copy_context()
        self.shelf.prepare()
        await self.spaces.open_all()
        assert not self.spaces.failed, self.spaces.failed
        for space in self.spaces.by_id.values():
            await self.device.ledger.read(space)
        self.device.network.hosts[self.device.address] = Host(
            self.keys.device, self._authorise, self._on_link, self._spawn
        )
        self.device.air.join(self)
        self._chores = [
            loop_here().create_task(self.housekeeping.tend_secrets(), name="secrets"),
            loop_here().create_task(self.housekeeping.run(), name="housekeeping"),
            loop_here().create_task(scrub_now_and_then(self.spaces.scrubs, self.times), name="scrub"),
        ]
        await self.relays.follow([relay.plan(self.device.number) for relay in self.device.relays])
        self.lookout.show()

    async def stop(self) -> None:
        """In order, as the daemon does."""
        self.device.network.hosts.pop(self.device.address, None)
        self.device.air.leave(self.keys.device)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self.lookout.stop()
        await self.dialing.stop()
        await self.switchboard.stop()
        if self._works:
            await asyncio.wait(set(self._works))
        await self.relays.stop()
        await self.housekeeping.note_time()
        await self.spaces.close()

    # ---- what the parts say to each other

    def _on_space(self, space: Space) -> None:
        for peer in space.presence.peers.values():
            self.book.remembered(peer.device, peer.name, peer.addresses)
        self.device.ledger.open(space, self.device.replaced.setdefault(space.id, []))
        self.switchboard.add_space(space)
        space.on_roster.append(lambda _: self._on_roster())
        self._on_roster()

    def _on_space_closed(self, space: Space) -> None:
        self.switchboard.remove_space(space)
        self.relays.look_again_soon()

    def _on_roster(self) -> None:
        self.dialing.refresh()
        self.housekeeping.roster_changed()
        self.lookout.look_again()
        self.lookout.show()
        self.relays.look_again_soon()

    def _authorise(self, device: bytes, subprotocol: str, _address: Address) -> Refusal | None:
        if subprotocol == SYNC and self.switchboard.shared_with(device):
            return Refusal("paused", "this device takes no links at the moment") if self.switchboard.paused else None
        if subprotocol == PAIR and self.inviting.is_expected(device):
            return None
        if subprotocol == INTRODUCE:
            return None
        if any(device in space.roster.removed for space in self.spaces.by_id.values()):
            return Refusal("removed", "this device was removed")
        return Refusal("unknown-device", "unknown device")

    async def _on_link(self, link: SimLink) -> None:
        if link.subprotocol == PAIR:
            await self.inviting.run_link(link)
        elif link.subprotocol == INTRODUCE:
            await self.introducing.run_link(link)
        else:
            await self.switchboard.run_link(link)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def body() -> None:
            await work

        task = loop_here().create_task(body(), context=self.context.copy())
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    # ---- discovery

    async def _announce(self, tags_for: Callable[[bytes], list[bytes]], pairing_name: str | None) -> None:
        self._announced = tags_for, pairing_name
        self.device.air.announce(self)

    def sighting(self) -> SimSighting | None:
        if self._announced is None:
            return None
        tags_for, name = self._announced
        return SimSighting(self.device.name, (self.device.address,), self._nonce, tuple(tags_for(self._nonce)), name)

    def sight(self, sighting: SimSighting) -> None:
        self.lookout.on_sighting(sighting)


@dataclass
class Surroundings:
    """What all devices share beside the network."""

    ledger: Ledger = field(default_factory=Ledger)
    relays: list[SimRelay] = field(default_factory=list)
    calendar: Calendar = field(default_factory=Calendar)


class Device:
    """One machine: its keys, its disk, its clock, and perhaps a running process."""

    def __init__(
        self, number: int, folder: Path, network: Network, air: Air, chance: random.Random, around: Surroundings
    ) -> None:
        self.number = number
        self.name = f"device-{number}"
        self.address: Address = (self.name, 7337)
        self.chance = chance
        self.network = network
        self.air = air
        self.ledger = around.ledger
        self.relays = around.relays
        self.keys = SimKeys.drawn(chance)
        self.clock = WallClock(calendar=around.calendar)
        self.machine = Machine(f"machine-{number}", "boot-1")
        self.state = folder / self.name
        self.state.mkdir(parents=True)
        backups = folder / f"{self.name}-backup"
        backups.mkdir()
        self.backups = Backups(backups)
        self.now: Running | None = None
        self.fault_now: Callable[[], Exception | None] = lambda: None
        self._ending: Running | None = None
        self.last_copies: dict[bytes, CopyState] = {}  # while it is down
        self.replaced: dict[bytes, list[CopyState]] = {}  # copies in whose place snapshots were put
        self.made_way: set[Path] = set()  # for another copy of the same space: who was let in again, or put one back
        self.history_days = 30
        self.has_gone_back = False
        self._boots = 1

    @property
    def id(self) -> bytes:
        return self.keys.device

    @property
    def running(self) -> Running:
        assert self.now is not None, f"{self.name} is down"
        return self.now

    @property
    def is_up(self) -> bool:
        return self.now is not None

    def fault(self) -> Exception | None:
        """What the disk says instead of writing."""
        return self.fault_now()

    def copy_now(self, space: bytes) -> CopyState:
        """What is on the disk."""
        running = self.now or self._ending
        if running is not None and space in running.spaces.by_id:
            return running.spaces.by_id[space].copy
        return self.last_copies.get(space, CopyState(space))

    def clock_now(self, space: bytes) -> Clock:
        """What the copy on the disk has applied."""
        return self.copy_now(space).clock()

    def _remember_copies(self, running: Running) -> None:
        self._ending = None
        self.last_copies.update({one.id: one.copy for one in running.spaces.by_id.values()})

    async def start(self) -> None:
        running = Running(self)
        self.now = running
        await within(running, running.start)
        running.is_started = True

    async def stop(self) -> None:
        running, self.now = self.running, None
        self._ending = running
        await within(running, running.stop)
        self._remember_copies(running)
        await end_life(running)

    async def crash(self, *, power: bool = False) -> None:
        """The process is gone between two steps; with `power` the whole machine."""
        running, self.now = self.running, None
        self._ending = running
        self.network.hosts.pop(self.address, None)
        self.air.leave(self.id)
        self.network.cut_all_of(self.id)
        await end_life(running)
        self._remember_copies(running)
        await running.shelf.abandon()
        if power:
            self._boots += 1
            self.machine = Machine(self.machine.machine, f"boot-{self._boots}")

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in the device's process."""
        return await within(self.running, work)
