"""The feed of changes: the log of this copy, read from a token, and then as it grows.

A token is (copy id, position, index): everything up to that change of that run has been told, or with index 0 the
whole run. Positions are local and survive restarts; when they lose their meaning the copy id changes, and the feed
answers `reset` and the whole state. Each event carries the record as it is when it is told; what was written in between
is told again by its own event, so nothing is skipped, and nothing is told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import partial

import msgspec

from peerd.core import entry
from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change
from peerd.core.reading import conflicts, etag
from peerd.core.record import Record
from peerd.core.stored import LogRow
from peerd.engine.commits import Commit
from peerd.engine.cursors import from_word, to_word
from peerd.engine.records import conflict_name, dot_text, json_object
from peerd.engine.space import Space
from peerd.engine.store_ports import Transaction
from peerd.protocol.control.messages import ChangeEvent

BATCH_BYTES = 256 << 10  # of the log read at a time, and of the records told in one batch
PAGE = 500
UNFINISHED = to_word((b"", 0, 0))  # continues nothing, so it leads to `reset`
Cursor = tuple[int, int]  # position, index of the change within the run


class _Told(msgspec.Struct, frozen=True):
    cursor: Cursor
    dot: Dot
    t_ms: int
    change: Change


class Feed:
    """The feed of one space, for one reader."""

    def __init__(self, space: Space) -> None:
        self._space = space
        # The store may be ahead of what was rung by one commit. Whoever has been told what it holds goes on with the
        # tail only when that commit is in there too: a record never seems to go back.
        self._caught_up_at = 0
        self._copy_id = space.copy_id

    async def open(self, since: str | None, *, follow: bool) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        """See `peerd.control.service.Service.changes`."""
        self._copy_id = self._space.copy_id
        if since is None:
            return self._run(None, follow=follow)
        if since == "now":
            return self._run((self._space.commits.last_position, 0), follow=follow)
        return self._run(self._parse(since), follow=follow)

    def _token(self, cursor: Cursor) -> str:
        return to_word((self._copy_id, *cursor))

    def _parse(self, token: str) -> Cursor | None:
        """The cursor in a token; None if this copy cannot continue it."""
        copy_id, position, index = from_word(token, tuple[bytes, int, int], "token")
        if copy_id != self._space.copy_id or position > self._space.commits.last_position:
            return None
        return position, index

    async def _run(self, cursor: Cursor | None, *, follow: bool) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        doorbell = asyncio.Event()

        def ring(_: Commit) -> None:
            doorbell.set()

        self._space.on_commit.insert(0, ring)  # a watcher hears before anybody is told over a link
        try:
            current = False
            while True:
                doorbell.clear()
                if self._copy_id != self._space.copy_id:  # a snapshot took its place: positions tell nothing now
                    self._copy_id, cursor = self._space.copy_id, None
                read = None if cursor is None else await self._read(cursor)
                if read is None:
                    current, cursor = False, (self._space.commits.last_position, 0)
                    async for events in self._state():
                        yield events
                    continue
                told, cursor = read
                if told:
                    current = False
                    while told:
                        events = await self._events(told)
                        yield events
                        told = told[len(events) :]
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
        yield [ChangeEvent(kind="reset", token=UNFINISHED)]
        for count in await self._space.store.collections():
            if count.name.startswith("_"):
                continue
            rules = self._space.commits.rules.of(count.name)
            after: str | None = None
            while True:
                page = await self._space.store.page(count.name, "", after, PAGE)
                events = []
                for key, record in page.records:
                    event = ChangeEvent(kind="put", token=UNFINISHED, collection=count.name, key=key)
                    event.value = json_object(record, rules)
                    event.etag = etag(record)
                    event.conflicts = [conflict_name(one.field) for one in conflicts(record, rules)]
                    events.append(event)
                if events:
                    yield events
                if not page.more:
                    break
                after = page.records[-1][0]
        self._caught_up_at = self._space.commits.last_position + 1

    async def _read(self, cursor: Cursor) -> tuple[list[_Told], Cursor] | None:
        """The next changes after `cursor` that are told, some at a time, and the cursor after them; none if there is
        no more. Runs that this copy's state does not hold yet wait for their doorbell. None: what follows is no longer
        in the log.
        """
        while True:
            position, index = cursor
            after = position - 1 if index else position
            slice_ = self._space.commits.tail.runs_after(after, BATCH_BYTES, 64)
            if slice_ is None:
                slice_ = await self._space.store.runs_after(after, BATCH_BYTES, 64)
            if after < slice_.trimmed:
                return None
            rows = [row for row in slice_.rows if row.position <= self._space.commits.last_position]
            if not rows:
                return [], cursor
            ahead = [one for row in rows for one in _changes(row) if one.cursor > cursor]
            cursor = rows[-1].position, 0
            visible = [one for one in ahead if not one.change.collection.startswith("_")]
            if visible:
                return visible, cursor

    async def _events(self, told: Sequence[_Told]) -> list[ChangeEvent]:
        """Of as many changes as a batch may have: each event shows a whole record, which may be much larger than its
        change.
        """
        found = self._in_tail(told)
        if found is None:
            found = await self._space.store.read(partial(_look_up, told))
            self._caught_up_at = self._space.commits.last_position + 1
        return [self._event(one, record) for one, record in zip(told, found, strict=False)]

    def _in_tail(self, told: Sequence[_Told]) -> list[Record | None] | None:
        """The records of `told` out of memory; None if they have to be read."""
        commits = self._space.commits
        if commits.last_position < self._caught_up_at:
            return None
        if not all(commits.tail.knows(one.change.record) for one in told):
            return None
        return _collect(told, commits.tail.record)

    def _event(self, told: _Told, record: Record | None) -> ChangeEvent:
        rules = self._space.commits.rules.of(told.change.collection)
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


def _look_up(told: Sequence[_Told], transaction: Transaction) -> list[Record | None]:
    def record(name: Name) -> Record | None:
        stored = transaction.records([name]).get(name)
        return stored.record if stored is not None else None

    return _collect(told, record)


def _collect(told: Sequence[_Told], look_up: Callable[[Name], Record | None]) -> list[Record | None]:
    """The records of the first changes, as many as a batch may have."""
    records: dict[Name, Record | None] = {}
    found: list[Record | None] = []
    size_bytes = 0
    for one in told:
        name = one.change.record
        if name not in records:
            records[name] = look_up(name)
        record = records[name]
        size_bytes += 200 + (_size_bytes(record) if record is not None else 0)
        if found and size_bytes > BATCH_BYTES:
            break
        found.append(record)
    return found


def _size_bytes(record: Record) -> int:
    return sum(len(name) + len(value) for name, siblings in record.fields.items() for value in siblings.values())
