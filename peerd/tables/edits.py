"""What became of each row, as edits and as its new shadow: the second half of a harvest.

The base of a cell is what SQLite returned when the row was read back; a cell that equals its base is no edit, whatever
the space has. A column that came after the row was read has no base: if it holds its default nobody wrote it, else it
is written as by somebody who has seen nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.limits import ENTRY_BYTES, FIELD_NAME_BYTES
from peerd.core.tables.cells import Cell, pack_cell, pack_cells, packed_hash
from peerd.core.tables.changes import RowEdit
from peerd.core.tables.earlier import Version, unpack_versions, version_behind
from peerd.core.tables.ties import groups
from peerd.tables.captured import STALE, UNCAPTURED, Found, Known
from peerd.tables.defaults import default_hash
from peerd.tables.identify import Identities, Outcome, Work
from peerd.tables.notes import Shadowed, pack_key, seen_dots

ROW_BYTES = ENTRY_BYTES - (1 << 20)  # what the cells of one row may take in an entry

_NOTHING: frozenset[Dot] = frozenset()
_encode = msgspec.msgpack.Encoder().encode


class Edits:
    """The edits of one table."""

    def __init__(self, work: Work, identities: Identities, device: str, now_ms: int) -> None:
        self.edits: list[RowEdit] = []
        self.some_left = False  # of a row; it keeps its marks
        self.is_dangling = False
        self._work, self._identities, self._device, self._now_ms = work, identities, device, now_ms
        self._collection, self._numbers = work.plan.collection, work.captured.numbers
        columns = work.table.stored
        self._mapped = frozenset(work.table.key) if work.plan.maps_integers else frozenset[str]()
        self._sent = [
            (place, column.name, self._numbers[column.name], work.plan.references.get(column.name))
            for place, column in enumerate(columns)
            if column.name in self._numbers and len(column.name.encode()) <= FIELD_NAME_BYTES
        ]
        self._sends_all = len(self._sent) == len(columns)
        self._sent_names = tuple(name for _, name, _, _ in self._sent)
        self._sent_numbers = tuple(number for _, _, number, _ in self._sent)
        self._referring_columns = [(place, name, parent) for place, name, _, parent in self._sent if parent is not None]
        self._defaults = {column.name: default_hash(column) for column in columns}
        self._tied = groups(work.table.tied)
        self._groups = tuple(sorted(set(self._tied.values()), key=sorted))

    def make(self) -> None:
        """Go through all that was found."""
        for known in self._work.deleted:
            self.delete(known)
        for outcome in self._work.outcomes:
            if outcome.base is None:
                self._put(outcome)
            else:
                self._patch(outcome, outcome.base)

    def delete(self, known: Known) -> None:
        """The record has no row any more."""
        self.edits.append(RowEdit("delete", self._collection, known.record, {}, seen_dots(known.seen)))
        self._work.note.removed.append(known.record)

    def _put(self, outcome: Outcome) -> None:
        cells, key = outcome.found.cells or (), pack_key(outcome.found.key)
        packed = pack_cells(cells if self._sends_all else [cells[place] for place, *_ in self._sent])
        base = dict(zip(self._sent_numbers, map(packed_hash, packed), strict=True))
        fields = dict(zip(self._sent_names, packed, strict=True))
        for place, name, parent in self._referring_columns:
            fields[name] = self._referring(parent, cells[place])
        may_be_too_large = 8 * outcome.found.size_bytes > ROW_BYTES  # it counts characters, of at most four bytes
        if may_be_too_large and self._is_too_large(fields):
            self._work.trouble(outcome.found, f"the row is larger than {ROW_BYTES >> 20} MiB")
            record = outcome.record if self._work.is_surrogate else f"?{self._identities.random_id()}"
            written = Shadowed(record, key, b"", b"", None, UNCAPTURED)
        else:
            is_new = self._identities.is_new(self._work.table.name, outcome.found)
            self.edits.append(RowEdit("put", self._collection, outcome.record, fields, _NOTHING, is_new=is_new))
            written = Shadowed(outcome.record, key, _encode(base), b"", None, 0, ())
        self._work.note.written.append(written)

    def _patch(self, outcome: Outcome, known: Known) -> None:
        cells, before, forced = outcome.found.cells or (), known.hashes, outcome.found.forced
        packed = pack_cells(cells if self._sends_all else [cells[place] for place, *_ in self._sent])
        now = dict(zip(self._sent_numbers, map(packed_hash, packed), strict=True))
        changed: set[str] = set()
        fresh: set[str] = set()
        for _, name, number, _ in self._sent:
            old = before.get(number)
            if name in self._mapped or (old == now[number] and name not in forced):
                continue
            if name in forced or (old is not None and old != now[number]):
                changed.add(name)
            elif old is None and now[number] != self._defaults[name]:
                fresh.add(name)
        behind = self._version_behind(known, now, forced)
        if behind is not None:
            known = replace(known, seen=behind.seen)
        names, seen = self._with_tied(changed or fresh), seen_dots(known.seen)
        if not changed and names == fresh:
            seen = _NOTHING
        elif fresh - names:
            self._keep_marks(outcome)
            for name in fresh - names:
                del now[self._numbers[name]]
        edit = RowEdit("patch", self._collection, outcome.record, {}, seen, self._groups, outdated=behind is not None)
        self._write_patch(outcome.found, known, now, names, edit)

    def _version_behind(self, known: Known, now: Mapping[int, bytes], forced: frozenset[str]) -> Version | None:
        """The version that the application had read before it wrote, if it was not the last one."""
        if not known.earlier:
            return None
        written = {n: now[n] for _, name, n, _ in self._sent if name not in self._mapped and name not in forced}
        return version_behind(unpack_versions(known.earlier), known.hashes, written, self._now_ms)

    def _with_tied(self, names: set[str]) -> set[str]:
        return names.union(*(self._tied.get(name, frozenset()) for name in names))

    def _write_patch(self, found: Found, known: Known, now: dict[int, bytes], names: set[str], edit: RowEdit) -> None:
        writes, earlier = None, known.earlier
        fields = {
            name: pack_cell(cell) if parent is None else self._referring(parent, cell)
            for place, name, _, parent in self._sent
            if name in names
            for cell in [(found.cells or ())[place]]
        }
        base, flags = _encode(now), 0
        if self._is_too_large(fields):
            self._work.trouble(found, f"the change is larger than {ROW_BYTES >> 20} MiB")
            base, flags = known.base, STALE
        elif fields:
            together = edit.together if len(fields) > 1 else ()
            self.edits.append(replace(edit, set=fields, together=together))
            writes, earlier = tuple(sorted(self._numbers[name] for name in fields)), b""
        rank = known.rank if isinstance(known.rank, bytes) else None
        written = Shadowed(edit.key, pack_key(found.key), base, known.seen, rank, flags, writes, earlier)
        self._work.note.written.append(written)

    def _keep_marks(self, outcome: Outcome) -> None:
        """A later harvest takes the rest of this row."""
        self.some_left = True
        key = pack_key(outcome.found.key)
        note = self._work.note
        note.marks = [mark for mark in note.marks if mark[0] != key]
        if not outcome.found.marks:
            note.touch.append(key)

    def _referring(self, parent: str, cell: Cell) -> bytes:
        """What a reference says everywhere: the record of the row that it means here."""
        if isinstance(cell, int):
            try:
                record = self._identities.meant_by(parent, cell)
            except ValueError:
                record = None
            if record is not None:
                return _encode(record)
        elif not isinstance(cell, str):
            return pack_cell(cell)
        self.is_dangling = True
        return _encode({"device": self._device, "integer": cell})

    def _is_too_large(self, fields: Mapping[str, bytes]) -> bool:
        return sum(map(len, fields.values())) > ROW_BYTES
