"""The folder of a backup: there whole or not at all, and believed only as far as its hashes go."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from peerd.errors import UserError
from peerd.protocol.control.backups import BackedUp, BackupOf
from peerd.store.backup_folder import Draft, read_manifest, take_copy

SPACE = b"s" * 16


def backup_of() -> BackupOf:
    spaces = [BackedUp(name="home", id=SPACE.hex())]
    return BackupOf(version="1", device="D", device_name="desk", made_ms=1, spaces=spaces)


def folders(inside: Path) -> list[str]:
    return [path.name for path in inside.iterdir() if path.is_dir()]


async def made(target: Path) -> Path:
    """A backup with one space and one file beside it."""
    extra = target.parent / "peerd.toml"
    extra.write_text("[log]\n")
    draft = Draft.begin(target, {"config/peerd.toml": extra})
    draft.place_of(SPACE).write_bytes(b"pages")
    await draft.finish(backup_of())
    return target


async def test_it_is_in_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """Until then under another name, which is no backup; one that was cut off is no obstacle to the next."""
    target = tmp_path / "backup"
    cut_off = Draft.begin(target, {})
    cut_off.place_of(SPACE).write_bytes(b"half")
    assert not target.exists()
    with pytest.raises(UserError, match="no backup"):
        read_manifest(tmp_path / "backup.unfinished")
    manifest = read_manifest(await made(target))
    assert manifest.backup == backup_of()
    assert not manifest.has_keys
    assert set(manifest.files) == {f"spaces/{SPACE.hex()}.db", f"spaces/{SPACE.hex()}.name", "config/peerd.toml"}
    assert folders(tmp_path) == ["backup"]


async def test_given_up_nothing_stays(tmp_path: Path) -> None:
    draft = Draft.begin(tmp_path / "backup", {})
    await draft.give_up()
    assert folders(tmp_path) == []


async def test_an_empty_folder_is_taken_and_any_other_is_not(tmp_path: Path) -> None:
    """Somebody may have made the mount point."""
    target = tmp_path / "backup"
    target.mkdir()
    await made(target)
    with pytest.raises(UserError) as raised:
        Draft.begin(target, {})
    assert raised.value.code == "backup-exists"


async def test_a_file_that_is_not_what_was_written_is_not_taken(tmp_path: Path) -> None:
    """Changed, cut or gone."""
    folder = await made(tmp_path / "backup")
    name = f"spaces/{SPACE.hex()}.db"
    kept = read_manifest(folder).files[name]
    take_copy(folder, name, kept, tmp_path / "good")
    assert (tmp_path / "good").read_bytes() == b"pages"
    said = ("it is as long, and its content has changed", "4 bytes are there, and 5 were written", "cannot be read")
    for number, (content, why) in enumerate(zip((b"pageS", b"page", None), said, strict=True)):
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        with pytest.raises(UserError) as raised:
            take_copy(folder, name, kept, tmp_path / f"bad{number}")
        assert raised.value.code == "backup-damaged"
        assert why in str(raised.value)


@pytest.mark.parametrize("name", ["../x", "spaces/../../x.db", "config/..", "/etc/passwd", "identity/other"])
async def test_a_backup_names_no_place_outside_of_it(tmp_path: Path, name: str) -> None:
    """Whoever can change its list could have anything overwritten with anything."""
    folder = await made(tmp_path / "backup")
    listed = folder / "backup.json"
    document = msgspec.json.decode(listed.read_bytes())
    document["files"][name] = {"size_bytes": 0, "sha256": ""}
    listed.write_bytes(msgspec.json.encode(document))
    with pytest.raises(UserError) as raised:
        read_manifest(folder)
    assert raised.value.code == "backup-damaged"
