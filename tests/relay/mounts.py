"""File systems of a test's own: small, read-only, gone, or such as sticks have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_MAKE = {
    "ext4": (1 << 20, ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"]),
    "vfat": (64 << 20, ["mkfs.vfat"]),
    "exfat": (64 << 20, ["mkfs.exfat"]),
}


class Mount:
    """A file system at a folder, mounted and unmounted at will: a small one ("tmpfs", "ext4"), or one that knows no
    links and no case ("vfat", "exfat"), by the kernel or, for exFAT, by FUSE.
    """

    def __init__(self, place: Path, kind: str) -> None:
        self.path = place / "mnt"
        self.path.mkdir()
        self._what = ["-t", "tmpfs", "-o", "size=256k", "peerd-test"]
        self._image = place / "image"
        self._is_exfat = kind == "exfat"
        if kind in _MAKE:
            size_bytes, make = _MAKE[kind]
            with self._image.open("wb") as file:
                file.truncate(size_bytes)
            _run(*make, str(self._image))
            self._what = ["-t", kind, "-o", "loop", str(self._image)]

    def mount(self) -> None:
        try:
            _run("mount", *self._what, str(self.path))
        except subprocess.CalledProcessError:
            if not self._is_exfat or shutil.which("mount.exfat-fuse") is None:
                raise
            loop = _run("losetup", "-f", "--show", str(self._image)).strip()
            try:
                _run("mount.exfat-fuse", loop, str(self.path))
            finally:
                _run("losetup", "-d", loop)  # as soon as it is not mounted any more

    def unmount(self) -> None:
        _run("umount", str(self.path))

    def make_read_only(self) -> None:
        _run("mount", "-o", "remount,ro", str(self.path))


def mounted(place: Path, kind: str) -> Iterator[Mount]:
    """For a fixture: mounted at first, gone at the end; the test is skipped where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        mount = Mount(place, kind)
        mount.mount()
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"nothing can be mounted here: {problem}")
    yield mount
    while os.path.ismount(mount.path):
        _run("umount", "-l", str(mount.path))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
