"""Where an application's file lies: not on a network file system, and not behind a link of somebody else.

SQLite's locks, and the memory by which connections share its WAL, work on one machine only (sqlite.org/wal.html and
sqlite.org/lockingv3.html).
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from peerd.errors import TableTrouble

MOUNTS: Final = Path("/proc/self/mountinfo")  # proc(5)
_OF_A_NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "fuse.ceph", "fuse.curlftpfs", "fuse.davfs",
        "fuse.davfs2", "fuse.glusterfs", "fuse.gvfsd-fuse", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
        "fuse.vmhgfs-fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb2",
        "smb3", "smbfs", "vboxsf", "vmhgfs",
    }
)  # fmt: skip
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def check_place(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Can the file at `path` be shared safely with the application that has it open?

    Raises:
        TableTrouble: file-network, file-not-owned.
    """
    absolute = path.absolute()
    for place in (absolute, *absolute.parents):
        _check_link(path, place)
    kind = file_system_of(absolute.resolve(), mounts=mounts)
    if kind in _OF_A_NETWORK:
        raise TableTrouble(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold",
            code="file-network",
            next_step="Keep the file on a disk of this machine, and let peerd carry its rows to the others.",
        )


def file_system_of(path: Path, *, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that `path` (resolved) lies on; None if the system does not tell."""
    try:
        lines = os.fsdecode(mounts.read_bytes()).splitlines()
    except OSError:
        return None
    longest, kind = -1, None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if len(parts := fields.split(" ")) > 4 and rest:
            point = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), parts[4]))
            depth = len(point.parts)
            if depth >= longest and path.is_relative_to(point):  # a later mount hides an earlier one
                longest, kind = depth, rest.split(" ")[0]
    return kind


def _check_link(path: Path, place: Path) -> None:
    """A link may lead to the file, but no other user may decide where it leads."""
    try:
        found = place.lstat()
    except OSError:
        return  # there is no such file: whoever opens it says so
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
        raise TableTrouble(
            f"{path} is reached by a link of another user ({place})",
            code="file-not-owned",
            next_step="Name the file itself.",
        )
