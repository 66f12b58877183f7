"""Putting a backup in place: cut at any step, it can be run again, and nothing that was there is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import pytest

from peerd.errors import StoreError, UserError
from peerd.store.backup_folder import Draft, Manifest, read_manifest
from peerd.store.migrate import APPLICATION_ID, migrations
from peerd.store.put_back import PutBack, check_finished
from tests.store.test_backup_folder import SPACE, backup_of

OTHER = "07" * 16


class Cut(Exception):
    """The machine went down."""


def database(text: bytes, version: int = 1) -> bytes:
    """As much of a database as anybody looks at."""
    head = bytearray(100)
    head[60:64], head[68:72] = version.to_bytes(4, "big"), APPLICATION_ID.to_bytes(4, "big")
    return bytes(head) + text


async def backup(folder: Path, content: bytes) -> tuple[Path, Manifest]:
    """With keys."""
    keys = {}
    for name in ("device", "sealing"):
        keys[f"identity/{name}.key"] = folder / f"{name}.key"
        (folder / f"{name}.key").write_text(f"saved {name}")
    draft = Draft.begin(folder / "backup", keys)
    draft.place_of(SPACE).write_bytes(content)
    await draft.finish(backup_of())
    return folder / "backup", read_manifest(folder / "backup")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Two spaces, their marks, and keys."""
    folder = tmp_path / "state"
    for name in (
        f"spaces/{SPACE.hex()}.db", f"spaces/{SPACE.hex()}.db-wal", f"spaces/{SPACE.hex()}.name",
        f"marks/{SPACE.hex()}.mark", f"spaces/{OTHER}.db", f"marks/{OTHER}.mark",
        "identity/device.key", "identity/sealing.key",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"old {name}")
    return folder


def contents(folder: Path) -> list[str]:
    return sorted(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())


async def test_what_was_there_is_set_aside(tmp_path: Path, state_dir: Path) -> None:
    """The other space stays as it is, with its mark."""
    source, manifest = await backup(tmp_path, database(b"saved"))
    before = contents(state_dir)
    putting = PutBack(state_dir, source, manifest, keys=True, everything=False)
    putting.copy()
    assert [text for text in contents(state_dir) if text.startswith("old")] == before
    putting.put()
    assert (state_dir / "spaces" / f"{SPACE.hex()}.db").read_bytes() == database(b"saved")
    assert (state_dir / "identity/device.key").read_text() == "saved device"
    assert not (state_dir / "spaces" / f"{SPACE.hex()}.db-wal").exists()
    assert not (state_dir / "marks" / f"{SPACE.hex()}.mark").exists()
    assert (state_dir / "marks" / f"{OTHER}.mark").exists()
    assert [text for text in contents(state_dir) if text.startswith("old")] == before
    assert putting.aside == state_dir / "set-aside" / "restored-1"
    check_finished(state_dir)


async def test_cut_at_any_step_it_is_run_again(tmp_path: Path, state_dir: Path) -> None:
    """Whatever step is the last one: nothing of the old is gone, either nothing has happened or peerd does not start,
    and the second run ends as the first would have.
    """
    source, manifest = await backup(tmp_path, database(b"saved"))
    before = contents(state_dir)
    rename, finished, last = Path.rename, False, 0
    while not finished:
        folder = tmp_path / f"run{last}"
        shutil.copytree(state_dir, folder)
        left = [last]

        def step(path: Path, target: Path, left: list[int] = left) -> Path:
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            return rename(path, target)

        putting = PutBack(folder, source, manifest, keys=True, everything=False)
        putting.copy()
        try:
            with mock.patch.object(Path, "rename", step):
                putting.put()
            finished = True
        except Cut:
            with pytest.raises(StoreError) as raised:
                check_finished(folder)
            assert raised.value.code == "restore-unfinished"
            assert [text for text in contents(folder) if text.startswith("old")] == before
            again = PutBack(folder, source, manifest, keys=True, everything=False)
            again.copy()
            again.put()
        check_finished(folder)
        assert [text for text in contents(folder) if text.startswith("old")] == before
        assert (folder / "spaces" / f"{SPACE.hex()}.db").read_bytes() == database(b"saved")
        assert (folder / "identity/sealing.key").read_text() == "saved sealing"
        last += 1
    assert last > 8


@pytest.mark.parametrize(
    ("content", "code"),
    [(database(b"", migrations()[-1][0] + 1), "store-newer"), (b"not a database" * 9, "backup-damaged")],
)
async def test_what_cannot_be_opened_here_is_not_put_in_place(
    tmp_path: Path, state_dir: Path, content: bytes, code: str
) -> None:
    """Of a later version, or nothing of ours: said before anything is touched."""
    source, manifest = await backup(tmp_path, content)
    before = contents(state_dir)
    with pytest.raises((StoreError, UserError)) as raised:
        PutBack(state_dir, source, manifest, keys=True, everything=True).copy()
    assert raised.value.code == code
    assert contents(state_dir) == before
