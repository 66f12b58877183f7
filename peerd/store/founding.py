"""Making the database of a new copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from peerd.core.roster.statements import SignedStatement
from peerd.core.stored import StoredBinding
from peerd.errors import StoreError
from peerd.store import bindings, meta, roster, runners
from peerd.store.beside import sync_folder
from peerd.store.connecting import connect_writer
from peerd.store.database import Outcome, committed
from peerd.store.failures import translate
from peerd.store.lock import Lock
from peerd.store.migrate import build
from peerd.store.opening import lock_of


async def create(
    path: Path,
    space: bytes,
    name: str,
    random_bytes: Callable[[int], bytes],
    statements: Sequence[SignedStatement] = (),
    bound: Sequence[StoredBinding] = (),
    *,
    threaded: bool = True,
) -> None:
    """Make the database of a new, empty copy of `space` at `path`, with its roster and what another copy of it had
    bound. It is built beside `path`, and is there whole or not at all: after a failure nothing is.

    Raises:
        StoreError: code "store-exists" if there is one; DiskFull, StoreBusy.
    """
    new = path.with_name(path.name + ".new")

    def fill(connection: sqlite3.Connection) -> Outcome[None]:
        build(connection)
        meta.found(connection, space, name, random_bytes)
        roster.add(connection, statements)
        for binding in bound:
            bindings.put_back(connection, binding)
        return Outcome(None)

    lock = Lock.take(lock_of(path))
    try:
        _prepare(path, new)
        runner = await runners.start(lambda: connect_writer(new, checkpoints=True), threaded=threaded)
        try:
            await runner.run(lambda connection: committed(connection, fill))
            await runner.run(_into_one_file)
        finally:
            await runner.close()
        _put_in_place(new, path)
    except (sqlite3.Error, OSError) as problem:
        raise translate(problem, path) from problem
    finally:
        _clear(new)
        lock.release()


def _into_one_file(connection: sqlite3.Connection) -> None:
    """What is still in the WAL does not go along. The close says nothing if it cannot copy it."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("another program reads it")


def _prepare(path: Path, new: Path) -> None:
    if path.exists():
        raise StoreError(
            f"{path} exists already.", code="store-exists", next_step="Open it, or move it away to begin anew."
        )
    _clear(new)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _put_in_place(new: Path, path: Path) -> None:
    new.replace(path)
    try:
        sync_folder(path.parent)
    except OSError:
        path.unlink()
        raise


def _clear(new: Path) -> None:
    """What was left of building it. Where that is not possible it does no harm, and is cleared away the next time."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
