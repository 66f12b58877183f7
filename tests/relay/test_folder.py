"""A relay in a folder: what a person meets when what carries it is full, read-only, away, or somebody else's."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from peerd.errors import LocalProtocolError, RelayTrouble
from peerd.relay import folder as module
from peerd.relay.files import Files
from peerd.relay.folder import FolderRelay
from peerd.relay.folder_trouble import MARK
from tests.relay.mounts import Mount, mounted
from tests.relay.scene import noise

ONE, TWO, THREE = (sha256(what).hexdigest() for what in (b"one", b"two", b"three"))


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[FolderRelay]:
    relay = FolderRelay(tmp_path)
    yield relay
    await relay.close()


@pytest.fixture(params=["tmpfs", "ext4"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mount]:
    yield from mounted(tmp_path, request.param)


@pytest.fixture
async def on_mount(mount: Mount) -> AsyncIterator[FolderRelay]:
    relay = FolderRelay(mount.path)
    await relay.prepare()
    yield relay
    await relay.close()


def names_in(folder: Path, pattern: str = "*") -> set[str]:
    return {one.name for one in folder.glob(pattern)}


async def trouble_of(relay: FolderRelay) -> RelayTrouble:
    with pytest.raises(RelayTrouble) as refused:
        await relay.create({ONE: noise(2_000)})
    return refused.value


async def test_a_folder_must_be_marked_first(relay: FolderRelay, tmp_path: Path) -> None:
    assert (await trouble_of(relay)).code == "relay-unreachable"
    with pytest.raises(RelayTrouble):
        await relay.lookup([ONE], contents=False)
    assert names_in(tmp_path) == set()
    await relay.prepare()
    await relay.prepare()
    assert list(await relay.create({ONE: b"1"})) == []
    assert names_in(tmp_path) == {MARK, ONE[:2]}


async def test_an_object_lies_where_the_specification_says(relay: FolderRelay, tmp_path: Path) -> None:
    await relay.prepare()
    await relay.create({ONE: b"1"})
    assert (tmp_path / ONE[:2] / ONE).read_bytes() == b"1"


@pytest.mark.parametrize("mount", ["ext4"], indirect=True)
async def test_a_stick_that_is_pulled_out_leaves_no_trace_here(on_mount: FolderRelay, mount: Mount) -> None:
    """Nothing goes into the empty folder below, and everything is there when it is back."""
    await on_mount.create({ONE: b"1"})
    mount.unmount()
    refused = await trouble_of(on_mount)
    assert (refused.code, str(mount.path) in str(refused), refused.lasting) == ("relay-unreachable", True, False)
    with pytest.raises(RelayTrouble):
        await on_mount.replace(TWO, b"2", None)
    assert names_in(mount.path) == set()
    mount.mount()
    assert (await on_mount.lookup([ONE], contents=True))[ONE].data == b"1"


async def test_a_full_disk_is_said_and_nothing_is_half_there(on_mount: FolderRelay, mount: Mount) -> None:
    many = {sha256(b"%d" % number).hexdigest(): noise(60_000, str(number)) for number in range(20)}
    with pytest.raises(RelayTrouble) as refused:
        await on_mount.create(many)
    assert refused.value.code == "relay-full"
    assert str(mount.path) in str(refused.value)
    there = await on_mount.lookup(list(many), contents=True)
    assert 0 < len(there) < len(many)
    assert all(one.data == many[name] for name, one in there.items())
    assert not any(name.startswith("~") for name in names_in(mount.path, "**/*"))
    await on_mount.delete(list(there))
    assert list(await on_mount.create({ONE: noise(60_000)})) == []


async def test_a_full_disk_keeps_the_head_that_is_there(on_mount: FolderRelay, mount: Mount) -> None:
    tag = await on_mount.replace(ONE, noise(60_000), None)
    with pytest.raises(RelayTrouble) as refused:
        await on_mount.replace(ONE, noise(2_000_000), tag)
    assert refused.value.code == "relay-full"
    assert (await on_mount.lookup([ONE], contents=True))[ONE].data == noise(60_000)


async def test_a_read_only_file_system_is_read_and_said(on_mount: FolderRelay, mount: Mount) -> None:
    await on_mount.create({ONE: b"1"})
    mount.make_read_only()
    assert (await on_mount.lookup([ONE], contents=True))[ONE].data == b"1"
    with pytest.raises(RelayTrouble) as refused:
        await on_mount.create({TWO: b"2"})
    assert (refused.value.code, refused.value.lasting) == ("relay-denied", True)
    with pytest.raises(RelayTrouble):
        await on_mount.delete([ONE])


async def test_who_may_not_look_is_told(relay: FolderRelay, tmp_path: Path) -> None:
    """The thread that touches files becomes a user that owns nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    await relay.prepare()
    await relay._worker.run(lambda: ctypes.CDLL(None).setfsuid(65_534))
    refused = await trouble_of(relay)
    assert (refused.code, refused.lasting) == ("relay-denied", True)
    assert str(tmp_path) in str(refused)
    assert str(os.geteuid()) in refused.next_step


async def test_a_name_that_is_none_is_a_mistake_of_ours(relay: FolderRelay) -> None:
    await relay.prepare()
    for name in ("../../etc/passwd", "a" * 63, "A" * 64, MARK):
        with pytest.raises(LocalProtocolError):
            await relay.create({name: b"1"})
        with pytest.raises(LocalProtocolError):
            await relay.lookup([name], contents=True)


async def test_a_file_that_is_copied_at_the_moment_is_other_bytes(relay: FolderRelay, tmp_path: Path) -> None:
    """Never an error; and the head of ours that comes back in part from elsewhere can be replaced."""
    await relay.prepare()
    await relay.create({ONE: b"whole"})
    (tmp_path / ONE[:2] / ONE).write_bytes(b"who\0\0")
    found = (await relay.lookup([ONE], contents=True))[ONE]
    assert found.data == b"who\0\0"
    assert await relay.replace(ONE, b"newer", found.tag) is not None
    (tmp_path / ONE[:2] / ONE).write_bytes(b"")
    assert await relay.lookup([ONE], contents=False) == {}
    assert await relay.replace(ONE, b"newer", found.tag) is None
    assert await relay.replace(ONE, b"newer", None) is not None


async def test_a_replacement_that_is_done_already_is_done(relay: FolderRelay) -> None:
    """A courier whose process ended before it heard so asks again."""
    await relay.prepare()
    first = await relay.replace(ONE, b"first", None)
    second = await relay.replace(ONE, b"second", first)
    assert second == await relay.replace(ONE, b"second", first)


async def test_drafts_are_looked_for_once_a_day_and_only_by_who_writes(
    relay: FolderRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps: list[Files] = []
    sweep = Files.sweep

    def counted(files: Files) -> None:
        sweeps.append(files)
        sweep(files)

    monkeypatch.setattr(Files, "sweep", counted)
    await relay.prepare()
    sweeps.clear()
    await relay.lookup([ONE], contents=True)
    assert sweeps == []
    await relay.create({ONE: b"1"})
    await relay.replace(TWO, b"2", None)
    assert len(sweeps) == 1
    monkeypatch.setattr(module, "SWEEP_S", 0.0)
    await relay.create({THREE: b"3"})
    assert len(sweeps) == 2


async def test_the_loop_goes_on_while_the_folder_does_not_answer(
    relay: FolderRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await relay.prepare()
    may_go_on = threading.Event()
    read = Files.read

    def slow(files: Files, name: str) -> bytes | None:
        may_go_on.wait()
        return read(files, name)

    monkeypatch.setattr(Files, "read", slow)
    looking = asyncio.create_task(relay.lookup([ONE], contents=True))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not looking.done()
    may_go_on.set()
    assert await looking == {}


async def test_what_it_remembers_of_its_own_names_is_bounded(
    relay: FolderRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    await relay.prepare()
    await relay.create({ONE: b"1", TWO: b"2", THREE: b"3"})
    assert list(relay._written) == [TWO, THREE]
