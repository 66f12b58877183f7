"""A file on a network file system, or behind a link of another user, is not bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peerd.errors import TableTrouble
from peerd.tables.places import check_place, file_system_of

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /mnt/nas rw,relatime shared:9 - nfs4 nas:/export rw
31 30 0:31 / /mnt/nas/local rw - tmpfs tmpfs rw
32 22 0:32 / /home/my\040disk rw - fuse.sshfs me@host: rw
33 22 0:33 / /over rw - nfs server:/ rw
34 22 0:34 / /over rw - ext4 /dev/sdb rw
35 22 0:35 / /mnt/n rw - ext4 /dev/sdc rw
nonsense
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me/a.db", "ext4"),
        ("/mnt/nas/a.db", "nfs4"),
        ("/mnt/nasty/a.db", "ext4"),
        ("/mnt/nas/local/deep/a.db", "tmpfs"),
        ("/home/my disk/a.db", "fuse.sshfs"),
        ("/over/a.db", "ext4"),
    ],
)
def test_the_nearest_mount_tells_the_file_system(mounts: Path, place: str, kind: str) -> None:
    assert file_system_of(Path(place), mounts=mounts) == kind


def test_a_network_file_system_is_refused(mounts: Path) -> None:
    for place in ("/mnt/nas/a.db", "/home/my disk/a.db"):
        with pytest.raises(TableTrouble) as caught:
            check_place(Path(place), mounts=mounts)
        assert caught.value.code == "file-network"
        assert caught.value.next_step
    check_place(Path("/over/a.db"), mounts=mounts)


def test_the_system_is_asked(tmp_path: Path) -> None:
    assert file_system_of(Path("/proc/self/mountinfo")) == "proc"
    assert file_system_of(tmp_path, mounts=tmp_path / "none") is None
    check_place(tmp_path / "a.db", mounts=tmp_path / "none")


def test_a_link_of_another_user_is_refused(tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.db").write_bytes(b"")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "a.db").symlink_to(folder / "a.db")
    ways = (tmp_path / "link" / "a.db", tmp_path / "a.db")
    for way in ways:
        check_place(way, mounts=mounts)
    owner = 12345
    if os.geteuid() == 0:
        for link in (tmp_path / "link", tmp_path / "a.db"):
            os.lchown(link, owner, owner)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner)
    for way in ways:
        with pytest.raises(TableTrouble) as caught:
            check_place(way, mounts=mounts)
        assert caught.value.code == "file-not-owned"
    check_place(folder / "a.db", mounts=mounts)
