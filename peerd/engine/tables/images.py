"""What a space has for a bound file: the records that changed since a position, or all of them, as images."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import NamedTuple

from peerd.core import entry
from peerd.core.batch import Name
from peerd.core.reading import SETTINGS, shown, shown_dot
from peerd.core.record import Record
from peerd.core.tables.changes import RowImage, SaidAgain
from peerd.core.tables.extending import Extension
from peerd.core.tables.images import image_of
from peerd.core.values import unpack
from peerd.engine.space import Space
from peerd.engine.store_ports import Transaction

ROWS_AT_ONCE = 1_000
PAGE_ROWS = 2_000  # of all records, when all are read: memory has to hold them several times over
SMALL_PART = 8  # a collection is small if so many of its size would not fill the space
RUNS_AT_ONCE = 64
LOG_BYTES = 256 << 10  # of the log read at a time


class Changed(NamedTuple):
    """Records that the runs up to `position` changed, each once."""

    names: list[Name]
    position: int


class TableImages:
    """Of the records in `collections`."""

    def __init__(self, space: Space, collections: Collection[str]) -> None:
        self._space = space
        self._collections = frozenset(collections)

    @property
    def last_position(self) -> int:
        return self._space.commits.last_position

    async def changed_after(self, position: int) -> Changed | None:
        """The next runs after `position`, as many as change about a thousand records, and at least one if there is
        any; the position is the same if there is none. None: all records have to be read, as the log no longer has
        what follows `position`, or what follows changes the settings by which our collections are shown.
        """
        last = self.last_position
        if position > last:
            return None
        slice_ = await self._space.store.runs_after(position, LOG_BYTES, RUNS_AT_ONCE)
        rows = [row for row in slice_.rows if row.position <= last]
        if position < slice_.trimmed or (position < last and not rows):
            return None
        names: dict[Name, None] = {}
        for row in rows:
            changed = [change.record for data in row.run.entries for change in entry.decode(data).changes]
            if any(collection == SETTINGS and key in self._collections for collection, key in changed):
                return None
            found = [name for name in changed if name[0] in self._collections]
            if names and len(names) + len(found) > ROWS_AT_ONCE:
                break
            names.update(dict.fromkeys(found))
            position = row.position
        return Changed(list(names), position)

    async def images(self, names: Collection[Name]) -> list[RowImage]:
        """What these show now; nothing of those that stand parked because our copy lost something of them."""
        rules = self._space.commits.rules

        def reading(transaction: Transaction) -> list[RowImage]:
            stored = transaction.records(names)
            found = [(name, stored[name].record if name in stored else None) for name in names]
            return [
                image_of(*name, record, rules.of(name[0]))
                for name, record in found
                if record is None or not record.parked or not self._space.damage.doubts(name)
            ]

        return await self._space.store.read(reading)

    async def pages(self, collection: str) -> AsyncGenerator[list[RowImage], None]:
        """All visible records, some at a time, and about as their author made them: the rows of a table then lie in
        the file beside each other, as they do in the author's. A collection that is a small part of its space is read
        by its keys, as the other order looks at all of the space.
        """
        counts = {one.name: one.records for one in await self._space.store.collections()}
        is_small = counts.get(collection, 0) * SMALL_PART < sum(counts.values())
        rules = self._space.commits.rules.of(collection)
        async for records in self._by_key(collection) if is_small else self._by_arrival(collection):
            yield [image_of(collection, key, record, rules) for key, record in records]

    async def _by_arrival(self, collection: str) -> AsyncGenerator[list[tuple[str, Record]], None]:
        after, more = 0, True
        while more:
            page = await self._space.store.by_arrival(collection, after, PAGE_ROWS)
            after, more = page.last, page.more
            if page.records:
                yield page.records

    async def _by_key(self, collection: str) -> AsyncGenerator[list[tuple[str, Record]], None]:
        after: str | None = None
        more = True
        while more:
            page = await self._space.store.page(collection, "", after, PAGE_ROWS)
            more = page.more
            if page.records:
                after = page.records[-1][0]
                yield page.records

    async def gone(self, collection: str, keys: Sequence[str]) -> AsyncGenerator[list[RowImage], None]:
        """Images of those of `keys` that show nothing, some at a time; not of those that our copy may have lost. When
        that is known, everything is compared once more.
        """
        doubts = self._space.damage.doubts
        for first in range(0, len(keys), ROWS_AT_ONCE):
            names = [(collection, key) for key in keys[first : first + ROWS_AT_ONCE] if not doubts((collection, key))]
            if gone := [image for image in await self.images(names) if image.fields is None]:
                yield gone


async def said_here(space: Space, extension: Extension) -> SaidAgain:
    """The records that show an integer of this device in a column that means rows of another table from now on. Only
    the device that wrote it can say which row it meant.
    """
    return {
        one.table: await _own_integers(space, one.collection, extension.references[one.table])
        for one in extension.plan.tables
        if one.table in extension.references
    }


async def _own_integers(space: Space, collection: str, fields: Collection[str]) -> dict[str, list[str]]:
    """For each field the keys of the records that show an integer there which this device wrote."""
    rules = space.commits.rules.of(collection)
    found: dict[str, list[str]] = {field: [] for field in fields}
    after: str | None = None
    while True:
        page = await space.store.page(collection, "", after, ROWS_AT_ONCE)
        for key, record in page.records:
            after = key
            values = shown(record, rules)
            for field in fields:
                if field in record.fields and _is_integer(values.get(field)):
                    author = space.copy.device_of(shown_dot(record, field, rules).origin)
                    if author == space.device:
                        found[field].append(key)
        if not page.more:
            return found


def _is_integer(packed: bytes | None) -> bool:
    value = unpack(packed) if packed is not None else None
    return isinstance(value, int) and not isinstance(value, bool)
