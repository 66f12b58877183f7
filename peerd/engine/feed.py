"""The feed of changes: the log of this copy, read from a token, and then as it grows.

A token is (copy id, position, index): everything up to that change of that run has been told. Positions are local and
survive restarts; when they lose their meaning the copy id changes, and the feed answers `reset` and the whole state.
Each event carries the record as it is when it is told; what was written in between is told again by its own event, so
nothing is skipped, and nothing is told twice.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterable, Sequence

import msgspec

from peerd.core import entry
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change
from peerd.core.reading import conflicts, etag
from peerd.core.record import Record
from peerd.core.stored import LogRow
from peerd.engine.commits import Commit
from peerd.engine.ports import Transaction
from peerd.engine.records import conflict_name, dot_text, json_object
from peerd.engine.space import Space
from peerd.errors import UserError
from peerd.protocol.control_messages import (
    ChangeEvent,
)

BATCH_BYTES = 256 << 10
PAGE = 500
Cursor = tuple[int, int]  # position, index of the change within the run


class _Told(msgspec.Struct, frozen=True):
    cursor: Cursor
    dot: Dot
    t_ms: int
    change: Change


class Feed:
    """The feed of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def open(self, since: str | None, *, follow: bool) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        """See `peerd.control.service.Service.changes`."""
        if since is None:
            return self._run(None, follow=follow)
        if since == "now":
            return self._run((self._space.commits.last_position, 0), follow=follow)
        return self._run(self._parse(since), follow=follow)

    def _token(self, cursor: Cursor) -> str:
        data = msgspec.msgpack.encode((self._space.copy_id, *cursor))
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def _parse(self, token: str) -> Cursor | None:
        """The cursor in a token; None if this copy cannot continue it."""
        try:
            data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            copy_id, position, index = msgspec.msgpack.decode(data, type=tuple[bytes, int, int])
        except (ValueError, msgspec.MsgspecError):
            raise UserError("this token is none of ours", code="bad-cursor") from None
        if copy_id != self._space.copy_id or position > self._space.commits.last_position + 1:
            return None
        return position, index

    async def _run(self, cursor: Cursor | None, *, follow: bool) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        doorbell = asyncio.Event()

        def ring(_: Commit) -> None:
            doorbell.set()

        self._space.on_commit.append(ring)
        try:
            if cursor is None:
                cursor = self._space.commits.last_position, 0
                async for events in self._state():
                    yield events
            current = False
            while True:
                doorbell.clear()
                told, cursor = await self._read(cursor)
                if told:
                    current = False
                    yield await self._events(told)
                    continue
                if not current:
                    current = True
                    yield [ChangeEvent(kind="current", token=self._token(cursor))]
                if not follow:
                    return
                await doorbell.wait()
        finally:
            self._space.on_commit.remove(ring)

    async def _state(self) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        """`reset`, then every record. What changes meanwhile is told afterwards, whether or not it is in here."""
        # A reader that stops in the middle begins again: until the state is whole, its token leads to `reset`.
        unfinished = base64.urlsafe_b64encode(msgspec.msgpack.encode((b"", 0, 0))).decode().rstrip("=")
        yield [ChangeEvent(kind="reset", token=unfinished)]
        for count in await self._space.store.collections():
            if count.name.startswith("_"):
                continue
            rules = self._space.commits.rules_of(count.name)
            after: str | None = None
            while True:
                page = await self._space.store.page(count.name, "", after, PAGE)
                events = []
                for key, record in page.records:
                    event = ChangeEvent(kind="put", token=unfinished, collection=count.name, key=key)
                    event.value = json_object(record, rules)
                    event.etag = etag(record)
                    event.conflicts = [conflict_name(one.field) for one in conflicts(record, rules)]
                    events.append(event)
                if events:
                    yield events
                if not page.more:
                    break
                after = page.records[-1][0]

    async def _read(self, cursor: Cursor) -> tuple[list[_Told], Cursor]:
        """The changes after `cursor`, some at a time, and the cursor after them."""
        position, index = cursor
        before = position - 1 if index else position
        slice_ = await self._space.store.runs_after(before, BATCH_BYTES, 64)
        told = [one for row in slice_.rows for one in _changes(row) if one.cursor > cursor]
        visible = [one for one in told if not one.change.collection.startswith("_")]
        if visible:
            return visible, visible[-1].cursor
        if slice_.rows:
            return [], (slice_.rows[-1].position, 1 << 40)
        return [], cursor

    async def _events(self, told: Sequence[_Told]) -> list[ChangeEvent]:
        names = {one.change.record for one in told}

        def reading(transaction: Transaction) -> dict[tuple[str, str], Record]:
            return {name: stored.record for name, stored in transaction.records(names).items()}

        records = await self._space.store.read(reading)
        return [self._event(one, records.get(one.change.record)) for one in told]

    def _event(self, told: _Told, record: Record | None) -> ChangeEvent:
        rules = self._space.commits.rules_of(told.change.collection)
        visible = record is not None and record.visible
        device = self._space.copy.device_of(told.dot.origin)
        event = ChangeEvent(
            kind="put" if visible else "delete",
            token=self._token(told.cursor),
            collection=told.change.collection,
            key=told.change.key,
            dot=dot_text(told.dot),
            device=format_device_id(device) if device else None,
            time_ms=told.t_ms,
        )
        if record is not None and visible:
            event.value = json_object(record, rules)
            event.etag = etag(record)
            event.conflicts = [conflict_name(one.field) for one in conflicts(record, rules)]
        return event


def _changes(row: LogRow) -> Iterable[_Told]:
    """The changes of a run, numbered from 1."""
    index = 0
    for seq, data in enumerate(row.run.entries, row.run.first):
        decoded = entry.decode(data)
        for change in decoded.changes:
            index += 1
            yield _Told((row.position, index), Dot(row.run.origin, seq), decoded.t_ms, change)
