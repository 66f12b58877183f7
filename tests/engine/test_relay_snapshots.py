"""A relay that has outgrown itself keeps a snapshot, and a device that comes late starts from that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from peerd import identity
from peerd.engine.relay_snapshots import RelaySnapshots
from peerd.engine.sealed_relay import SealedRelay
from peerd.protocol.control_relays import RelaySync
from peerd.relay.folder import FolderRelay
from peerd.relay.sealer import Sealer
from tests.engine.conftest import Device, MakeDevice, RunningHands
from tests.engine.relay_scene import QUICK, Relayed
from tests.engine.test_relaying import arrives, comes_true

SNAPSHOT = b"p" * 16
EAGER = replace(QUICK, snapshots=True, snapshot_from_bytes=1, foreign_s=(0.02, 0.05))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "stick"
    path.mkdir()
    return path


Start = Callable[[Device], Awaitable[Relayed]]


@pytest.fixture
async def start(folder: Path) -> AsyncIterator[Start]:
    """Call it with a device: from then on it uses the folder, and makes snapshots soon."""
    started: list[Relayed] = []

    async def start(device: Device) -> Relayed:
        one = Relayed(device, folder)
        one.plan = replace(one.plan, courier=EAGER)
        started.append(await one.start())
        return one

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[FolderRelay]:
    one = FolderRelay(folder)
    await one.prepare()
    yield one
    await one.close()


def snapshots(device: Device, store: FolderRelay) -> RelaySnapshots:
    sealer = Sealer(identity.seal, device.keys.open, device.clock.random_bytes)
    sealed = SealedRelay(device.space, device.spaces, store, sealer, device.keys)
    return RelaySnapshots(device.space, sealed, RunningHands())


async def test_a_snapshot_is_left_and_taken(two: tuple[Device, Device], store: FolderRelay) -> None:
    """What the taker wrote itself meanwhile is kept, and what it lacks has a horizon."""
    desk, laptop = two
    for number in range(50):
        await desk.put(f"k{number}", {"n": number})
    await desk.delete("k0")
    await laptop.put("own", {"n": 1})
    manifest = await snapshots(desk, store).leave(SNAPSHOT)
    assert manifest is not None
    assert (manifest.records, manifest.clock) == (49, desk.clock_now())
    assert await snapshots(laptop, store).take(manifest)
    assert await laptop.value("k7") == {"n": 7}
    assert await laptop.value("own") == {"n": 1}
    assert laptop.space.copy.visible == 50
    assert laptop.space.copy.horizon() == desk.clock_now()


async def test_a_snapshot_of_which_parts_are_missing_or_changed_is_not_taken(
    two: tuple[Device, Device], store: FolderRelay, folder: Path
) -> None:
    desk, laptop = two
    await desk.put("milk", {"n": 1})
    manifest = await snapshots(desk, store).leave(SNAPSHOT)
    assert manifest is not None
    assert not await snapshots(laptop, store).take(replace(manifest, digest=bytes(32)))
    part = _largest(folder)
    part.write_bytes(part.read_bytes()[:-1] + b"\0")
    assert not await snapshots(laptop, store).take(manifest)
    assert laptop.space.copy.visible == 0
    part.unlink()
    assert not await snapshots(laptop, store).take(manifest)


def _largest(folder: Path) -> Path:
    return max(folder.glob("??/*"), key=lambda path: path.stat().st_size)


async def test_a_device_that_comes_late_starts_from_the_snapshot(desk: Device, make: MakeDevice, start: Start) -> None:
    """The segments before it are gone by then; what comes after it comes as ever."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop)
    ours, theirs = await start(desk), await start(laptop)
    for number in range(40):
        await desk.put(f"k{number}", {"n": number})

    async def collected() -> bool:
        for one in (ours, theirs):
            await one.relays.sync(RelaySync())
        (runner,) = theirs.relays._runners.values()
        head = runner.heads().get(desk.id)
        return head is not None and head.snapshot is not None and head.oldest == head.next > 1

    await comes_true(collected)
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    late = await start(attic)
    await arrives(attic, "k39")
    assert attic.space.copy.horizon() == dict.fromkeys(desk.clock_now(), 40)
    await attic.put("own", {"n": 1})
    await arrives(desk, "own")
    await desk.put("after", {"n": 1})
    await arrives(attic, "after")
    assert [one.relays.views().relays[0].findings for one in (ours, theirs, late)] == [[], [], []]
