"""Making the database of a new copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from peerd.errors import StoreError
from peerd.store import meta, runners
from peerd.store.beside import sync_folder
from peerd.store.database import connect_writer
from peerd.store.failures import translate
from peerd.store.migrate import migrate


async def create(path: Path, space: bytes, name: str, random_bytes: Callable[[int], bytes], *, threaded: bool) -> None:
    """Build the database beside `path` and move it there when it is whole. Raises StoreError and its kinds."""
    new = path.with_name(path.name + ".new")

    def fill(connection: sqlite3.Connection) -> None:
        migrate(connection, new)
        meta.found(connection, space, name, random_bytes)

    try:
        _prepare(path, new)
        runner = await runners.start(lambda: connect_writer(new, checkpoints=True), threaded=threaded)
        try:
            await runner.run(fill)
        finally:
            await runner.close()
        new.replace(path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as problem:
        raise translate(problem, path) from problem


def _prepare(path: Path, new: Path) -> None:
    if path.exists():
        raise StoreError(
            f"{path} exists already.", code="store-exists", next_step="Open it, or move it away to begin anew."
        )
    for name in (new.name, new.name + "-wal", new.name + "-shm"):
        new.with_name(name).unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
