"""Where our copy came from: a snapshot is as trustworthy as its maker, until another member's copy says the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from peerd.core.device_id import short_id
from peerd.core.snapshots.stored import Taken
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.errors import StoreError
from peerd.logs import get

log = get(__name__)


class Provenance:
    """`taken` is the snapshot whose place this copy took. `name` is the space's, for the log; `name_of` gives what
    people call a device.
    """

    def __init__(self, name: str, taken: Taken | None, store: SnapshotStore, name_of: Callable[[bytes], str]) -> None:
        self.taken = taken
        self._name = name
        self._store = store
        self._name_of = name_of
        self._keeping: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._keeping:
            await asyncio.wait(self._keeping)

    def agrees_with(self, device: bytes) -> None:
        """Our copy has had the same digest as that of a member: what a third one's snapshot brought is confirmed."""
        if self.taken is None or self.taken.agreed or self.taken.device == device:
            return
        self.taken = replace(self.taken, agreed=True)
        task = asyncio.create_task(self._keep_agreement(), name="keep agreement")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    def doubt(self, other: bytes) -> str:
        """What is to be said of where our copy came from, if it differs from another member's; "" if nothing is."""
        if self.taken is None or self.taken.agreed or self.taken.device == other:
            return ""
        maker = self._name_of(self.taken.device) or short_id(self.taken.device)
        return f"the copy here came as a snapshot of {maker}, with which no other member has agreed since"

    async def _keep_agreement(self) -> None:
        try:
            await self._store.agreed()
        except StoreError as problem:  # it will agree again
            log.warning("agreement not kept", space=self._name, code=problem.code, cause=str(problem))
