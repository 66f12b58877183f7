"""Letting the write group reach the socket: the file's group, and the way to it.

Whoever may write has to connect first. A socket that peerd makes has the group of its process and lies, as a rule, in
a folder that is closed to all others; so the group of `control.write_group` is given the file, and may pass (not list)
a folder that peerd's user keeps for nothing but this socket. Nothing else is opened: what is in the way besides is
named, for a person to decide.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final, NamedTuple

CLOSED: Final = 0o700
PASSABLE: Final = 0o710
_ACL: Final = "system.posix_acl_access"


class Obstacle(NamedTuple):
    """Why members of the group cannot connect, and what to do."""

    cause: str
    next_step: str


def give(socket_path: Path, group: str) -> Obstacle | None:
    """Let the members of `group` connect at `socket_path`; with no group, only peerd's own again.

    Gives what stands in the way, unless nobody but peerd's own user is kept out by it.
    """
    if not group:
        _take_back(socket_path)
        return None
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return Obstacle(f"control.write_group: there is no group {group}", f"Make it: groupadd {group}.")
    own = _own_name()
    others = [name for name in entry.gr_mem if name not in {own, "root"}]
    obstacle = _open_way(socket_path, entry.gr_gid, group) or _give_file(socket_path, entry.gr_gid, group, own, others)
    return None if entry.gr_mem and not others else obstacle


def _open_way(socket_path: Path, gid: int, group: str) -> Obstacle | None:
    folder = socket_path.parent
    wall = next((one for one in folder.parents if not _may_pass(one, gid)), None)
    if wall is None and not _may_pass(folder, gid):
        wall = folder
        if _is_kept_for(socket_path):
            try:
                os.chown(folder, -1, gid)
                folder.chmod(PASSABLE)
            except PermissionError:
                return _not_permitted(folder, group, _own_name())
            return None
    if wall is None:
        return None
    return Obstacle(
        f"members of {group} (control.write_group) cannot reach the socket: they may not pass {wall}",
        "Set control.socket to a path in a folder that they may pass, and name it to peerctl in PEERD_SOCKET.",
    )


def _give_file(socket_path: Path, gid: int, group: str, own: str, others: list[str]) -> Obstacle | None:
    has = socket_path.lstat().st_gid
    if has == gid:
        return None
    try:
        os.chown(socket_path, -1, gid, follow_symlinks=False)
    except PermissionError:
        if others and all(_is_member(name, has) for name in others):
            return None  # the group of the socket lets all of them connect as it is
        return _not_permitted(socket_path, group, own)
    return None


def _not_permitted(place: Path, group: str, own: str) -> Obstacle:
    return Obstacle(
        f"members of {group} (control.write_group) cannot reach the socket: peerd is no member of that group, "
        f"and so may not give it {place}",
        f"Make it one (usermod -aG {group} {own}) and start peerd from a new login; or let those who write join the "
        "group of the socket too.",
    )


def _take_back(socket_path: Path) -> None:
    if _is_kept_for(socket_path) and stat.S_IMODE(socket_path.parent.stat().st_mode) == PASSABLE:
        socket_path.parent.chmod(CLOSED)
    if socket_path.lstat().st_gid != os.getegid():
        os.chown(socket_path, -1, os.getegid(), follow_symlinks=False)


def _may_pass(folder: Path, gid: int) -> bool:
    """Whoever is in the group and nothing else; an access list is taken to be there for a reason."""
    found = folder.stat()
    if found.st_mode & stat.S_IXOTH or (found.st_gid == gid and found.st_mode & stat.S_IXGRP):
        return True
    try:
        return _ACL in os.listxattr(folder)
    except OSError:
        return False


def _is_kept_for(socket_path: Path) -> bool:
    folder = socket_path.parent
    found = folder.stat()
    closed = stat.S_IMODE(found.st_mode) in {CLOSED, PASSABLE}
    return closed and found.st_uid == os.geteuid() and list(folder.iterdir()) == [socket_path]


def _is_member(name: str, gid: int) -> bool:
    try:
        return gid in os.getgrouplist(name, pwd.getpwnam(name).pw_gid)
    except KeyError:
        return True  # a name without a user keeps nobody out


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
