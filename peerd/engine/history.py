"""The log of a space, for people: transactions, newest first."""

from __future__ import annotations

from collections.abc import Iterable

from peerd.core import entry
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change, Entry, Kind
from peerd.core.stored import LogRow
from peerd.core.values import unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.records import conflict_name, dot_text
from peerd.engine.space import Space
from peerd.protocol.control_messages import (
    LogChange,
    LogEntry,
    LogPage,
)

WINDOW = 200  # runs read at a time
SCAN = 20_000  # runs looked at for one page
PAGE_BYTES = 4 << 20
WHOLE_RUN = 1 << 40
_KINDS = {Kind.PUT: "put", Kind.PATCH: "patch", Kind.DELETE: "delete", Kind.RESTORE: "restore"}


class History:
    """The log of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def page(
        self, *, device: bytes | None, collection: str | None, key: str | None, limit: int, cursor: str | None
    ) -> LogPage:
        """Transactions that match, from `cursor` backwards: at most `limit`, and fewer if they are large or far apart.
        A cursor is the position of a run, and the index of the last entry in it that has been looked at.
        """
        last = self._space.commits.last_position
        begins = await self._space.store.first_position()
        position, below = from_word(cursor, tuple[int, int]) if cursor else (last, WHOLE_RUN)
        position = min(position, last)
        found: list[LogEntry] = []
        size_bytes = scanned = 0
        width = WINDOW
        while position >= begins and scanned < SCAN:
            first, rows = await self._rows_up_to(position, width)
            for row in reversed(rows):
                for index, dot, decoded in reversed(list(_entries(row))):
                    if row.position == position and index >= below:
                        continue
                    if self._matches(dot, decoded, device, collection, key):
                        if len(found) >= limit or size_bytes >= PAGE_BYTES:
                            return LogPage(transactions=found, cursor=to_word((row.position, index + 1)))
                        found.append(self._view(row, dot, decoded))
                        size_bytes += len(row.run.entries[index])
            scanned += position - first
            width = min(WINDOW, 2 * (position - first))
            position, below = first, WHOLE_RUN
        return LogPage(transactions=found, cursor=to_word((position, WHOLE_RUN)) if position >= begins else None)

    async def _rows_up_to(self, position: int, width: int) -> tuple[int, list[LogRow]]:
        """The runs up to `position`, as many as may be held at once, and the position before them."""
        while True:
            first = max(0, position - width)
            slice_ = await self._space.store.runs_after(first, PAGE_BYTES, position - first)
            if slice_.read_up_to >= position or width == 1:
                return first, [row for row in slice_.rows if row.position <= position]
            width = max(1, width // 2)

    def _matches(self, dot: Dot, decoded: Entry, device: bytes | None, collection: str | None, key: str | None) -> bool:
        if device is not None and self._space.copy.device_of(dot.origin) != device:
            return False
        return any(collection in {None, change.collection} and key in {None, change.key} for change in decoded.changes)

    def _view(self, row: LogRow, dot: Dot, decoded: Entry) -> LogEntry:
        device = self._space.copy.device_of(dot.origin)
        return LogEntry(
            dot=dot_text(dot),
            device=format_device_id(device) if device else None,
            device_name=self._space.name_of(device) if device else "",
            time_ms=decoded.t_ms,
            arrived_ms=row.arrived_ms,
            changes=[_change_view(change) for change in decoded.changes],
        )


def _entries(row: LogRow) -> Iterable[tuple[int, Dot, Entry]]:
    for index, data in enumerate(row.run.entries):
        yield index, Dot(row.run.origin, row.run.first + index), entry.decode(data)


def _change_view(change: Change) -> LogChange:
    return LogChange(
        kind=_KINDS[Kind(change.kind)],  # type: ignore[arg-type] # the four words of LogChange
        collection=change.collection,
        key=change.key,
        set={conflict_name(name): unpack(value) for name, value in change.set.items()},
        drop=list(change.drop),
    )
