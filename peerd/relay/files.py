"""Objects as files: `xx/name` below a folder, whole or not there, whatever carries the folder.

Everything of one operation goes through one descriptor of the folder, so that it stays with the file system whose mark
was seen: an unmount in between cannot lead it to the empty folder below. A file is written under a name of its own,
synced, and then named: by a hard link, which never replaces; where there are none (FAT, SMB) by a rename that does not
replace; where there is neither (some network and FUSE file systems) by a look and a rename. Between those two another
writer of the *same* name could be overwritten. Names are random and each has one writer, so that takes a cloned device,
and those find out.

An empty file is not there: crashes and copying programs leave them, and no object is empty. Neither is what is no file:
a link or a pipe that somebody put into a shared folder is not opened. The drafts' names are such as Dropbox, Nextcloud
and OneDrive leave alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from peerd.relay.folder_trouble import MARK, no_folder, not_marked, not_there

OBJECT_NAME = re.compile(r"[0-9a-f]{64}")
SHELF_NAME = re.compile(r"[0-9a-f]{2}")
STALE_S = 24 * 3600

_DRAFT_NAME = re.compile(r"~peerd-[0-9a-f]{16}\.tmp")
_MARK_TEXT = b"""\
peerd keeps sealed data of your devices in this folder, so that they find it when the others are off.
Leave this file here: without it peerd takes the folder for one that is not mounted, and does not write to it.
"""
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO}
_CANNOT = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
_RENAME_NOREPLACE = 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Files:
    """A relay's folder, open for one operation; a context. Whatever it writes is durable when the method returns."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Open it. Files are read up to `most_bytes` and one: what is longer is no object.

        Raises RelayTrouble if it is not there or has no mark, OSError for anything else.
        """
        self._most_bytes = most_bytes
        self._root = _open_root(folder)
        if not _is_file(MARK, self._root):
            os.close(self._root)
            raise not_marked(folder)
        self._mode = stat.S_IMODE(os.fstat(self._root).st_mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._root)

    def read(self, name: str) -> bytes | None:
        """The bytes under this name as they are now, complete or not; None if nothing is there."""
        try:
            with self._shelf(name) as shelf:
                return self._read(shelf, name)
        except OSError as problem:
            if problem.errno in _NO_FILE:
                return None
            raise

    def create(self, name: str, data: bytes) -> bool:
        """Make this file. False, and nothing is changed, if there is one with other bytes."""
        with self._shelf(name, make=True) as shelf:
            there = self._read(shelf, name)
            if there is None:
                with self._draft(shelf, data) as draft:
                    if _name_new(shelf, draft, name):
                        _sync(shelf)
                        return True
                    there = self._read(shelf, name)
                    if there is None:  # what has the name is no object
                        os.replace(draft, name, src_dir_fd=shelf, dst_dir_fd=shelf)
                        _sync(shelf)
                        return True
            if there != data:
                return False
            _sync_file(shelf, name)  # perhaps it is ours, and a crash came before it was durable
            return True

    def replace(self, name: str, data: bytes) -> None:
        """Put this file in the place of whatever has its name."""
        with self._shelf(name, make=True) as shelf, self._draft(shelf, data) as draft:
            os.replace(draft, name, src_dir_fd=shelf, dst_dir_fd=shelf)
            _sync(shelf)

    def delete(self, name: str) -> None:
        """Remove this file if it is there."""
        try:
            with self._shelf(name) as shelf:
                os.unlink(name, dir_fd=shelf)
                _sync(shelf)
        except OSError as problem:
            if problem.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise

    def sweep(self) -> None:
        """Remove the drafts of writers that crashed more than a day ago, by the clock of the file system itself."""
        with self._draft(self._root, b"") as draft:
            now_s = os.stat(draft, dir_fd=self._root).st_mtime
        with os.scandir(self._root) as entries:
            shelves = [one.name for one in entries if SHELF_NAME.fullmatch(one.name)]
        _sweep(self._root, now_s)
        for name in shelves:
            with suppress(OSError), self._shelf(name) as shelf:
                _sweep(shelf, now_s)

    @contextmanager
    def _shelf(self, name: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder of this name."""
        shelf_name = name[:2]
        if make:
            with suppress(FileExistsError):
                os.mkdir(shelf_name, dir_fd=self._root)
                _sync(self._root)
        shelf = os.open(shelf_name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
        try:
            if make and stat.S_IMODE(os.fstat(shelf).st_mode) != self._mode:
                with suppress(OSError):  # another's, or a file system without modes
                    os.fchmod(shelf, self._mode)
            yield shelf
        finally:
            os.close(shelf)

    def _read(self, shelf: int, name: str) -> bytes | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=shelf)
        except OSError as problem:
            if problem.errno in _NO_FILE:
                return None
            raise
        with os.fdopen(file, "rb", buffering=0) as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return None
            parts = []
            left = self._most_bytes + 1
            while left and (part := opened.read(left)):
                parts.append(part)
                left -= len(part)
        return b"".join(parts) or None

    @contextmanager
    def _draft(self, folder: int, data: bytes) -> Iterator[str]:
        """A file with these bytes, synced, of the mode that the folder suggests; gone at the end unless it was moved.

        Who may read and write there is decided by the mode of the relay's folder: what lies in it is sealed.
        """
        draft = f"~peerd-{secrets.token_hex(8)}.tmp"
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(data)
                opened.flush()
                with suppress(OSError):
                    os.fchmod(file, 0o600 | self._mode & 0o666)
                os.fsync(file)
            yield draft
        finally:
            with suppress(OSError):  # moved, or left for `sweep`
                os.unlink(draft, dir_fd=folder)


def mark(folder: Path) -> None:
    """Make this folder a relay's, and see that it can be written. Raises RelayTrouble if it is not there, OSError."""
    root = _open_root(folder)
    try:
        with suppress(FileExistsError):
            file = os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=root)
            with os.fdopen(file, "wb") as opened:
                opened.write(_MARK_TEXT)
                opened.flush()
                os.fsync(file)
            _sync(root)
    finally:
        os.close(root)
    with Files(folder, 0) as files:
        files.sweep()


def tag_of(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _open_root(folder: Path) -> int:
    try:
        return os.open(folder, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise no_folder(folder) if folder.exists() else not_there(folder) from None


def _is_file(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _name_new(shelf: int, draft: str, name: str) -> bool:
    """Give the draft this name. False, and nothing is changed, if something has it already."""
    for naming in (_link, _rename_new, _look_and_rename):
        try:
            naming(shelf, draft, name)
        except FileExistsError:
            return False
        except OSError as problem:
            if naming is _look_and_rename or problem.errno not in _CANNOT:
                raise
        else:
            return True
    raise AssertionError("the last way either does it or raises")


def _link(shelf: int, draft: str, name: str) -> None:
    os.link(draft, name, src_dir_fd=shelf, dst_dir_fd=shelf)


def _rename_new(shelf: int, draft: str, name: str) -> None:
    """renameat2(2), which Python does not have."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, "this C library has no renameat2")
    if rename(shelf, draft.encode(), shelf, name.encode(), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), draft, None, name)


def _look_and_rename(shelf: int, draft: str, name: str) -> None:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=shelf, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    os.rename(draft, name, src_dir_fd=shelf, dst_dir_fd=shelf)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as problem:
        if problem.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS}:
            raise  # SMB and some of FUSE know no sync of a folder


def _sync_file(shelf: int, name: str) -> None:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=shelf)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    _sync(shelf)


def _sweep(folder: int, now_s: float) -> None:
    with os.scandir(folder) as entries:
        drafts = [one for one in entries if _DRAFT_NAME.fullmatch(one.name)]
    for draft in drafts:
        with suppress(OSError):
            if now_s - draft.stat(follow_symlinks=False).st_mtime > STALE_S:
                os.unlink(draft.name, dir_fd=folder)
