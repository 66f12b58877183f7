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
from collections.abc import Callable
from typing import Final, NamedTuple

from peerd.control.problems import refusal

_SO_PEERGROUPS: Final = 59  # <asm-generic/socket.h>; the module `socket` has no name for it
_GROUPS_MAX: Final = 65_536  # NGROUPS_MAX
_CREDENTIALS: Final = struct.Struct("3i")
_NOBODY: Final = 65_534
_KNOWN_MAX: Final = 256
KNOWN_S: Final = 30.0


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
    """The rule of who may write, for one name of a group; empty: no group.

    The user database may be a server somewhere, and is asked in the middle of everything else: an answer
    holds for `KNOWN_S`, by the clock `now_s`.
    """

    def __init__(self, write_group: str, now_s: Callable[[], float], own_uid: int | None = None) -> None:
        self._write_group = write_group
        self._now_s = now_s
        self._own_uid = os.geteuid() if own_uid is None else own_uid
        self._known: dict[tuple[int, int, frozenset[int]], tuple[float, bool]] = {}

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
        if caller.uid in {0, self._own_uid}:
            # What cannot be mapped into a user namespace shows as nobody: that is everybody and no one.
            return caller.uid != _NOBODY
        if not self._write_group:
            return False
        who = (caller.uid, caller.gid, caller.groups)
        until_s, may = self._known.get(who, (0.0, False))
        if self._now_s() >= until_s:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            may = self._in_group(caller)
            self._known[who] = (self._now_s() + KNOWN_S, may)
        return may

    def _in_group(self, caller: Caller) -> bool:
        try:
            wanted = grp.getgrnam(self._write_group).gr_gid
            if wanted == caller.gid or wanted in caller.groups:
                return True
            entry = pwd.getpwuid(caller.uid)
        except KeyError:
            return False
        return wanted in os.getgrouplist(entry.pw_name, entry.pw_gid)
