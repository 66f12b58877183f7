"""The folder of a backup: a copy of each database, names, configuration, perhaps the keys, and what vouches for all.

    backup.json           what is here, with hashes; written last
    spaces/ID.db, .name   one database and one name per space
    config/               the files of the configuration, to be compared by a person
    identity/             the device's keys, if they were asked for

It is built beside its place under another name, so that a folder with a `backup.json` is whole. What recognises a
database that went back in time (`marks/`) is never part of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from peerd.errors import UserError
from peerd.protocol.control.backups import BackupOf
from peerd.store.beside import sync_folder
from peerd.store.failures import translate

FORMAT = 1
MANIFEST = "backup.json"
_MANIFEST_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
_NAMES = re.compile(r"spaces/[0-9a-f]{32}\.(db|name)|identity/(device|sealing)\.key|config/[^/]{1,255}")


class Kept(Struct, frozen=True):
    """One file of a backup."""

    size_bytes: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What `backup.json` says. `files` are named from the folder of the backup."""

    format: int
    backup: BackupOf
    files: dict[str, Kept]

    @property
    def has_keys(self) -> bool:
        return any(name.startswith("identity/") for name in self.files)


_decoder = msgspec.json.Decoder(Manifest)


class Draft:
    """A backup in the making. `files` are what goes with the databases: name in the folder -> where it is now."""

    def __init__(self, target: Path, draft: Path, files: Mapping[str, Path]) -> None:
        self._target = target
        self._draft = draft
        self._files = files

    @classmethod
    def begin(cls, target: Path, files: Mapping[str, Path]) -> Draft:
        """Make the folder beside `target`, which must not exist or be empty.

        Raises:
            UserError: backup-exists, backup-refused. DiskFull.
        """
        draft = target.with_name(target.name + ".unfinished")
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise UserError(
                    f"{target} exists already, and is not an empty folder",
                    code="backup-exists",
                    status=409,
                    next_step="Name a folder that does not exist yet: each backup has one of its own.",
                )
            shutil.rmtree(draft, ignore_errors=True)  # of a backup that was cut off
            for folder in (draft, draft / "spaces"):
                folder.mkdir(mode=0o700)
        except OSError as problem:
            raise _refused(target, problem) from problem
        return cls(target, draft, files)

    def place_of(self, space: bytes) -> Path:
        """Where the copy of this space's database goes."""
        return self._draft / "spaces" / f"{space.hex()}.db"

    async def finish(self, backup: BackupOf) -> None:
        """Add the other files, write down what is there, and put the folder in its place, durably.

        Raises:
            DiskFull, StoreError, UserError.
        """
        await asyncio.to_thread(self._finish, backup)

    def _finish(self, backup: BackupOf) -> None:
        try:
            for space in backup.spaces:
                _write(self._draft / "spaces" / f"{space.id}.name", f"{space.name}\n".encode())
            for name, source in self._files.items():
                place = self._draft / name
                place.parent.mkdir(mode=0o700, exist_ok=True)
                _write(place, source.read_bytes())
            paths = sorted(path for path in self._draft.rglob("*") if path.is_file())
            files = {path.relative_to(self._draft).as_posix(): _kept(path) for path in paths}
            manifest = Manifest(format=FORMAT, backup=backup, files=files)
            _write(self._draft / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
            for folder in {path.parent for path in paths} | {self._draft}:
                sync_backup(folder)
            if self._target.exists():
                self._target.rmdir()
            self._draft.rename(self._target)
            sync_backup(self._target.parent)
        except OSError as problem:
            raise _refused(self._target, problem) from problem

    async def give_up(self) -> None:
        """Nothing of it stays."""
        await asyncio.to_thread(shutil.rmtree, self._draft, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself, checked for its form.

    Raises:
        UserError: backup-not-found, backup-damaged, backup-newer.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            encoded = file.read(_MANIFEST_BYTES)
    except OSError as problem:
        raise UserError(
            f"{folder} is no backup: {MANIFEST} cannot be read there ({problem.strerror})",
            code="backup-not-found",
            status=404,
            next_step="Name the folder that `peerctl backup` made. One that was cut off is called .unfinished and is "
            "none; of a plain copy of a state directory, docs/recovery.md says what to do.",
        ) from problem
    try:
        form = msgspec.json.decode(encoded, type=dict[str, object]).get("format")
        if form != FORMAT:
            raise UserError(
                f"{folder} is a backup of form {form}; this peerd knows form {FORMAT}",
                code="backup-newer",
                status=409,
                next_step="Restore it with the version of peerd that made it, or a later one.",
            )
        manifest = _decoder.decode(encoded)
    except msgspec.MsgspecError as problem:
        raise damaged_backup(folder, f"{MANIFEST} is not what was written: {problem}") from problem
    wrong = [name for name in manifest.files if not _NAMES.fullmatch(name) or name.endswith("/..")]
    lacking = [space.id for space in manifest.backup.spaces if f"spaces/{space.id}.db" not in manifest.files]
    if wrong or lacking:
        raise damaged_backup(folder, f"{MANIFEST} does not fit together ({(wrong or lacking)[0]})")
    return manifest


def take_copy(folder: Path, name: str, kept: Kept, target: Path) -> None:
    """Copy one file of a backup to `target`, durably, for our user alone, and see that it is what was written.

    Raises:
        UserError: backup-damaged. DiskFull, StoreError: of `target`.
    """
    try:
        source = (folder / name).open("rb")
    except OSError as problem:
        raise damaged_backup(folder, f"{name} cannot be read: {problem.strerror}") from problem
    with source:
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                found = _poured(folder, name, source, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise translate(problem, target) from problem
    if found.size_bytes != kept.size_bytes:
        sizes = f"{found.size_bytes:,} bytes are there, and {kept.size_bytes:,} were written"
        raise damaged_backup(folder, f"{name} is not what was written: {sizes}")
    if found != kept:
        raise damaged_backup(folder, f"{name} is not what was written: it is as long, and its content has changed")


def _poured(folder: Path, name: str, source: IO[bytes], file: IO[bytes] | None) -> Kept:
    summed, size_bytes = sha256(), 0
    while True:
        try:
            piece = source.read(_PIECE_BYTES)
        except OSError as problem:
            raise damaged_backup(folder, f"{name} cannot be read: {problem.strerror}") from problem
        if not piece:
            return Kept(size_bytes, summed.hexdigest())
        summed.update(piece)
        size_bytes += len(piece)
        if file is not None:
            file.write(piece)


def damaged_backup(folder: Path, why: str) -> UserError:
    return UserError(
        f"the backup in {folder} is damaged: {why}",
        code="backup-damaged",
        status=409,
        next_step="Nothing was changed. Take another backup; what is whole in this one can be put in place by hand, "
        'see docs/recovery.md, "Restored from a backup".',
    )


def _kept(path: Path) -> Kept:
    with path.open("rb") as file:
        return _poured(path.parent, path.name, file, None)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_backup(folder: Path) -> None:
    """As far as its file system can: not every one that carries backups does."""
    with suppress(OSError):
        sync_folder(folder)


def _refused(target: Path, problem: OSError) -> Exception:
    translated = translate(problem, target)
    if translated.code == "disk-full":
        return translated
    return UserError(
        f"the daemon cannot write a backup to {target}: {problem.strerror}",
        code="backup-refused",
        status=409,
        next_step="It is written by the user that peerd runs as: name a folder whose parent exists and that this user "
        "may write in. A system unit may write in its state directory only, unless ReadWritePaths= adds more.",
    )
