"""The log of a space, for people: transactions, newest first."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from peerd.core import entry
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change, Entry, Kind
from peerd.core.stored import LogRow
from peerd.core.values import unpack
from peerd.engine.records import conflict_name, dot_text
from peerd.engine.space import Space
from peerd.errors import UserError
from peerd.protocol.control_messages import (
    LogChange,
    LogEntry,
    LogPage,
)

WINDOW = 200  # runs read at a time
SCAN = 20_000  # runs looked at for one page
PAGE_BYTES = 4 << 20
_KINDS = {Kind.PUT: "put", Kind.PATCH: "patch", Kind.DELETE: "delete", Kind.RESTORE: "restore"}


class History:
    """The log of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def page(
        self, *, device: bytes | None, collection: str | None, key: str | None, limit: int, cursor: str | None
    ) -> LogPage:
        """Transactions that match, from `cursor` backwards."""
        position, below = _decode(cursor) if cursor else (self._space.commits.last_position, 1 << 40)
        found: list[LogEntry] = []
        scanned = 0
        next_cursor: tuple[int, int] | None = None
        while position > 0 and scanned < SCAN:
            first = max(0, position - WINDOW)
            rows = await self._rows(first, position)
            for row in reversed(rows):
                for index, dot, decoded in reversed(list(_entries(row))):
                    if row.position == position and index >= below:
                        continue
                    if len(found) >= limit:
                        return LogPage(transactions=found, cursor=_encode(next_cursor) if next_cursor else None)
                    if self._matches(dot, decoded, device, collection, key):
                        found.append(self._view(row, dot, decoded))
                    next_cursor = row.position, index
            scanned += position - first
            position, below = first, 1 << 40
        more = position > 0
        return LogPage(transactions=found, cursor=_encode((position, 1 << 40)) if more else None)

    async def _rows(self, first: int, last: int) -> list[LogRow]:
        rows: list[LogRow] = []
        while first < last:
            slice_ = await self._space.store.runs_after(first, PAGE_BYTES, last - first)
            if not slice_.rows and slice_.read_up_to <= first:
                break
            rows += [row for row in slice_.rows if row.position <= last]
            first = slice_.read_up_to
        return rows

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


def _encode(cursor: tuple[int, int]) -> str:
    return base64.urlsafe_b64encode(f"{cursor[0]}.{cursor[1]}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[int, int]:
    try:
        position, index = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(".")
        return int(position), int(index)
    except ValueError:
        raise UserError("this cursor is none of ours", code="bad-cursor") from None
