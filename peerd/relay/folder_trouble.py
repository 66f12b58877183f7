"""What the system says about a relay's folder, as RelayTrouble: whose fault it is, and what to do next."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peerd.errors import RelayTrouble

MARK = "peerd-relay"

_AWAY = {
    errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED,
    errno.ECONNRESET, errno.EREMOTEIO, errno.ESHUTDOWN,
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BUSY = {errno.EBUSY, errno.EAGAIN, errno.ETXTBSY, errno.EMFILE, errno.ENFILE}
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP}


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """An OSError inside becomes RelayTrouble that names the folder."""
    try:
        yield
    except OSError as problem:
        raise _trouble(folder, problem) from problem


def not_there(folder: Path) -> RelayTrouble:
    return RelayTrouble(
        f"The relay's folder {folder} is not there.",
        code="relay-unreachable",
        next_step="Mount it or plug it in, or correct relay.folder.path. peerd does not make it: where something "
        "should be mounted, it would fill this machine's disk.",
    )


def no_folder(folder: Path) -> RelayTrouble:
    return RelayTrouble(
        f"The relay's folder {folder} is a file, and no folder.",
        code="relay-misconfigured",
        next_step="Correct relay.folder.path.",
        lasting=True,
    )


def not_marked(folder: Path) -> RelayTrouble:
    return RelayTrouble(
        f"The relay's folder {folder} holds no file {MARK}: what should be mounted there is not, or it was never a "
        "relay.",
        code="relay-unreachable",
        next_step="Mount it. If it is the right folder, `peerctl relay check` makes it a relay.",
    )


def _trouble(folder: Path, problem: OSError) -> RelayTrouble:
    why = os.strerror(problem.errno) if problem.errno else str(problem)
    what = f"{problem.filename2 or problem.filename or ''}".strip()
    if problem.errno in _AWAY:
        return RelayTrouble(
            f"The relay's folder {folder} cannot be reached: {why}.",
            code="relay-unreachable",
            next_step="Look whether it is mounted, and whether what carries it is running.",
        )
    if problem.errno in _FULL:
        return RelayTrouble(
            f"There is no room in the relay's folder {folder}: {why}.",
            code="relay-full",
            next_step="Make room there, or raise the quota.",
        )
    if problem.errno in _DENIED:
        return RelayTrouble(
            f"The relay's folder {folder} does not let peerd in: {why}{f' ({what})' if what else ''}.",
            code="relay-denied",
            next_step=f"Let the user that runs peerd (uid {os.geteuid()}) read and write everything in it, and look "
            "whether the file system is mounted read-only.",
            lasting=True,
        )
    if problem.errno in _BUSY:
        return RelayTrouble(f"The relay's folder {folder} is busy: {why}.", code="relay-busy")
    if problem.errno in _IN_THE_WAY:
        return RelayTrouble(
            f"Something in the relay's folder {folder} is not what it should be, a file or a folder: {what} ({why}).",
            code="relay-misconfigured",
            next_step="Move it away; peerd did not put it there.",
            lasting=True,
        )
    return RelayTrouble(f"The relay's folder {folder} failed: {why}.", code="relay-failed")
