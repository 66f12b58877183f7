"""Devices with real keys, databases and spaces, a clock that is moved by hand, and links inside this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from peerd import identity
from peerd.core.clocks import Clock as VectorClock
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.stored import Address
from peerd.core.values import pack
from peerd.engine.links.dialing import Dialing
from peerd.engine.links.lookout import Lookout
from peerd.engine.links.peer_book import PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.members.introducing import Introducing
from peerd.engine.members.inviting import Inviting
from peerd.engine.members.joining import Joining
from peerd.engine.records import Records
from peerd.engine.relay.relays import Relays
from peerd.engine.service import Service
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.statuses import Statuses
from peerd.engine.tables.bindings import Bindings
from peerd.engine.upkeep.housekeeping import Housekeeping
from peerd.errors import LinkLost
from peerd.identity import Identity
from peerd.net.link import INTRODUCE, PAIR, SYNC
from peerd.protocol import codec
from peerd.protocol.control.messages import ChangeRequest, WriteResult
from peerd.protocol.pairing import messages as pairing_messages
from peerd.relay.sealer import Sealer
from peerd.store.shelf import Shelf
from peerd.store.space import SpaceStore
from tests.engine.fake_files import FakeFiles, propose

START_MS = 1_750_000_000_000
PATIENCE_S = 10.0


class Hands:
    """A clock that stands still until it is moved. Chance is real, but spreading timers takes the lower bound."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.run_s = 1000.0
        self.slept_s = 0.0
        self.tq = 2

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.run_s

    def boottime_s(self) -> float:
        return self.run_s + self.slept_s

    def quality(self) -> int:
        return self.tq

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return min(low, high, 0.01)

    def pass_s(self, seconds: float) -> None:
        """Let time pass by every clock."""
        self.now_ms += round(seconds * 1000)
        self.run_s += seconds


class RunningHands(Hands):
    """Time passes by itself, for what waits for quiet."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Crypto:
    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return Identity.verify(public_key, signature, data)

    def seal(self, recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
        return identity.seal(recipient, plaintext, info)


class InlineShelf(Shelf):
    """Databases without threads: whatever does not wait for another device happens in one step of the loop."""

    async def _open(self, path: Path) -> SpaceStore:
        mark = self._marks / f"{path.stem}.mark"
        return await SpaceStore.open(path, self._device, mark, self._random_bytes, self._wall_ms, threaded=False)


class Pipe:
    """One end of a link inside this process. With `flowing` cleared, what is sent waits at this end; `stop_at` a kind
    of message does that when the first one comes along.
    """

    def __init__(self, theirs: bytes, address: Address, subprotocol: str, *, dialed: bool) -> None:
        self.theirs = theirs
        self.address = address
        self.subprotocol = subprotocol
        self.dialed = dialed
        self.closed: tuple[int, str] | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.stop_at: type[object] | None = None
        self._decode: Callable[[bytes], object] = pairing_messages.decode if subprotocol == PAIR else codec.decode
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: Pipe | None = None

    @staticmethod
    def pair(ours: bytes, theirs: bytes, address: Address, subprotocol: str) -> tuple[Pipe, Pipe]:
        """The dialled end, and the other."""
        near = Pipe(theirs, address, subprotocol, dialed=True)
        far = Pipe(ours, ("192.0.2.1", 50000), subprotocol, dialed=False)
        near.other, far.other = far, near
        return near, far

    def go_on(self) -> None:
        self.stop_at = None
        self.flowing.set()

    async def send(self, frame: bytes) -> None:
        if self.stop_at is not None and isinstance(self._decode(frame), self.stop_at):
            self.flowing.clear()
        await self.flowing.wait()
        if self.closed is not None or self.other is None:
            raise LinkLost("the link is closed")
        self.other._arrived.put_nowait(frame)

    async def receive(self) -> bytes:
        if self.closed is not None and self._arrived.empty():
            raise LinkLost("the link is closed")
        frame = await self._arrived.get()
        if frame is None:
            raise LinkLost("the link is closed")
        return frame

    async def close(self, code: int, reason: str) -> None:
        for end in (self, self.other):
            if end is not None and end.closed is None:
                end.closed = code, reason
                end.flowing.set()
                end._arrived.put_nowait(None)


class Wire:
    """Who can be dialled where. A refusal is raised at whoever dials."""

    def __init__(self) -> None:
        self.devices: dict[Address, Device] = {}
        self.refusals: dict[Address, LinkLost] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.dialled: list[Address] = []
        self.pipes: list[Pipe] = []  # of whoever dialled
        self.stop_at: type[object] | None = None  # of what those say that dial to pair
        self.stop_at_far: type[object] | None = None  # and of what they are answered

    async def dial(self, ours: bytes, address: Address, subprotocol: str, expect: bytes | None) -> Pipe:
        self.dialled.append(address)
        await asyncio.sleep(0)
        if address in self.refusals:
            raise self.refusals[address]
        device = self.devices.get(address)
        if device is None:
            raise LinkLost("no route to host", code="no-route")
        if expect is not None and expect != device.id:
            raise LinkLost("another device answers there", code="wrong-device")
        if subprotocol == PAIR and not device.inviting.is_expected(ours):
            raise LinkLost("it does not know this device", code="unknown-device")
        if subprotocol == SYNC and not device.switchboard.shared_with(ours):
            raise LinkLost("it does not know this device", code="unknown-device")
        near, far = Pipe.pair(ours, device.id, address, subprotocol)
        near.stop_at, far.stop_at = self.stop_at, self.stop_at_far
        self.pipes.append(near)
        owners = {PAIR: device.inviting.run_link, INTRODUCE: device.introducing.run_link}
        self.spawn(owners.get(subprotocol, device.switchboard.run_link)(far))
        return near

    def spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def body() -> None:
            await work

        task = asyncio.create_task(body())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def connect(self, one: Device, other: Device, stop_at: type[object] | None = None) -> tuple[Pipe, Pipe]:
        """A live link between two switchboards; `stop_at` concerns what the first one says."""
        near, far = Pipe.pair(one.id, other.id, other.address, "peerd.sync.1")
        near.stop_at = stop_at
        self.spawn(one.switchboard.run_link(near))
        self.spawn(other.switchboard.run_link(far))
        return near, far


class Device:
    """Everything the daemon assembles but its sockets, discovery and control server."""

    def __init__(self, name: str, folder: Path, wire: Wire, clock: Hands, *, threaded: bool) -> None:
        self.name = name
        self.folder = folder
        self.clock = clock
        self.wire = wire
        self.keys = Identity.load_or_create(folder / "identity")
        self.address: Address = (name, 7337)
        self.streams: list[AsyncGenerator[Any, None]] = []  # closed with the device
        shelf_type = Shelf if threaded else InlineShelf
        self.shelf = shelf_type(folder, self.keys.device, clock.random_bytes, clock.wall_ms)
        self.shelf.prepare()
        crypto = Crypto()
        self.spaces = Spaces(self.shelf, self.keys, crypto, clock, lambda: self.name)
        self.book = PeerBook(clock)
        self.switchboard = Switchboard(self.spaces.by_id, self.keys, clock, self.book, name=name, software="peerd test")
        self.dialing = Dialing(self.spaces.by_id, self.switchboard, self.book, self, self.keys, clock)
        self.inviting = Inviting(self.spaces, self.keys, clock, lambda: self.name)
        self.introducing = Introducing(self.spaces.by_id, self.switchboard.shared_with, self, self.keys, clock)
        self.dialing.introductions.introduce = self.introducing.introduce
        self.switchboard.unshared = self.dialing.introductions.unshared
        self.joining = Joining(self.spaces, self, self.keys, crypto, clock)
        self.lookout = Lookout(self.spaces, self.dialing, self.inviting, self.keys, clock, lambda: self.name)
        self.statuses = Statuses(
            self.spaces, self.switchboard, self.book, self.keys, clock, version="0", device_name=lambda: self.name
        )
        self.housekeeping = Housekeeping(self.spaces, self.switchboard, clock)
        self.files = FakeFiles()
        self.bindings = Bindings(self.files, RunningHands(), propose, folder / "backups")
        self.statuses.spaces.tables = self.bindings.notices_of
        self.service = Service(
            self.spaces, self.switchboard, self.dialing, self.statuses, self.inviting, self.joining, self.bindings
        )
        sealer = Sealer(identity.seal, self.keys.open, clock.random_bytes)
        self.service.couriers = Relays(self.spaces, sealer, self.keys, clock)
        self.spaces.opened = self._begin
        self.spaces.closed = self._end
        self.joining.candidates = self.lookout.pairing_windows
        self.joining.everywhere = self.lookout.everybody
        wire.devices[self.address] = self

    def _begin(self, space: Space) -> None:
        self.switchboard.add_space(space)
        self.bindings.add_space(space)

    def _end(self, space: Space) -> None:
        self.switchboard.remove_space(space)
        self.bindings.remove_space(space)

    @property
    def id(self) -> bytes:
        return self.keys.device

    async def dial(self, address: Address, subprotocol: str, expect: bytes | None, timeout_s: float = 5.0) -> Pipe:
        del timeout_s
        return await self.wire.dial(self.id, address, subprotocol, expect)

    @property
    def space(self) -> Space:
        """The only space of this device."""
        (space,) = self.spaces.by_id.values()
        return space

    @property
    def records(self) -> Records:
        return Records(self.space)

    async def put(self, key: str, value: dict[str, Any], collection: str = "notes", **more: Any) -> WriteResult:
        return await self.write(ChangeRequest(kind="put", collection=collection, key=key, value=value, **more))

    async def patch(self, key: str, collection: str = "notes", **more: Any) -> WriteResult:
        return await self.write(ChangeRequest(kind="patch", collection=collection, key=key, **more))

    async def delete(self, key: str, collection: str = "notes", **more: Any) -> WriteResult:
        return await self.write(ChangeRequest(kind="delete", collection=collection, key=key, **more))

    async def write(self, *changes: ChangeRequest) -> WriteResult:
        return await self.records.write(changes)

    async def value(self, key: str, collection: str = "notes") -> dict[str, Any]:
        return (await self.records.read(collection, key)).value

    async def park(self, key: str, value: object = 1, collection: str = "notes", field: str = "x") -> None:
        """Let a record stand parked without an image: here is an edit of what was deleted before anybody looked."""
        patch = Intent(Kind.PATCH, collection, key, {field: pack(value)}, literal=True)
        await self.space.commits.write([patch])

    def clock_now(self) -> VectorClock:
        return self.space.copy.clock()

    async def tell(self, *others: Device) -> None:
        """Let others have every statement and transaction that this device has, in one direction."""
        for other in others:
            ours, theirs = self.space, other.space
            await theirs.learn(ours.roster.statements)
            after = 0
            while True:
                piece = await ours.store.runs_after(after, 1 << 20)
                if piece.rows:
                    announced = [at.announcement for at in ours.copy.origins.values()]
                    await theirs.commits.take(announced, [row.run for row in piece.rows])
                if piece.read_up_to == after:
                    break
                after = piece.read_up_to

    async def admit(self, *others: Device) -> None:
        """Make others members of the one space, without a link."""
        for other in others:
            await self.spaces.admit(self.space, other.spaces.card())
            await other.spaces.adopt(self.space.id, self.space.name, self.space.roster.statements)
        for other in others:
            await self.tell(other)

    async def reopen(self) -> Device:
        """The same device after a stop and a start."""
        await self.close()
        again = Device(self.name, self.folder, self.wire, self.clock, threaded=type(self.shelf) is Shelf)
        again.files.databases = self.files.databases
        await again.spaces.open_all()
        return again

    async def close(self) -> None:
        for stream in self.streams:
            await stream.aclose()
        await self.lookout.stop()
        await self.dialing.stop()
        await self.switchboard.stop()
        await self.bindings.stop()
        await self.spaces.close()
        self.spaces.by_id.clear()
        self.wire.devices.pop(self.address, None)


class MakeDevice(Protocol):
    def __call__(self, name: str, *, threaded: bool = False, clock: Hands | None = None) -> Device: ...


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def running_clock() -> type[RunningHands]:
    """Make one for a device for which time passes by itself."""
    return RunningHands


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    if wire.tasks:
        _done, left = await asyncio.wait(set(wire.tasks), timeout=PATIENCE_S)
        for task in left:
            task.cancel()
        assert not left


@pytest.fixture
async def make(tmp_path: Path, clock: Hands, wire: Wire) -> AsyncIterator[MakeDevice]:
    """Call it with a name for a new device; what is left open is closed at the end."""
    shared = clock

    def make(name: str, *, threaded: bool = False, clock: Hands | None = None) -> Device:
        folder = tmp_path / name
        folder.mkdir()
        return Device(name, folder, wire, clock or shared, threaded=threaded)

    yield make
    for device in list(wire.devices.values()):
        await device.close()


@pytest.fixture
async def desk(make: MakeDevice) -> Device:
    """A device that has founded the space `home`."""
    device = make("desk")
    await device.spaces.found("home")
    return device


@pytest.fixture
async def two(desk: Device, make: MakeDevice) -> tuple[Device, Device]:
    """Two members of `home` that hear of each other only through `tell`."""
    laptop = make("laptop")
    await desk.admit(laptop)
    return desk, laptop


Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Wait for what has to come true; call it with the condition."""

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - there is no event for whatever a test may ask
                await asyncio.sleep(0.001)

    return until


@pytest.fixture
def pipe_between() -> Callable[[Device, Device], tuple[Pipe, Pipe]]:
    """Call it with who dials and who is dialled, for both ends of a new link for pairing."""
    return lambda one, other: Pipe.pair(one.id, other.id, other.address, PAIR)
