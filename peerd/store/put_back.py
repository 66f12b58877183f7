"""Putting a backup in the place of what a state directory has, while no daemon runs.

    restoring/             the files of the backup, each compared with its hash; nothing else is touched yet
    restore.unfinished     from here on; a daemon does not start beside it
    set-aside/restored-N/  what was there, moved
    identity/ spaces/      the files of restoring/, moved into their places

A cut at any point leaves either all as it was, or a directory in which the same restore has to be run again. Nothing
that was there is ever deleted.

The marks of the spaces go away with their databases: a database without its mark is known for a copy, and takes a new
origin before its first write.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from peerd.errors import StoreError
from peerd.store.backup_folder import Manifest, damaged_backup, take_copy
from peerd.store.beside import sync_folder
from peerd.store.failures import translate
from peerd.store.migrate import APPLICATION_ID, migrations, newer

_STAGE = "restoring"
_UNFINISHED = "restore.unfinished"
_KEYS = ("device.key", "sealing.key")


def check_finished(state_dir: Path) -> None:
    """Raises StoreError "restore-unfinished" if a restore was cut off in the middle."""
    if (state_dir / _UNFINISHED).exists():
        raise StoreError(
            f"A restore into {state_dir} was cut off before its end.",
            code="restore-unfinished",
            next_step="Run `peerctl restore` with the same backup again. What was here before is in "
            f"{state_dir / 'set-aside'}.",
        )


class PutBack:
    """One restore into `state_dir`, whose lock the caller holds. `keys`: with those of the backup. `everything`: what
    is there belongs to another device and goes away whole; otherwise spaces that the backup lacks stay.
    """

    def __init__(self, state_dir: Path, folder: Path, manifest: Manifest, *, keys: bool, everything: bool) -> None:
        self.aside: Path | None = None  # where something was set aside
        self.stage = state_dir / _STAGE
        self._state_dir = state_dir
        self._folder = folder
        self._manifest = manifest
        self._parts = ("spaces/", "identity/") if keys else ("spaces/",)
        self._everything = everything

    def copy(self) -> None:
        """Bring the whole backup onto this disk, and see that it is whole. Nothing that is in use is touched.

        Raises:
            UserError: backup-damaged. StoreError: store-newer; DiskFull.
        """
        try:
            shutil.rmtree(self.stage, ignore_errors=True)
            for folder in (self.stage, self.stage / "spaces", self.stage / "identity"):
                folder.mkdir(mode=0o700)
        except OSError as problem:
            raise translate(problem, self.stage) from problem
        try:
            for name, kept in self._manifest.files.items():
                if name.startswith(self._parts):
                    take_copy(self._folder, name, kept, self.stage / name)
            for space in self._manifest.backup.spaces:
                self._check_format(f"spaces/{space.id}.db")
        except BaseException:
            self.give_up()
            raise

    def _check_format(self, name: str) -> None:
        with (self.stage / name).open("rb") as file:
            head = file.read(100)
        version, application = int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big")
        if application != APPLICATION_ID:
            raise damaged_backup(self._folder, f"{name} is no database of peerd")
        if version > migrations()[-1][0]:
            raise newer(self._folder / name, version)

    def give_up(self) -> None:
        """Nothing of the backup stays here."""
        shutil.rmtree(self.stage, ignore_errors=True)

    def put(self) -> None:
        """Set aside what is there and put the copies in its place. Raises StoreError; then it is run again."""
        try:
            unfinished = self._state_dir / _UNFINISHED
            unfinished.touch(mode=0o600)
            sync_folder(self._state_dir)
            self._set_aside(sorted(self._in_the_way()))
            for folder in ("spaces", "identity"):
                place = self._state_dir / folder
                place.mkdir(mode=0o700, exist_ok=True)
                for file in sorted((self.stage / folder).iterdir()):
                    file.rename(place / file.name)
                sync_folder(place)
            self._belong_to_its_user()
            self.give_up()
            unfinished.unlink()
            sync_folder(self._state_dir)
        except OSError as problem:
            raise translate(problem, self._state_dir) from problem

    def _in_the_way(self) -> Iterator[Path]:
        """What the backup replaces, in its places."""
        spaces = self._state_dir / "spaces"
        marks = self._state_dir / "marks"
        if self._everything:
            yield from _files(spaces)
            yield from _files(marks)
        else:
            for space in self._manifest.backup.spaces:
                yield from (one for one in _files(spaces) if one.name.split(".")[0] == space.id)
                yield from (one for one in _files(marks) if one.stem == space.id)
        if len(self._parts) > 1:
            yield from (one for one in _files(self._state_dir / "identity") if one.name in _KEYS)

    def _set_aside(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if self.aside is None:
                number = 1
                while (aside := self._state_dir / "set-aside" / f"restored-{number}").exists():
                    number += 1
                self.aside = aside
            place = self.aside / path.relative_to(self._state_dir)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(place)
        if self.aside is not None:
            sync_folder(self.aside)

    def _belong_to_its_user(self) -> None:
        """Root may restore for the user that peerd runs as."""
        if os.geteuid() != 0:
            return
        owner = self._state_dir.stat()
        for folder in ("spaces", "identity", "set-aside"):
            top = self._state_dir / folder
            for path in [top, *top.rglob("*")] if top.exists() else ():
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() or path.is_symlink()] if folder.is_dir() else []
