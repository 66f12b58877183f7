"""File systems of a test's own: small, read-only, gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Mount:
    """A small file system at a folder, mounted and unmounted at will."""

    def __init__(self, place: Path, kind: str) -> None:
        self.path = place / "mnt"
        self.path.mkdir()
        self._what = ["-t", "tmpfs", "-o", "size=256k", "peerd-test"]
        if kind == "ext4":
            image = place / "image"
            with image.open("wb") as file:
                file.truncate(1 << 20)
            _run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image))
            self._what = ["-o", "loop", str(image)]

    def mount(self) -> None:
        _run("mount", *self._what, str(self.path))

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


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
