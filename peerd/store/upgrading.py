"""Before a database gets a newer form, a copy of it as it is: for whoever has to go back to the version before.

A copy is made whole beside its place and then moved there, and each step of the migration is a transaction, so that a
start that was cut off anywhere is simply done again. The copies of a space go with its next upgrade, and with the first
start more than 30 days later.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from peerd import logs
from peerd.errors import DiskFull
from peerd.store.beside import sync_folder
from peerd.store.copying import copy_database
from peerd.store.failures import translate
from peerd.store.migrate import APPLICATION_ID, migrate, migrations

log = logs.get(__name__)

KEPT_MS = 30 * 24 * 3600 * 1000
SPARE_BYTES = 16 << 20


def upgrade(connection: sqlite3.Connection, path: Path, backups: Path | None, wall_ms: int) -> None:
    """Bring the database at `path`, which `connection` has open, to the form that this version knows; first a copy of
    it goes to the folder `backups`. None: no copy is wanted.

    Raises:
        DiskFull: there is no room for the copy, and nothing was changed. StoreDamaged, StoreError: as `migrate`.
    """
    version, application = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id")
    )
    if backups is not None:
        if application == APPLICATION_ID and 0 < version < migrations()[-1][0]:
            if not _is_half_way(path, backups, version):
                _keep(path, backups, version)
        else:
            _begun(path, backups).unlink(missing_ok=True)
            _forget_old(path, backups, wall_ms)
    for number in migrate(connection, path):
        log.info("database migrated", path=str(path), version=number)


def copies(path: Path, backups: Path) -> list[Path]:
    """The copies of the database at `path` from before its upgrades."""
    return sorted(backups.glob(f"{path.stem}.format-*.db"))


def _begun(path: Path, backups: Path) -> Path:
    """Holds the number of the form that an upgrade began with, until a start finds it ended."""
    return backups / f"{path.stem}.upgrading"


def _is_half_way(path: Path, backups: Path, version: int) -> bool:
    """Was the upgrade cut off between two steps? Then the copy from before it is the one to keep."""
    try:
        begun = int(_begun(path, backups).read_text())
    except (OSError, ValueError):
        return False
    return begun < version and _copy(path, backups, begun).exists()


def _copy(path: Path, backups: Path, version: int) -> Path:
    return backups / f"{path.stem}.format-{version}.db"


def _keep(path: Path, backups: Path, version: int) -> None:
    target = _copy(path, backups, version)
    new = target.with_name(target.name + ".new")
    try:
        backups.mkdir(mode=0o700, exist_ok=True)
        new.unlink(missing_ok=True)
        _check_room(path, backups)
        copy_database(path, new)
        new.replace(target)
        _begun(path, backups).write_text(f"{version}\n")
        sync_folder(backups)  # it has its name before anything is changed
    except OSError as problem:
        raise translate(problem, target) from problem
    for other in copies(path, backups):
        if other != target:
            other.unlink(missing_ok=True)
    log.info("database copied before its upgrade", path=str(target), version=version)


def _check_room(path: Path, backups: Path) -> None:
    needed_bytes = path.stat().st_size + SPARE_BYTES
    disk = os.statvfs(backups)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < needed_bytes:
        raise DiskFull(
            f"{path} is to be upgraded, and there is no room for a copy of it as it is: that takes "
            f"{needed_bytes >> 20} MiB, and {free_bytes >> 20} MiB are free.",
            next_step="Make room; it is upgraded by itself then. The peerd that was here before can still use it.",
        )


def _forget_old(path: Path, backups: Path, wall_ms: int) -> None:
    for copy in copies(path, backups):
        try:
            if copy.stat().st_mtime * 1000 < wall_ms - KEPT_MS:
                copy.unlink()
                log.info("copy before an upgrade forgotten", path=str(copy))
        except OSError as problem:
            log.warning("copy before an upgrade not forgotten", path=str(copy), cause=str(problem))
