"""Taking a place in the file system for the socket, without taking it from anybody.

    nothing there                      bind
    a socket that nobody answers at    left by a daemon that died: remove it, bind
    a socket that somebody answers at  refuse: already running
    anything else                      refuse: it may be somebody's file

Two daemons that start at the same time would both find the dead socket and remove one another's; so the
folder is locked while one looks and binds. The mode is set on the socket before it is bound, so that there
is no moment at which the file is more open than it will be.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peerd.control.spares import Listener
from peerd.errors import ConfigError, PeerdError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODE: Final = 0o660
FOLDER_MODE: Final = 0o700
_LONGEST_PATH_BYTES: Final = 107  # sun_path of <sys/un.h>, less its end
_LOCK_TRIES: Final = 100
_LOCK_PAUSE_S: Final = 0.05


class AlreadyRunning(PeerdError):
    """Another daemon answers at the socket."""

    code = "already-running"


class Place:
    """A listening socket and whether its file is ours to remove."""

    def __init__(self, listener: socket.socket, path: Path | None, inode: int) -> None:
        self.socket = listener
        self.path = path  # None where a supervisor made it
        self._inode = inode

    def give_up(self) -> None:
        """Remove the file, if it is still the one that was made here.

        The socket has to be closed by its user.
        """
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()


async def take(path: str | os.PathLike[str]) -> Place:
    """Listen at `path`; its folder is made, mode 0700, if it is missing.

    Raises:
        AlreadyRunning: a daemon answers there.
        ConfigError: there is something else, or the place cannot be had.
    """
    place = _short_enough(path)
    try:
        _make_folder(place.parent)
        async with _locked(place.parent):
            _clear(place)
            return _bind(place)
    except OSError as error:
        raise ConfigError([f"control.socket: {place}: {error.strerror or error}"]) from error


def adopt(inherited_fd: int) -> Place:
    """Take a socket that a supervisor listens with (sd_listen_fds); its file stays when we go.

    Raises:
        ConfigError: it is not a listening Unix stream socket.
    """
    try:
        listener = Listener(fileno=os.dup(inherited_fd))
    except OSError as error:
        raise ConfigError([f"the inherited descriptor {inherited_fd} is no socket: {error.strerror}"]) from error
    is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not is_listening:
        listener.close()
        raise ConfigError([f"the inherited descriptor {inherited_fd} is not a listening Unix stream socket"])
    listener.setblocking(False)
    return Place(listener, None, 0)


def _short_enough(path: str | os.PathLike[str]) -> Path:
    place = Path(path).absolute()
    if len(os.fsencode(place)) > _LONGEST_PATH_BYTES:
        raise ConfigError(
            [f"control.socket: {place} is longer than the {_LONGEST_PATH_BYTES} bytes a socket's path may have"]
        )
    return place


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


@contextlib.asynccontextmanager
async def _locked(folder: Path) -> AsyncIterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for attempt in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt + 1 == _LOCK_TRIES:
                    raise
                await asyncio.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _clear(place: Path) -> None:
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError([f"control.socket: {place} exists and is not a socket; it was left alone"])
    if _answers(place):
        raise AlreadyRunning(
            f"a daemon already answers at {place}",
            next_step="Stop it, or give this one a control.socket of its own.",
        )
    place.unlink(missing_ok=True)


def _answers(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(place))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # its queue is full: it lives
    return True


def _bind(place: Path) -> Place:
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        os.fchmod(listener.fileno(), MODE)
        listener.bind(str(place))
        place.chmod(MODE)  # the umask may have taken away from it
        listener.listen(128)
        return Place(listener, place, place.lstat().st_ino)
    except BaseException:
        listener.close()
        raise
