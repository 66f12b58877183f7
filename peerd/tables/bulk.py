"""Many new rows at once: nearly all of what a file is shown that was empty, or that was away for long.

Records that the file never had need no turns as long as nothing stands in their way: if all rows of a batch go in, and
no constraint objects, greedy placement would have let all of them in, whatever their order. Records that come before
them and have no place yet still get their turn, and evict what is younger. A batch that meets a constraint is taken
back, and each of its records has its turn.

Left to the turns are also: records that were parked, references to what is not there (yet), and tables whose triggers
run, since these may do anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw
from msgspec import msgpack

from peerd.core.tables.cells import BadText
from peerd.tables.bound_table import BoundTable, Cells, ShadowRow, pack_dots
from peerd.tables.exact import Row
from peerd.tables.links import Link
from peerd.tables.local_keys import LocalKeys
from peerd.tables.many import rows_at
from peerd.tables.parking import parked_records
from peerd.tables.progress import Progress, Ref, Unplaceable

_BATCH = 500  # rows that are taken back if one of them collides
_AGAIN = 10  # rows whose parents were among the last: another round, if these were a tenth of what is left

_encode = msgpack.Encoder().encode


class _New:
    """A record that is to be a row. `cells` are in the order of the columns that it names."""

    __slots__ = ("cells", "key", "ref")

    def __init__(self, ref: Ref, key: Row, cells: Cells) -> None:
        self.ref, self.key, self.cells = ref, key, cells


class Bulk:
    """`refused` are records that are left to their turns."""

    def __init__(
        self, connection: apsw.Connection, progress: Progress, keys: LocalKeys, refused: dict[Ref, str]
    ) -> None:
        self._connection, self._progress, self._keys, self._refused = connection, progress, keys, refused
        self._parked = parked_records(connection)
        self._has_parent: dict[tuple[Link, Row], bool] = {}

    def place(self, group: frozenset[str], waiting: Sequence[Ref]) -> None:
        """Place what is plain of the waiting records of these tables. Integers were reserved."""
        progress = self._progress
        left = [ref for ref in waiting if self._is_new(ref)]
        while left:
            before = len(left)
            self._has_parent.clear()
            for name in sorted(group):
                table = progress.tables[name]
                for new in self._alike(table, [ref for ref in left if ref.table == name]):
                    for start in range(0, len(new), _BATCH):
                        self._insert(table, new[start : start + _BATCH])
            left = [ref for ref in left if ref in progress.pending]
            if not progress.links.inside(group) or (before - len(left)) * _AGAIN < before:
                return

    def _is_new(self, ref: Ref) -> bool:
        table, candidate = self._progress.tables[ref.table], self._progress.candidates[ref]
        runs_triggers = table.plan.run_triggers and table.table.triggers
        is_new = candidate.shadow is None and candidate.old is None
        name = table.plan.collection, ref.record
        return is_new and not runs_triggers and ref not in self._refused and name not in self._parked

    # ---- what they are to be

    def _alike(self, table: BoundTable, refs: Sequence[Ref]) -> list[list[_New]]:
        """Those that can be placed, by the columns that they name."""
        self._keys.look_ahead(table, refs)
        alike: dict[tuple[str, ...], list[_New]] = {}
        for ref in refs:
            try:
                new = self._new(table, ref)
            except Unplaceable:
                continue  # its turn says why
            if new is not None:
                alike.setdefault(tuple(new.cells), []).append(new)
        self._keys.look_no_further()
        if table.key_is_integer:
            for some in alike.values():
                some.sort(key=lambda one: one.key)  # neighbours share their pages
        return list(alike.values())

    def _new(self, table: BoundTable, ref: Ref) -> _New | None:
        candidate = self._progress.candidates[ref]
        cells = self._keys.cells(table, candidate)
        key = self._keys.key(table, candidate, cells)
        if table.keyed_by_rowid:
            cells = {**cells, table.key[0]: key[0]}
        if BadText in map(type, cells.values()):
            return None
        for link in self._progress.links.from_child(table.name):
            if not cells.keys() >= set(link.columns):
                return None
            if not link.mapped and not self._finds(link, tuple(map(cells.get, link.columns))):
                return None
        return _New(ref, key, cells)

    def _finds(self, link: Link, values: Row) -> bool:
        name = link, values
        if name not in self._has_parent:
            self._has_parent[name] = self._progress.has_parent(link, values)
        return self._has_parent[name]

    # ---- into the file

    def _insert(self, table: BoundTable, new: Sequence[_New]) -> None:
        """All of them, or none."""
        connection, progress = self._connection, self._progress
        table.switch_triggers()
        connection.execute("SAVEPOINT _peerd_bulk")
        try:
            connection.executemany(table.insertion(tuple(new[0].cells)), (tuple(one.cells.values()) for one in new))
            shadows = list(self._shadows(table, new))
            connection.executemany(table.shadow_insertion, map(table.shadow_values, shadows))
        except apsw.ConstraintError:
            shadows = []
        if len(shadows) < len(new):
            connection.execute("ROLLBACK TO _peerd_bulk")
        connection.execute("RELEASE _peerd_bulk")
        if len(shadows) == len(new):
            progress.written += len(new)
            for one in new:
                progress.done(one.ref)

    def _shadows(self, table: BoundTable, new: Sequence[_New]) -> Iterator[ShadowRow]:
        """What the file has of them, of those that are found at the keys that they were given."""
        found = rows_at(self._connection, table, [one.key for one in new])
        for one in new:
            cells = found.get(one.key)
            if cells is not None:
                image = self._progress.candidates[one.ref].image
                back = dict(zip(table.stored, cells, strict=True))
                key = table.key_in(back, one.key)
                yield ShadowRow(one.ref.record, key, table.base_of(back, {}, ()), pack_dots(image), _encode(image.rank))
