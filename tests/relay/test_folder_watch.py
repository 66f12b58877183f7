"""Whoever else writes to a relay's folder is heard, and the folder may come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncinotify
import pytest

from peerd.relay import folder_watch as watching
from peerd.relay.folder import FolderRelay
from peerd.relay.folder_trouble import MARK
from tests.relay.mounts import Mount, mounted

PATIENCE_S = 10.0
SHELF = "5e"


def name(what: object) -> str:
    return SHELF + sha256(str(what).encode()).hexdigest()[2:]


def move(one: Path, other: Path) -> None:
    one.rename(other)


class Ear:
    """A device's way to the folder that counts how often it is rung."""

    def __init__(self, folder: Path) -> None:
        self.relay = FolderRelay(folder)
        self.rung = 0
        self._bell = asyncio.Event()

    def begin(self) -> None:
        self.relay.watch(self._ring)

    def _ring(self) -> None:
        self.rung += 1
        self._bell.set()

    async def hears(self) -> None:
        """Wait for the next ring."""
        async with asyncio.timeout(PATIENCE_S):
            await self._bell.wait()
        self._bell.clear()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SEARCH_S", 0.02)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "relay"
    folder.mkdir()
    first = FolderRelay(folder)
    await first.prepare()
    await first.create({name("first"): b"1"})
    await first.close()
    return folder


@pytest.fixture
async def ear(folder: Path) -> AsyncIterator[Ear]:
    """It listens already."""
    ear = Ear(folder)
    ear.begin()
    await ear.hears()
    ear.rung = 0
    yield ear
    await ear.relay.close()


@pytest.fixture
async def other(folder: Path) -> AsyncIterator[FolderRelay]:
    other = FolderRelay(folder)
    yield other
    await other.close()


async def test_another_device_is_heard(ear: Ear, other: FolderRelay) -> None:
    await other.create({name(1): b"1"})
    await ear.hears()
    await other.replace(name(2), b"2", None)
    await ear.hears()
    tag = (await other.lookup([name(2)], contents=False))[name(2)].tag
    await other.replace(name(2), b"3", tag)
    await ear.hears()
    assert ear.rung == 3


async def test_what_it_writes_itself_is_no_news(ear: Ear, other: FolderRelay) -> None:
    """Events come in order: that of the other device is the first that rings."""
    await ear.relay.create({name(1): b"1", name(2): b"2"})
    await ear.relay.replace(name(3), b"3", None)
    await other.create({name(4): b"4"})
    await ear.hears()
    assert ear.rung == 1


def copied(path: Path) -> None:
    path.write_bytes(b"copied")


def moved(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(b"copied")
    part.rename(path)


@pytest.mark.parametrize("arrive", [copied, moved])
async def test_a_program_that_carries_the_folder_is_heard(
    ear: Ear, folder: Path, arrive: Callable[[Path], None]
) -> None:
    arrive(folder / SHELF / name(1))
    await ear.hears()


async def test_names_that_are_none_of_ours_do_not_ring(ear: Ear, folder: Path) -> None:
    shelf = folder / SHELF
    for stray in (f"{name(1)} (conflicted copy)", f".{name(1)}.swp", f"{name(1)}~", "~peerd-0000000000000000.tmp"):
        (shelf / stray).write_bytes(b"stray")
    (folder / "readme.txt").write_bytes(b"stray")
    (shelf / name(1)).touch()
    await ear.hears()
    assert ear.rung in {1, 2}  # made, and closed


async def test_a_new_shelf_is_heard_and_listened_to(ear: Ear, folder: Path) -> None:
    (folder / "ab").mkdir()
    await ear.hears()
    (folder / "ab" / ("ab" * 32)).write_bytes(b"1")
    await ear.hears()


async def test_a_shelf_that_goes_and_comes_again_is_listened_to(ear: Ear, folder: Path) -> None:
    (folder / "ab").mkdir()
    await ear.hears()
    (folder / "ab").rmdir()
    (folder / "ab").mkdir()
    await ear.hears()
    (folder / "ab" / ("ab" * 32)).write_bytes(b"1")
    await ear.hears()


async def test_a_folder_that_comes_back_is_heard_and_listened_to(ear: Ear, folder: Path, other: FolderRelay) -> None:
    move(folder, folder.with_name("away"))
    move(folder.with_name("away"), folder)
    await ear.hears()
    await other.create({name(1): b"1"})
    await ear.hears()


async def test_a_mark_that_is_taken_away_and_put_back_is_heard(ear: Ear, folder: Path) -> None:
    (folder / MARK).unlink()
    (folder / MARK).write_bytes(b"")
    await ear.hears()


async def test_a_folder_that_is_not_there_yet_is_heard_when_it_comes(tmp_path: Path) -> None:
    ear = Ear(tmp_path / "later")
    ear.begin()
    try:
        (tmp_path / "later").mkdir()
        await ear.relay.prepare()
        await ear.hears()
    finally:
        await ear.relay.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    yield from mounted(tmp_path, "ext4")


async def test_a_stick_that_is_pulled_out_and_put_back_is_heard(mount: Mount) -> None:
    ear = Ear(mount.path)
    await ear.relay.prepare()
    ear.begin()
    try:
        await ear.hears()
        mount.unmount()
        mount.mount()
        await ear.hears()
        (mount.path / "ab").mkdir()
        await ear.hears()
    finally:
        await ear.relay.close()


async def test_another_folder_in_its_place_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that is moved, or a mount over it: the system tells nothing, so it is looked for now and then."""
    monkeypatch.setattr(watching, "CHECK_S", 0.02)
    place = tmp_path / "place"
    place.mkdir()
    (place / "mnt").mkdir()
    ear = Ear(place / "mnt")
    await ear.relay.prepare()
    ear.begin()
    try:
        await ear.hears()
        move(place, tmp_path / "old")
        (place / "mnt").mkdir(parents=True)
        (place / "mnt" / MARK).write_bytes(b"")
        await ear.hears()
        (place / "mnt" / "ab").mkdir()
        await ear.hears()
    finally:
        await ear.relay.close()


async def test_without_inotify_it_is_said_once_and_tried_again(
    folder: Path, other: FolderRelay, monkeypatch: pytest.MonkeyPatch, log_events: Any
) -> None:
    tries = 0

    def none_left(**_options: object) -> object:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise OSError(24, "Too many open files")
        return asyncinotify.Inotify()

    monkeypatch.setattr(watching, "Inotify", none_left)
    ear = Ear(folder)
    ear.begin()
    try:
        await ear.hears()
        await other.create({name(1): b"1"})
        await ear.hears()
    finally:
        await ear.relay.close()
    assert tries == 4
    assert [line["event"] for line in log_events()] == ["folder not watched"]


async def test_closing_ends_it(ear: Ear, other: FolderRelay) -> None:
    await ear.relay.close()
    await other.create({name(1): b"1"})
    assert ear.rung == 0
