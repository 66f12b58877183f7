"""Who may do what on the socket.

Whoever may connect may read: that is the mode of the socket's file. To write one has to be uid 0, the user
that peerd runs as, or a member of `control.write_group`. The kernel says who is at the other end: uid, gid
and pid (SO_PEERCRED), and the supplementary groups at the time of connecting (SO_PEERGROUPS, Linux 4.13).
Somebody who was added to the group since they logged in has not got it in their processes; for them the user
database is asked.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from typing import Final, NamedTuple

from peerd.control.problems import refusal

_SO_PEERGROUPS: Final = 59  # <asm-generic/socket.h>; the module `socket` has no name for it
_GROUPS_MAX: Final = 65_536  # NGROUPS_MAX
_CREDENTIALS: Final = struct.Struct("3i")
_NOBODY: Final = 65_534


class Caller(NamedTuple):
    """The process that connected, as the kernel knew it then."""

    uid: int
    gid: int
    pid: int
    groups: frozenset[int]


def caller_of(connection: socket.socket) -> Caller:
    """Who is at the other end of a connected Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Caller(uid, gid, pid, _groups_of(connection))


def _groups_of(connection: socket.socket) -> frozenset[int]:
    room = 256
    while True:
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, room * 4)
        except OSError:
            if room >= _GROUPS_MAX:
                return frozenset()  # an old kernel; the user database remains
            room = _GROUPS_MAX
            continue
        return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


class Permissions:
    """The rule of who may write, for one name of a group; empty: no group."""

    def __init__(self, write_group: str, own_uid: int | None = None) -> None:
        self._write_group = write_group
        self._own_uid = os.geteuid() if own_uid is None else own_uid
        self._known: dict[int, bool] = {}

    def check_write(self, caller: Caller) -> None:
        """Refuse a caller that may only read.

        Raises:
            UserError: `read-only`, saying how to get the right.
        """
        if self.may_write(caller):
            return
        if self._write_group:
            how = f"Join the group: usermod -aG {self._write_group} USER"
        else:
            how = "Set control.write_group to a group of yours"
        raise refusal(
            "read-only",
            f"uid {caller.uid} may read here, not write",
            f"{how}; or run the command as root or as the user of peerd.",
        )

    def may_write(self, caller: Caller) -> bool:
        if caller.uid in (0, self._own_uid):
            # What cannot be mapped into a user namespace shows as nobody: that is everybody and no one.
            return caller.uid != _NOBODY
        if not self._write_group:
            return False
        try:
            wanted = grp.getgrnam(self._write_group).gr_gid
        except KeyError:
            return False
        return wanted == caller.gid or wanted in caller.groups or self._in_database(caller.uid, wanted)

    def forget(self) -> None:
        """Ask the user database again."""
        self._known.clear()

    def _in_database(self, uid: int, wanted: int) -> bool:
        # The database may be a server somewhere, and a refused caller may come back at any rate.
        if uid not in self._known:
            if len(self._known) >= 256:
                self._known.clear()
            try:
                entry = pwd.getpwuid(uid)
                self._known[uid] = wanted in os.getgrouplist(entry.pw_name, entry.pw_gid)
            except KeyError:
                self._known[uid] = False
        return self._known[uid]
