"""A relay that has outgrown itself keeps a snapshot, and a device that comes late starts from that."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from peerd.engine.relay import snapshots as relay_snapshots
from peerd.engine.relay.snapshots import RelaySnapshots
from peerd.protocol.control.relays import RelaySync
from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_steps import Delete
from peerd.protocol.relay.objects import Manifest
from peerd.protocol.relay.part_chain import PartChain
from tests.engine.conftest import Device, MakeDevice, RunningHands
from tests.engine.relay.test_relaying import arrives, comes_true
from tests.engine.relay_scene import QUICK, Relayed, Sealed, new_stick, objects
from tests.engine.repair.test_repairs import meddle

SNAPSHOT = b"p" * 16
EAGER = replace(QUICK, snapshots=True, snapshot_from_bytes=1, foreign_s=(0.02, 0.05))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_stick(tmp_path)


Start = Callable[..., Awaitable[Relayed]]


@pytest.fixture
async def start(folder: Path) -> AsyncIterator[Start]:
    """Call it with a device: from then on it uses the folder, and makes snapshots soon, unless it is told not to."""
    started: list[Relayed] = []

    async def start(device: Device, *, courier: CourierSettings = EAGER) -> Relayed:
        started.append(await Relayed(device, folder, courier=courier).start())
        return started[-1]

    yield start
    for one in started:
        await one.stop()


Snapshots = Callable[[Device], Awaitable[RelaySnapshots]]


@pytest.fixture
async def snapshots(folder: Path) -> AsyncIterator[Snapshots]:
    """Call it with a device for the snapshots of the folder as that device sees it."""
    sealed = Sealed(folder)

    async def snapshots(device: Device) -> RelaySnapshots:
        return RelaySnapshots(device.space, await sealed.as_seen_by(device), RunningHands())

    yield snapshots
    await sealed.close()


class Kept:
    """What a courier remembers of a snapshot that it takes in; `durable` is what a restart finds."""

    def __init__(self, memory: bytes | None = None) -> None:
        self.memory = relay_memory.decode(memory)
        self.chain = PartChain(self.memory)
        self.durable = b""

    async def keep(self) -> None:
        self.durable = relay_memory.encode(self.memory)

    async def take(self, snapshots: RelaySnapshots, manifest: Manifest) -> bool:
        return await snapshots.take(b"maker", manifest, self.chain, self.keep)


async def test_a_snapshot_is_left_and_taken(two: tuple[Device, Device], snapshots: Snapshots) -> None:
    """What the taker wrote itself meanwhile is kept, and what it lacks has a horizon."""
    desk, laptop = two
    for number in range(50):
        await desk.put(f"k{number}", {"n": number})
    await desk.delete("k0")
    await laptop.put("own", {"n": 1})
    manifest = await (await snapshots(desk)).leave(SNAPSHOT)
    assert manifest is not None
    assert (manifest.records, manifest.clock) == (49, desk.clock_now())
    assert await Kept().take(await snapshots(laptop), manifest)
    assert await laptop.value("k7") == {"n": 7}
    assert await laptop.value("own") == {"n": 1}
    assert laptop.space.copy.visible == 50
    assert laptop.space.copy.horizon() == desk.clock_now()


async def test_a_snapshot_of_which_parts_are_missing_or_changed_is_not_taken(
    two: tuple[Device, Device], snapshots: Snapshots, folder: Path
) -> None:
    """What does not open may be no more than late, as what is missing; its maker can tell if it is what it left."""
    desk, laptop = two
    await desk.put("milk", {"n": 1})
    ours, theirs = await snapshots(desk), await snapshots(laptop)
    manifest = await ours.leave(SNAPSHOT)
    assert manifest is not None
    other = replace(manifest, digest=bytes(32))
    assert not await Kept().take(theirs, other)
    assert theirs.was_refused
    assert [await ours.is_as_left(one) for one in (manifest, other)] == [True, False]
    part = _largest(folder)
    sealed = part.read_bytes()
    part.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert not await Kept().take(theirs, manifest)
    assert not theirs.was_refused
    assert not await ours.is_as_left(manifest)
    assert laptop.space.copy.visible == 0
    part.unlink()
    assert not await Kept().take(theirs, manifest)
    assert not theirs.was_refused
    assert not await ours.is_as_left(manifest)
    part.write_bytes(sealed)
    assert await Kept().take(theirs, manifest)


def _largest(folder: Path) -> Path:
    return max(objects(folder), key=lambda path: path.stat().st_size)


async def test_a_snapshot_that_comes_in_several_goes_is_checked_as_a_whole(
    two: tuple[Device, Device], snapshots: Snapshots, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its parts was sealed once more, with the same in it: only the chain over all parts tells. What came before
    the restart is not fetched again.
    """
    monkeypatch.setattr(relay_snapshots, "AT_ONCE", 1)
    desk, laptop = two
    for number in range(50):
        await desk.put(f"k{number}", {"n": number})
    ours = await snapshots(desk)
    manifest = await ours.leave(SNAPSHOT)
    assert manifest is not None
    shutil.copytree(folder, tmp_path / "whole")
    for number in range(2, manifest.parts):
        await ours._sealed.delete(Delete([], [(SNAPSHOT, number)], []))
    before = Kept()
    assert not await before.take(await snapshots(laptop), manifest)
    assert await laptop.space.snapshots.wanted(SNAPSHOT) == 2
    swapped = tmp_path / "swapped"
    shutil.copytree(tmp_path / "whole", swapped)
    await _seal_again(laptop, swapped, manifest.parts - 2)
    shutil.copytree(swapped, folder, dirs_exist_ok=True)
    assert not await Kept(before.durable).take(await snapshots(laptop), manifest)
    assert await laptop.space.snapshots.wanted(SNAPSHOT) == 0, "it begins anew"
    assert laptop.space.copy.visible == 0


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_cut_snapshot_goes_on_after_a_restart(
    two: tuple[Device, Device],
    snapshots: Snapshots,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    remembered: bool,  # noqa: FBT001 - a case
) -> None:
    """Without memory of the chain, what came before is read once more, and only for that."""
    monkeypatch.setattr(relay_snapshots, "AT_ONCE", 1)
    desk, laptop = two
    await desk.put("milk", {"n": 1})
    ours = await snapshots(desk)
    manifest = await ours.leave(SNAPSHOT)
    assert manifest is not None
    shutil.copytree(folder, tmp_path / "whole")
    for number in range(2, manifest.parts):
        await ours._sealed.delete(Delete([], [(SNAPSHOT, number)], []))
    before = Kept()
    assert not await before.take(await snapshots(laptop), manifest)
    shutil.copytree(tmp_path / "whole", folder, dirs_exist_ok=True)
    theirs = await snapshots(laptop)
    asked: list[int] = []
    fetch = theirs._sealed.parts

    async def parts(snapshot: bytes, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
        asked.extend(numbers)
        return await fetch(snapshot, numbers)

    monkeypatch.setattr(theirs._sealed, "parts", parts)
    assert await Kept(before.durable if remembered else None).take(theirs, manifest)
    assert asked == list(range(2 if remembered else 0, manifest.parts))
    assert await laptop.value("milk") == {"n": 1}


async def _seal_again(device: Device, folder: Path, number: int) -> None:
    """Another sealing of the same part lies in its place."""
    there = Sealed(folder)
    relay = await there.as_seen_by(device)
    plain, _ = (await relay.parts(SNAPSHOT, [number]))[number]
    await relay.delete(Delete([], [(SNAPSHOT, number)], []))
    await relay.put_parts({(SNAPSHOT, number): plain})
    await there.close()


async def test_one_for_which_there_is_no_room_is_named_until_it_is_here(
    desk: Device, make: MakeDevice, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cause and next step, on the relay and of the space; and it goes on when there is room."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop)
    for number in range(40):
        await desk.put(f"k{number}", {"n": number})
    ours, theirs = await start(desk), await start(laptop, courier=QUICK)

    async def collected() -> bool:
        for one in (ours, theirs):
            await one.relays.sync(RelaySync())
        (runner,) = theirs.relays._runners.values()
        head = runner.heads().get(desk.id)
        return head is not None and head.snapshot is not None and head.oldest == head.next > 1

    await comes_true(collected)
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    room = [(64 << 20) + 100]
    monkeypatch.setattr(attic.space.store, "room_bytes", lambda: (room[0], 1 << 40))
    late = await start(attic)
    attic.statuses.relays = late.relays

    async def named() -> bool:
        return late.relays.views().relays[0].code == "disk-full"

    await comes_true(named)
    (view,) = late.relays.views().relays
    assert view.state == "trouble"
    assert view.reason.startswith("the snapshot that desk left there could not be taken in: a snapshot of 40 records")
    assert view.next_step == "Make room on this device; it goes on by itself."
    space = await attic.statuses.spaces.view(attic.space)
    assert (space.state, space.next_step) == ("degraded", view.next_step)
    room[0] = 1 << 40
    await late.relays.sync(RelaySync())
    await arrives(attic, "k39")
    (view,) = late.relays.views().relays
    assert (view.code, view.reason) == ("", "")


async def test_one_that_is_refused_is_named_with_its_cause(
    two: tuple[Device, Device], snapshots: Snapshots, folder: Path
) -> None:
    desk, laptop = two
    await desk.put("milk", {"n": 1})
    manifest = await (await snapshots(desk)).leave(SNAPSHOT)
    assert manifest is not None
    theirs = await snapshots(laptop)
    assert not await Kept().take(theirs, replace(manifest, digest=bytes(32)))
    assert theirs.not_taken is not None
    assert (theirs.not_taken.code, theirs.not_taken.lasting) == ("snapshot-damaged", False)
    assert theirs.not_taken.cause == "a snapshot is not what its maker left"
    assert "leaves another one" in theirs.not_taken.next_step
    assert await Kept().take(theirs, manifest)
    assert theirs.not_taken is None


async def test_a_device_that_comes_late_starts_from_the_snapshot(desk: Device, make: MakeDevice, start: Start) -> None:
    """The segments before it are gone by then; what comes after it comes as ever."""
    laptop, attic = make("laptop"), make("attic")
    await desk.admit(laptop)
    for number in range(40):
        await desk.put(f"k{number}", {"n": number})
    ours, theirs = await start(desk), await start(laptop, courier=QUICK)

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


async def test_one_that_a_damaged_copy_left_takes_nothing_from_who_takes_it(
    two: tuple[Device, Device], snapshots: Snapshots
) -> None:
    """It says what it lost; what was deleted goes all the same."""
    desk, laptop = two
    for key in ("lost", "gone", "left"):
        await desk.put(key, {"n": 1})
    await desk.tell(laptop)
    await desk.delete("gone")
    meddle(desk, "UPDATE origin SET horizon = seq")
    meddle(desk, "INSERT OR IGNORE INTO run_end (origin, seq, hash8) SELECT origin, last, substr(head, 1, 8) FROM run")
    meddle(desk, "DELETE FROM run")
    desk = await desk.reopen()
    meddle(desk, "DELETE FROM record WHERE key = 'lost'")
    await desk.space.scrub.round()
    assert desk.space.damage.is_known
    manifest = await (await snapshots(desk)).leave(SNAPSHOT)
    assert manifest is not None
    assert await Kept().take(await snapshots(laptop), manifest)
    page = await laptop.space.store.page("notes", "", None, 10)
    assert [key for key, _ in page.records] == ["left", "lost"]
    assert not laptop.space.damage.is_known
    await desk.close()
