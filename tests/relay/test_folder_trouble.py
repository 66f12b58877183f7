"""Each failure of the system has a code, names the folder, and says what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from peerd.cli.codes import TEXTS
from peerd.errors import RelayTrouble
from peerd.relay.folder import FolderRelay
from peerd.relay.folder_trouble import not_marked, not_there, translated

FOLDER = Path("/mnt/nas/peerd")


@pytest.mark.parametrize(
    ("number", "code", "lasting"),
    [
        (errno.ENOENT, "relay-unreachable", False),
        (errno.ESTALE, "relay-unreachable", False),
        (errno.EIO, "relay-unreachable", False),
        (errno.EHOSTDOWN, "relay-unreachable", False),
        (errno.ENOSPC, "relay-full", False),
        (errno.EDQUOT, "relay-full", False),
        (errno.EACCES, "relay-denied", True),
        (errno.EROFS, "relay-denied", True),
        (errno.EBUSY, "relay-busy", False),
        (errno.EISDIR, "relay-misconfigured", True),
        (errno.EXDEV, "relay-failed", False),
    ],
)
def test_what_the_system_says_is_translated(number: int, code: str, *, lasting: bool) -> None:
    with pytest.raises(RelayTrouble) as refused, translated(FOLDER):
        raise OSError(number, os.strerror(number), "file")
    assert (refused.value.code, refused.value.lasting) == (code, lasting)
    assert str(FOLDER) in str(refused.value)
    assert os.strerror(number) in str(refused.value)
    assert refused.value.next_step or code in {"relay-busy", "relay-failed"}
    assert code in TEXTS


def test_a_folder_that_is_not_there_or_not_marked_says_what_to_do() -> None:
    for trouble in (not_there(FOLDER), not_marked(FOLDER)):
        assert trouble.code == "relay-unreachable"
        assert str(FOLDER) in str(trouble)
        assert trouble.next_step


def test_what_is_no_error_passes() -> None:
    with translated(FOLDER):
        pass
    with pytest.raises(RelayTrouble, match="ours"), translated(FOLDER):
        raise RelayTrouble("ours")


def test_one_file_that_is_not_open_to_us_is_named() -> None:
    with pytest.raises(RelayTrouble, match=r"Permission denied \(56/560b\)\.$"), translated(FOLDER):
        raise PermissionError(errno.EACCES, "Permission denied", "56/560b")


async def test_a_file_in_place_of_the_folder_is_called_that(tmp_path: Path) -> None:
    """Not that it is away: mounting something would not help."""
    file = tmp_path / "relay"
    file.touch()
    relay = FolderRelay(file)
    with pytest.raises(RelayTrouble, match="is a file, and no folder") as refused:
        await relay.lookup(["0" * 64], contents=False)
    assert (refused.value.code, refused.value.lasting) == ("relay-misconfigured", True)
    file.unlink()
    with pytest.raises(RelayTrouble, match="is not there"):
        await relay.lookup(["0" * 64], contents=False)
    await relay.close()
