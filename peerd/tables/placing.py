"""Greedy placement: records get their rows one after the other, parents first, then the oldest birth. One that
collides with an earlier one is parked, one that collides with later ones takes their place.

What a projection starts from is the placement of an earlier state, and it knows every record that is parked. So only
changed and parked records take turns: a row that no turn touches is where it would be if all were placed anew.
"""

from __future__ import annotations

from collections.abc import Collection

import apsw
from msgspec import msgpack

from peerd.core.tables.cells import cell_hash
from peerd.core.tables.changes import RowImage
from peerd.core.tables.earlier import Version, pack_versions, unpack_versions, with_version
from peerd.tables.bound_table import BoundTable, Cells, ShadowRow, UndoneByTrigger, pack_dots
from peerd.tables.bulk import Bulk
from peerd.tables.collisions import Collisions, extended_code, is_collision, refusal
from peerd.tables.exact import Row
from peerd.tables.links import Link
from peerd.tables.local_keys import LocalKeys
from peerd.tables.progress import Progress, Ref, Unplaceable, missing_parent
from peerd.tables.seniority import Seniorities

_encode = msgpack.Encoder().encode


class Placing:
    """`refused` are records that the application's triggers refuse in a way that ends transactions, and their words."""

    def __init__(
        self,
        connection: apsw.Connection,
        progress: Progress,
        keys: LocalKeys,
        refused: dict[Ref, str],
        now_ms: int,
    ) -> None:
        self._connection, self._progress, self._keys, self._refused = connection, progress, keys, refused
        self._now_ms = now_ms
        self._collisions = Collisions(connection)
        self._bulk = Bulk(connection, progress, keys, refused)
        self._inner: frozenset[Link] = frozenset()
        self._swept = 0
        self._seniorities = Seniorities(progress, frozenset())

    def close(self) -> None:
        """Leave nothing on the connection."""
        self._collisions.close()

    def place(self, group: frozenset[str]) -> None:
        """Give all records of these tables their turn. The groups that they need have had theirs."""
        progress = self._progress
        self._inner = frozenset(progress.links.inside(group))
        progress.sweep({link for table in group for link in progress.links.from_child(table)})
        waiting = sorted(ref for ref in progress.pending if ref.table in group)
        self._reserve(group, waiting)
        self._bulk.place(group, waiting)
        waiting = [ref for ref in waiting if ref in progress.pending]
        for _ in range(len(waiting) + 1):
            self._swept = 0
            self._turns(group, waiting)
            self._sweep()
            again = [ref for ref in waiting if ref in progress.parked]
            if not any(not link.mapped for link in self._inner) or not again:
                break
            waits = any(progress.parked[ref].code == "parent" for ref in again)
            if not self._swept and (len(again) == len(waiting) or not waits):
                break
            waiting = again
            self._reserve(group, again)
            progress.pending.update(again)
        self._inner = frozenset()

    def _sweep(self) -> int:
        """Park what lacks its parent now, within the group."""
        count = self._progress.sweep(self._inner)
        self._swept += count
        return count

    def _reserve(self, group: frozenset[str], waiting: list[Ref]) -> None:
        candidates = self._progress.candidates
        for name in sorted(group):
            table = self._progress.tables[name]
            if table.key_is_integer:
                mine = [ref for ref in waiting if ref.table == name]
                self._keys.reserve(table, sorted(mine, key=lambda ref: (candidates[ref].image.rank, ref)))

    def _turns(self, group: frozenset[str], waiting: Collection[Ref]) -> None:
        progress = self._progress
        self._seniorities = Seniorities(progress, group)
        for ref in sorted(waiting, key=self._seniorities.of):
            if ref in progress.pending:
                unit = self._seniorities.unit(ref)
                if unit.circular:
                    self._place_circle([member for member in unit.members if member in progress.pending])
                else:
                    self._turn(ref)

    def _turn(self, ref: Ref) -> None:
        try:
            self._place_one(ref)
        except Unplaceable as why:
            self._progress.park(ref, why.code, why.reason)
            self._sweep()

    def _place_circle(self, members: list[Ref]) -> None:
        """Records that need each other are placed all, or none of them."""
        progress = self._progress
        remembered = progress.remember()
        self._keys.circle = frozenset(members)
        self._connection.execute("SAVEPOINT _peerd_circle")
        failed: dict[Ref, Unplaceable] = {}
        for ref in sorted(members, key=lambda one: (progress.candidates[one].image.rank, one)):
            try:
                self._place_one(ref)
            except Unplaceable as why:
                failed[ref] = why
        for ref in members:
            link = None if failed else self._missing(ref, [link for link in self._inner if not link.mapped])
            if link is not None:
                failed[ref] = Unplaceable("parent", missing_parent(link))
        self._keys.circle = frozenset()
        if failed:
            self._connection.execute("ROLLBACK TO _peerd_circle")
            self._collisions.look_again()
            progress.restore(remembered)
            for ref in members:
                verdict = failed.get(ref) or Unplaceable(
                    "parent", "A row that it needs, and that needs it, is not here."
                )
                progress.park(ref, verdict.code, verdict.reason)
        self._connection.execute("RELEASE _peerd_circle")
        self._sweep()

    # ---- one record

    def _place_one(self, ref: Ref) -> None:
        progress, candidate = self._progress, self._progress.candidates[ref]
        table = progress.tables[ref.table]
        if ref in self._refused:
            raise Unplaceable("check", f"A trigger of the application refuses it ({self._refused[ref]}).")
        cells = self._keys.cells(table, candidate)
        shadow, key = candidate.shadow, self._keys.key(table, candidate, cells)
        if shadow is not None and shadow.immovable and not table.key_is_integer:
            cells = {name: cell for name, cell in cells.items() if name not in table.key}
        present = table.read(key) if shadow is not None else None
        before = present or candidate.old
        full = {**before, **cells} if before else cells
        new_key = key if table.key_is_integer else tuple(map(full.get, table.key))  # 'a' may be 'A' now
        self._require_parents(ref, full)
        if shadow is not None and present is not None:
            changed = table.changed(cells, shadow.hashes, present)
            if not changed:
                self._keep(ref, candidate.image, shadow, table)
                return
            if not self._update(table, ref, changed, key):
                candidate.old = present
                table.delete(key)
                self._insert(table, ref, {**present, **changed}, new_key)
            self._settle(ref, table, new_key, before, changed)
            return
        self._insert(table, ref, full, new_key)
        self._settle(ref, table, new_key, before, full)
        unnamed = [link for link in self._progress.links.from_child(ref.table) if not full.keys() >= set(link.columns)]
        link = self._missing(ref, unnamed) if unnamed else None
        if link is not None:  # a default that refers to nothing
            raise Unplaceable("parent", missing_parent(link))

    def _keep(self, ref: Ref, image: RowImage, shadow: ShadowRow, table: BoundTable) -> None:
        dots, rank = pack_dots(image), _encode(image.rank)
        if (shadow.dots, shadow.rank) != (dots, rank):
            shadow.dots, shadow.rank = dots, rank
            table.set_shadow(shadow)
        self._progress.done(ref)

    def _update(self, table: BoundTable, ref: Ref, changed: Cells, key: Row) -> bool:
        try:
            table.update(changed, key)
        except apsw.ConstraintError as error:
            self._require_transaction(ref, error)
            if is_collision(error):
                return False
            raise refusal(error) from error
        return True

    def _insert(self, table: BoundTable, ref: Ref, cells: Cells, key: Row) -> None:
        while True:
            try:
                table.insert(cells, key)
            except apsw.ConstraintError as error:
                self._require_transaction(ref, error)
                if not is_collision(error):
                    if extended_code(error) == apsw.SQLITE_CONSTRAINT_TRIGGER:
                        table.delete(key)  # RAISE(FAIL) leaves what it refuses
                    raise refusal(error) from error
                self._clear_way(table, ref, self._collisions.of(table, cells, key), str(error))
            else:
                return

    def _clear_way(self, table: BoundTable, ref: Ref, keys: list[Row], words: str) -> None:
        """Evict what stands in the way, if all of it came later."""
        progress, ours = self._progress, self._seniorities.of(ref)
        aside: list[Ref] = []
        evicted: list[Ref] = []
        for key in keys:
            shadow = table.shadow_at(key)
            other = Ref(table.name, shadow.record) if shadow else None
            if other is not None and other in progress.pending and shadow and not shadow.immovable:
                aside.append(other)
            elif other is not None and shadow and not shadow.immovable and self._seniorities.of(other) > ours:
                evicted.append(other)
            else:
                raise Unplaceable("unique", f"An older row of {table.name} has the same value ({words}).")
        if not keys:
            raise Unplaceable("unique", f"It stands in its own way in {table.name} ({words}).")
        for other in aside:
            progress.step_aside(other)
        for other in evicted:
            progress.park(other, "unique", f"An older row of {table.name} has the same value ({words}).")
        self._sweep()

    def _settle(self, ref: Ref, table: BoundTable, key: Row, before: Cells | None, written: Cells) -> None:
        """Read the row back and keep what it is as its base."""
        candidate = self._progress.candidates[ref]
        cells = table.read(key)
        if cells is None:
            raise Unplaceable("check", f"A trigger of the application on {table.name} ignored it.")
        image, old = candidate.image, candidate.shadow
        base = table.base_of(cells, old.hashes if old else {}, written)
        row = ShadowRow(ref.record, table.key_in(cells, key), base, pack_dots(image), _encode(image.rank))
        if candidate.was is not None and candidate.was.key == row.key:
            row.earlier = earlier_after(candidate.was, row, self._now_ms)
        if old is not None and old.key == row.key:
            table.set_shadow(row)
        else:
            if old is not None:
                table.drop_shadow(ref.record)
            try:
                table.add_shadow(row)
            except apsw.ConstraintError:
                table.delete(key)
                raise Unplaceable("unique", f"A row of {table.name} whose delete is held has its key.") from None
        self._progress.written += 1
        if before is not None:
            self._note_vanished(table, before, cells)
        self._progress.done(ref)

    def _note_vanished(self, table: BoundTable, before: Cells, after: Cells) -> None:
        for link in self._progress.links.to_parent(table.name):
            old = tuple(map(before.get, link.parent_columns))
            if not link.mapped and tuple(map(cell_hash, old)) != tuple(
                cell_hash(after[n]) for n in link.parent_columns
            ):
                self._progress.vanished.append((link, old))

    # ---- what it needs

    def _require_parents(self, ref: Ref, cells: Cells) -> None:
        """Before anything makes way for it. In a circle the others may still be on their way."""
        for link in self._progress.links.from_child(ref.table):
            if not (link.mapped or (self._keys.circle and link in self._inner)):
                values = tuple(map(cells.get, link.columns))
                if not self._progress.has_parent(link, values):
                    raise Unplaceable("parent", missing_parent(link))

    def _missing(self, ref: Ref, links: Collection[Link], cells: Cells | None = None) -> Link | None:
        """The first of these links along which a row that is there lacks its parent."""
        table = self._progress.tables[ref.table]
        if cells is None:
            shadow = table.shadow_of(ref.record)
            cells = (table.read(shadow.key) if shadow else None) or {}
        for link in links:
            if link.child == ref.table and not self._progress.has_parent(link, tuple(map(cells.get, link.columns))):
                return link
        return None

    def _require_transaction(self, ref: Ref, error: apsw.ConstraintError) -> None:
        if not self._connection.in_transaction:
            raise UndoneByTrigger(ref.table, ref.record, str(error)) from error


def earlier_after(was: ShadowRow, now: ShadowRow, now_ms: int) -> bytes:
    """The versions of a row that a projection changed, packed: an application may have read it just before."""
    cells = now.hashes
    before = {number: cell for number, cell in was.hashes.items() if number in cells and cells[number] != cell}
    if not before:
        return was.earlier
    return pack_versions(with_version(unpack_versions(was.earlier), Version(now_ms, was.dots, before)))
