"""The databases of all spaces: each is opened by itself, and none is thrown away."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerd.core.roster.statements import SignedStatement
from peerd.errors import DiskFull, StoreBusy, StoreDamaged
from peerd.store import founding
from peerd.store import space as space_store
from peerd.store.shelf import Shelf
from tests.store.copies import DEVICE, NOW_MS, SPACE

STATEMENT = SignedStatement(b"genesis", b"s" * 64)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path, DEVICE, random.Random(3).randbytes, lambda: NOW_MS)
    made.prepare()
    return made


async def test_a_new_space_is_there_with_its_statements(
    shelf: Shelf, tmp_path: Path, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """Durable before anybody is told; the next start finds it, and its mark lies apart from it."""
    opened, store = await shelf.create(SPACE, "home", [STATEMENT])
    assert log_events() == [], "where nothing was before, nothing is missed"
    assert (opened.space, opened.name, opened.statements) == (SPACE, "home", (STATEMENT,))
    await store.close()
    ((again, store),) = await shelf.open_all()
    assert again.statements == (STATEMENT,)
    assert again.copy_id == opened.copy_id
    await store.close()
    assert [path.name for path in (tmp_path / "marks").iterdir()] == [f"{SPACE.hex()}.mark"]


async def test_a_space_that_cannot_be_opened_does_not_stop_the_others(shelf: Shelf, tmp_path: Path) -> None:
    """What failed is listed with its reason."""
    for space in (SPACE, b"T" * 16):
        _, store = await shelf.create(space, "home", [])
        await store.close()
    (tmp_path / "spaces" / f"{SPACE.hex()}.db").write_bytes(b"no database" * 1000)
    ((opened, store),) = await shelf.open_all()
    assert opened.space == b"T" * 16
    assert isinstance(shelf.failed["home"], StoreDamaged), "it stands beside the database what it was called"
    assert shelf.failed_space("home") == SPACE
    await store.close()


@pytest.mark.parametrize("beside", [None, b"../evil", b"\xff", b""])
async def test_a_damaged_database_without_a_name_is_listed_by_its_id(
    shelf: Shelf, tmp_path: Path, beside: bytes | None
) -> None:
    _, store = await shelf.create(SPACE, "home", [])
    await store.close()
    (tmp_path / "spaces" / f"{SPACE.hex()}.db").write_bytes(b"no database" * 1000)
    name = tmp_path / "spaces" / f"{SPACE.hex()}.name"
    name.unlink()
    if beside is not None:
        name.write_bytes(beside)
    assert await shelf.open_all() == []
    assert list(shelf.failed) == [SPACE.hex()]


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("damaged", [False, True])
async def test_a_forgotten_space_is_set_aside_or_deleted(
    shelf: Shelf, tmp_path: Path, *, delete: bool, damaged: bool
) -> None:
    """Nothing of it is left among the spaces, whether it could be opened or not."""
    _, store = await shelf.create(SPACE, "home", [])
    await store.close()
    if damaged:
        (tmp_path / "spaces" / f"{SPACE.hex()}.db").write_bytes(b"no database" * 1000)
        await shelf.open_all()
        assert list(shelf.failed) == ["home"]
    earlier = tmp_path / "backups" / f"{SPACE.hex()}.format-1.db"
    earlier.parent.mkdir(exist_ok=True)
    earlier.touch()
    aside = shelf.forget(SPACE, delete=delete)
    assert earlier.exists() != delete
    assert (aside is None) == delete
    assert aside is None or aside.exists()
    assert list((tmp_path / "spaces").iterdir()) == list((tmp_path / "marks").iterdir()) == []
    assert shelf.failed == {}
    _, store = await shelf.create(SPACE, "home", [])
    await store.close()
    assert delete or shelf.forget(SPACE, delete=False) != aside


async def test_a_state_directory_in_use_is_refused_as_a_whole(shelf: Shelf, tmp_path: Path) -> None:
    """A second daemon does not take what the first one left over."""
    _, first = await shelf.create(b"A" * 16, "other", [])
    await first.close()  # so that one could be opened before the busy one is met
    _, store = await shelf.create(SPACE, "home", [])
    with pytest.raises(StoreBusy, match="Another peerd"):
        await Shelf(tmp_path, DEVICE, random.Random(4).randbytes, lambda: NOW_MS).open_all()
    await store.close()


async def test_an_older_copy_of_the_same_space_is_set_aside(shelf: Shelf, tmp_path: Path) -> None:
    """Joining again starts empty and under a new origin; the old file stays, every time."""
    for _ in range(3):
        opened, store = await shelf.create(SPACE, "home", [])
        assert opened.own_origin is None
        await store.close()
    files = {
        path.name
        for path in (tmp_path / "spaces").iterdir()
        if path.suffix not in {".lock", ".name", ".roster", ".bindings"}
    }
    name = SPACE.hex()
    assert files == {f"{name}.db", f"{name}.aside-1", f"{name}.aside-2"}
    ((_, store),) = await shelf.open_all()
    await store.close()


async def test_an_older_copy_stays_where_no_new_one_can_be_made(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason for which it could not be opened."""
    _, store = await shelf.create(SPACE, "home", [])
    await store.close()
    path = tmp_path / "spaces" / f"{SPACE.hex()}.db"
    path.write_bytes(b"no database" * 1000)
    await shelf.open_all()

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(founding, "sync_folder", full)
        with pytest.raises(DiskFull):
            await shelf.create(SPACE, "home", [])
    assert path.read_bytes() == b"no database" * 1000
    assert isinstance(shelf.failed["home"], StoreDamaged)
    _, store = await shelf.create(SPACE, "home", [])
    assert shelf.failed == {}
    await store.close()


async def test_nothing_stays_of_a_copy_whose_folder_cannot_be_synced(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(founding, "sync_folder", full)
    path = tmp_path / "spaces" / f"{SPACE.hex()}.db"
    with pytest.raises(DiskFull):
        await founding.create(path, SPACE, "home", random.Random(1).randbytes)
    assert [one.name for one in path.parent.iterdir()] == [path.name + ".lock"]


async def test_a_database_that_is_gone_is_missed(shelf: Shelf, tmp_path: Path) -> None:
    """Its members stand beside it, and make a new copy of it without anybody's help."""
    _, store = await shelf.create(SPACE, "home", [STATEMENT])
    later = SignedStatement(b"later", b"t" * 64)
    await store.add_statements([later, STATEMENT])
    await store.close()
    (tmp_path / "spaces" / f"{SPACE.hex()}.db").unlink()
    assert (await shelf.open_all(), shelf.passing()) == ([], [])
    assert {name: why.code for name, why in shelf.failed.items()} == {"home": "store-missing"}
    assert shelf.salvage(SPACE) == [STATEMENT, later]
    _, store = await shelf.create(SPACE, "home", shelf.salvage(SPACE))
    assert (shelf.failed, store.opened.statements) == ({}, (STATEMENT, later))
    await store.close()


@pytest.mark.parametrize("left", ["spaces/{}.roster", "spaces/{}.name", "spaces/{}.bindings", "marks/{}.mark"])
async def test_any_trace_of_a_database_tells_that_it_is_gone(shelf: Shelf, tmp_path: Path, left: str) -> None:
    """Whatever else was lost with it: no space goes without a word. It is forgotten with its last trace."""
    _, store = await shelf.create(SPACE, "home", [STATEMENT])
    await store.close()
    trace = tmp_path / left.format(SPACE.hex())
    trace.touch()
    for path in [*(tmp_path / "spaces").iterdir(), *(tmp_path / "marks").iterdir()]:
        if path != trace:
            path.unlink()
    assert await shelf.open_all() == []
    name = "home" if trace.suffix == ".name" else SPACE.hex()
    assert {name: why.code for name, why in shelf.failed.items()} == {name: "store-missing"}
    shelf.forget(SPACE, delete=False)
    assert (await shelf.open_all(), shelf.failed) == ([], {})
    assert not trace.exists()


async def test_no_trace_is_left_of_a_copy_that_could_not_be_made(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be missed at the next start."""

    async def full(*_: object, **__: object) -> None:
        raise DiskFull("full")

    with monkeypatch.context() as patched:
        patched.setattr(space_store, "open_database", full)
        with pytest.raises(DiskFull):
            await shelf.create(SPACE, "home", [STATEMENT])
    assert (await shelf.open_all(), shelf.failed) == ([], {})


@pytest.mark.parametrize("beside", [None, b"no roster", b""])
async def test_a_roster_is_salvaged_from_the_database_too(shelf: Shelf, tmp_path: Path, beside: bytes | None) -> None:
    """Where the copy beside it is missing or damaged; and a start brings that up to date again."""
    _, store = await shelf.create(SPACE, "home", [STATEMENT])
    await store.close()
    copy = tmp_path / "spaces" / f"{SPACE.hex()}.roster"
    whole = copy.read_bytes()
    copy.unlink()
    if beside is not None:
        copy.write_bytes(beside)
    assert shelf.salvage(SPACE) == [STATEMENT]
    ((_, store),) = await shelf.open_all()
    assert copy.read_bytes() == whole
    await store.close()
