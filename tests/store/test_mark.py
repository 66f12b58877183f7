"""A database that went back in time, or came from elsewhere, does not go on under its old origin."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from peerd.errors import StoreError
from peerd.store.machine import Machine, this_machine
from peerd.store.mark import Mark, MarkFile, Standing, objection
from tests.store.copies import Copy, LogEvents, put

NOW = Machine("m", "b")
MARK = Mark("t", "m", "b", inode=7, origin="o", seq=5)
STANDING = Standing("t", NOW, inode=7, origin="o", seq=5)
OPENED = Standing("n", NOW, inode=7, origin="o", seq=5)


@pytest.mark.parametrize(
    ("mark", "standing", "word"),
    [
        (MARK, STANDING, ""),
        (MARK, replace(STANDING, seq=6), ""),  # killed between the commit and the mark
        (replace(MARK, next_token=OPENED.token), OPENED, ""),  # killed while it was being opened
        (replace(MARK, clean=True, boot="earlier"), STANDING, ""),
        (None, STANDING, "missing"),
        (replace(MARK, machine="another"), STANDING, "another machine"),
        (MARK, replace(STANDING, inode=8), "replaced or copied"),
        (MARK, OPENED, "another copy"),
        (MARK, replace(STANDING, origin="older"), "another copy"),
        (MARK, replace(STANDING, seq=4), "restored"),
        (replace(MARK, clean=True), replace(STANDING, seq=4), "restored"),
        (replace(MARK, boot="earlier"), STANDING, "went down"),
    ],
)
def test_the_own_origin_goes_on_only_if_everything_agrees(mark: Mark | None, standing: Standing, word: str) -> None:
    """Each line of the table in `mark` alone decides, and gives its sentence."""
    note = objection(mark, standing)
    assert (word in note) if word else note == ""


async def write_some(copy: Copy, *keys: str) -> None:
    for key in keys:
        await copy.write([put("todo", key, n=1)])


async def ends(copy: Copy, word: str) -> None:
    """The next opening ends the origin with a note; the one after that has nothing more to say."""
    old = copy.origin
    opened = await copy.open()
    assert opened.own_origin is None
    assert word in opened.origin_note
    assert old in opened.state.origins
    opened = await copy.reopen()
    assert opened.own_origin is None
    assert opened.origin_note == ""


async def test_a_closed_copy_goes_on_after_another_boot(copy: Copy) -> None:
    """Closing in order is what a later start of the machine relies on."""
    await write_some(copy, "a", "b")
    await copy.store.close()
    copy.machine = replace(copy.machine, boot="second boot")
    opened = await copy.open()
    assert (opened.own_origin, opened.origin_note) == (copy.origin, "")
    await write_some(copy, "c")
    assert copy.state.seq(copy.origin) == 3


async def test_a_new_copy_has_no_origin_and_no_complaint(copy: Copy) -> None:
    """The first write takes one."""
    assert (copy.store.opened.own_origin, copy.store.opened.origin_note) == (None, "")
    opened = await copy.reopen()
    assert (opened.own_origin, opened.origin_note) == (None, "")


async def test_a_copy_that_was_not_closed_goes_on_within_one_boot(copy: Copy) -> None:
    """What a killed process wrote is in the kernel's hands: nothing is lost."""
    await write_some(copy, "a")
    await copy.store.abandon()
    opened = await copy.open()
    assert opened.own_origin == copy.origin
    await write_some(copy, "b")
    await copy.store.abandon()
    assert (await copy.open()).own_origin == copy.origin


async def test_a_machine_that_went_down_takes_a_new_origin(copy: Copy) -> None:
    """A disk may have lost what it called written; others may have it."""
    await write_some(copy, "a")
    await copy.store.abandon()
    copy.machine = replace(copy.machine, boot="second boot")
    await ends(copy, "went down")


async def test_going_down_is_noticed_even_if_nothing_was_written_in_between(copy: Copy) -> None:
    """Opening alone ends the effect of an orderly close: the mark is made unclean durably."""
    await write_some(copy, "a")
    await copy.reopen()
    await copy.store.abandon()
    copy.machine = replace(copy.machine, boot="second boot")
    await ends(copy, "went down")


async def saved(copy: Copy) -> Path:
    """Close, and keep the file as a backup would."""
    await copy.store.close()
    backup = copy.path.with_suffix(".backup")
    shutil.copy(copy.path, backup)
    await copy.open()
    return backup


async def test_an_older_copy_in_the_place_of_the_file_takes_a_new_origin(copy: Copy) -> None:
    """Restored with a new inode."""
    await write_some(copy, "a")
    backup = await saved(copy)
    await write_some(copy, "b")
    await copy.store.close()
    backup.replace(copy.path)
    await ends(copy, "replaced or copied")


async def test_an_older_copy_written_into_the_file_takes_a_new_origin(copy: Copy) -> None:
    """`cat old > file` keeps the inode; the token and the sequence tell."""
    await write_some(copy, "a")
    backup = await saved(copy)
    await write_some(copy, "b")
    await copy.store.close()
    with copy.path.open("r+b") as file:
        file.write(backup.read_bytes())
        file.truncate()
    await ends(copy, "another copy")


async def test_an_older_state_of_the_same_session_takes_a_new_origin(copy: Copy) -> None:
    """The token is that of the last opening: only the sequence tells."""
    await write_some(copy, "a")
    await copy.store.abandon()
    older = copy.path.read_bytes()
    mark = copy.mark_path.read_bytes()
    await copy.open()
    await write_some(copy, "b")
    await copy.store.abandon()
    newer = msgspec.json.decode(copy.mark_path.read_bytes(), type=Mark)
    with copy.path.open("r+b") as file:
        file.write(older)
        file.truncate()
    copy.mark_path.write_bytes(msgspec.json.encode(replace(msgspec.json.decode(mark, type=Mark), seq=newer.seq)))
    await ends(copy, "restored")


async def test_a_copy_on_another_path_takes_a_new_origin(copy: Copy, tmp_path: Path) -> None:
    """Moved by copying, with its mark: the inode tells."""
    await write_some(copy, "a")
    await copy.store.close()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(copy.path.parent, elsewhere)
    original, copy.path, copy.mark_path = copy.path, elsewhere / copy.path.name, elsewhere / "marks" / "space.mark"
    await ends(copy, "replaced or copied")
    assert original.exists()


async def test_a_copy_on_another_machine_takes_a_new_origin(copy: Copy) -> None:
    """Even where a cloned disk kept every inode."""
    await write_some(copy, "a")
    await copy.store.close()
    copy.machine = Machine("another machine", "its boot")
    await ends(copy, "another machine")


async def test_a_database_without_its_mark_takes_a_new_origin(copy: Copy) -> None:
    """A backup without marks was restored, or somebody deleted it."""
    await write_some(copy, "a")
    await copy.store.close()
    copy.mark_path.unlink()
    await ends(copy, "missing")


async def test_a_mark_that_cannot_be_read_is_no_mark(copy: Copy) -> None:
    """Half a mark or another file proves nothing."""
    await write_some(copy, "a")
    await copy.store.close()
    copy.mark_path.write_bytes(b'{"token": "')
    await ends(copy, "missing")


async def test_a_database_of_another_device_takes_a_new_origin(copy: Copy) -> None:
    """The key was replaced: the old origin cannot be signed for any more."""
    await write_some(copy, "a")
    await copy.store.close()
    copy.device = b"E" * 32
    await ends(copy, "another device")


async def test_a_new_origin_goes_on_like_the_first_one(copy: Copy) -> None:
    """After the note, the first write takes an origin that survives restarts and kills."""
    await write_some(copy, "a")
    first = copy.origin
    await copy.store.close()
    copy.mark_path.unlink()
    await copy.open()
    await write_some(copy, "b")
    assert copy.origin != first
    assert (await copy.reopen()).own_origin == copy.origin
    await copy.store.abandon()
    assert (await copy.open()).own_origin == copy.origin
    assert copy.state.clock() == {first: 1, copy.origin: 1}


async def test_a_disk_too_full_for_the_mark_stops_nothing(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, log_events: LogEvents
) -> None:
    """The mark then lags behind, which is allowed; it is said once."""

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    await write_some(copy, "a")
    with monkeypatch.context() as patched:
        patched.setattr("peerd.store.mark.os.pwrite", full)
        await write_some(copy, "b", "c")
    assert [event["event"] for event in log_events()].count("mark not written") == 1
    await copy.store.abandon()
    assert (await copy.open()).own_origin == copy.origin


def test_a_mark_that_cannot_be_made_is_an_error_with_the_path(tmp_path: Path) -> None:
    """Without a place for marks nothing is opened."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        MarkFile.open(tmp_path / "file" / "marks" / "space.mark")


def test_this_machine_is_the_same_twice_and_keeps_its_id_to_itself() -> None:
    """The id is hashed; the boot id is the kernel's."""
    machine = this_machine()
    assert machine == this_machine()
    assert machine.boot == Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    path = Path("/etc/machine-id")
    assert (
        not path.exists()
        or not path.read_text("ascii").strip()
        or path.read_text("ascii").strip() not in machine.machine
    )
