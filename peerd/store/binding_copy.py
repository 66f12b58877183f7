"""What is bound to a space, beside its database: a copy that takes the place of a damaged one goes on with it.

It holds what the table `binding` holds, but for the notes of transactions: those change with every harvest, and are
read from the damaged database itself, where they can be. A failure to write the file does no harm but this: it is
behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec.structs import replace

from peerd import logs
from peerd.core.stored import StoredBinding
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.settings import decode_settings, encode_settings
from peerd.errors import StoreError
from peerd.store import beside, bindings
from peerd.store.connecting import wal_of
from peerd.store.database import Outcome

log = logs.get(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[bytes, str, str, BindingPlan, bytes]]).decode


class BindingCopy:
    """Of one database, at `path`, in which these are bound now; None: they cannot be read, and the copy stays."""

    def __init__(self, path: Path, now: Sequence[StoredBinding] | None) -> None:
        self._database = path
        self._path = place(path)
        self._kept = _packed(load(path))
        self._keep(now)

    def after(self, change: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], Outcome[None]]:
        """The work of a transaction that changes what is bound; the copy follows when it is durable."""

        def work(connection: sqlite3.Connection) -> Outcome[None]:
            change(connection)
            now = readable(connection, self._database)
            return Outcome(None, published=lambda: self._keep(now))

        return work

    def _keep(self, now: Sequence[StoredBinding] | None) -> None:
        if now is None or (packed := _packed(now)) == self._kept:
            return
        try:
            beside.write(self._path, packed)
        except OSError as problem:
            log.warning("bindings not copied", path=str(self._path), cause=str(problem))
        else:
            self._kept = packed


def _packed(bound: Sequence[StoredBinding]) -> bytes:
    return _encode([(one.id, one.name, one.database, one.plan, one.settings) for one in bound])


def place(path: Path) -> Path:
    """Where the copy for the database at `path` stands."""
    return path.with_suffix(".bindings")


def load(path: Path) -> list[StoredBinding]:
    """Those beside the database at `path`, as far as they can be read."""
    try:
        return [StoredBinding(*one) for one in _decode(beside.read(place(path)))]
    except (OSError, msgspec.MsgspecError):
        return []


def readable(connection: sqlite3.Connection, path: Path) -> list[StoredBinding] | None:
    """Those in the database, None if one of them cannot be read. Raises sqlite3.Error."""
    try:
        return bindings.load(connection, path)
    except StoreError:
        return None


def salvage(path: Path) -> list[StoredBinding]:
    """What was bound to the space of the database at `path`, from the database if it still shows it, as it is for a new
    copy: see `BindingSettings.renewed`.
    """
    if not path.exists():
        return [renewed(one) for one in load(path)]
    found = None
    alone = "" if wal_of(path).exists() else "&immutable=1"  # nothing is made beside a database that has nothing there
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{alone}", uri=True)) as connection:
            found = readable(connection, path)
    except sqlite3.Error as problem:
        log.info("bindings not read", path=str(path), cause=str(problem))
    return [renewed(one) for one in (load(path) if found is None else found)]


def renewed(binding: StoredBinding) -> StoredBinding:
    """A binding to a file that shows another copy."""
    try:
        settings = decode_settings(binding.settings)
    except ValueError:
        return binding
    return replace(binding, settings=encode_settings(replace(settings, renewed=True)))
