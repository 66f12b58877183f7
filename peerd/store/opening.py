"""Opening a copy: read what is kept in memory, and decide whether its own origin may go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from peerd import logs
from peerd.core.copy import CopyState
from peerd.core.stored import Opened, StoredBinding
from peerd.store import asides, awaited, binding_copy, bindings, meta, peers, petitions, roster, staging
from peerd.store.database import Outcome
from peerd.store.machine import Machine
from peerd.store.mark import WENT_DOWN, Mark, MarkFile, Standing, objection
from peerd.store.meta import Meta
from peerd.store.refs import Refs

log = logs.get(__name__)

_OTHER_DEVICE = "The database belongs to another device: its own origin was made with another key."


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


class Opening:
    """`work` is the first transaction; what it found and decided stands here afterwards.

    An own origin that may not go on is forgotten in the same transaction, so that the next start, which finds a mark
    of this one, does not take it up again.
    """

    opened: Opened
    meta: Meta
    mark: Mark
    bound: list[StoredBinding] | None  # None: they cannot be read

    def __init__(
        self, path: Path, device: bytes, file: MarkFile, machine: Machine, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.refs = Refs()
        self._path = path
        self._device = device
        self._file = file
        self._machine = machine
        self._token = random_bytes(16)
        self._copy_id = random_bytes(16)

    def work(self, connection: sqlite3.Connection) -> Outcome[None]:
        self.refs.load(connection)
        self.meta, state = meta.load(connection, self.refs, self._path)
        inode = self._path.stat().st_ino
        origin = None if self.meta.own_origin is None else self.refs.origin_of[self.meta.own_origin]
        note = self._judge(state, origin, inode)
        another = note not in {"", WENT_DOWN}  # what is bound shows what was here before
        if note:
            # Positions were given that this copy does not know; it may give them again, for other transactions.
            self.meta.copy_id = self._copy_id
        if note and origin is not None:
            log.warning("own origin ends", path=str(self._path), origin=origin, cause=note)
            origin = self.meta.own_origin = None
        elif origin is None:
            note = ""
        connection.execute(
            "UPDATE space SET token = ?, own_origin = ?, copy_id = ?",
            (self._token, self.meta.own_origin, self.meta.copy_id),
        )
        self.mark = Mark(
            token=self._token.hex(),
            machine=self._machine.machine,
            boot=self._machine.boot,
            inode=inode,
            origin=origin.hex() if origin else "",
            seq=state.seq(origin) if origin else 0,
        )
        self.opened = Opened(
            space=self.meta.space,
            name=self.meta.name,
            copy_id=self.meta.copy_id,
            state=state,
            own_origin=origin,
            origin_note=note,
            statements=roster.load(connection),
            peers=peers.load(connection, self._path),
            staged=staging.load(connection, self._path),
            awaited=awaited.load(connection),
            petition=petitions.load(connection, self._path),
            age=self.meta.age,
            recopy=asides.load(connection),
            taken=meta.taken(connection),
        )
        self.bound = binding_copy.readable(connection, self._path)
        if another and self.bound:
            self.bound = [binding_copy.renewed(one) for one in self.bound]
            for one in self.bound:
                bindings.save(connection, one)
        return Outcome(None, published=lambda: self._file.write(self.mark, sync=True))

    def _judge(self, state: CopyState, origin: bytes | None, inode: int) -> str:
        if origin is not None and state.device_of(origin) != self._device:
            return _OTHER_DEVICE
        mark = self._file.read()
        seq = state.seq(origin) if origin is not None else 0
        standing = Standing(self.meta.token.hex(), self._machine, inode, origin.hex() if origin else "", seq)
        note = objection(mark, standing)
        if mark is not None and not note:
            # Killed before or after the commit that follows, we find one of the two tokens in the database.
            known = self.meta.token.hex()
            self._file.write(replace(mark, token=known, next_token=self._token.hex()))
        return note
