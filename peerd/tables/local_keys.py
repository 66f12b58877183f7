"""Record keys and local keys: which integer a record has in this file, and what a reference says here.

A record keeps the integer that it has. A new one gets its origin's own if that is free, else one beyond all that are
or were in use. First all that can have their own get it, so that an integer differs from its origin's only where two
records really wanted the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from peerd.core.limits import INT64_MAX
from peerd.core.tables.cells import unpack_cell
from peerd.tables import many
from peerd.tables.bound_table import BoundTable, Cells, ShadowRow
from peerd.tables.exact import Row
from peerd.tables.links import Link
from peerd.tables.progress import Candidate, Progress, Ref, Unplaceable, missing_parent

_FAR = 1 << 40  # where free integers are looked for if the largest one is in use

_decode = msgspec.msgpack.Decoder().decode


class LocalKeys:
    """`device` is the text of our id: a dangling reference of our own is what it was. `circle` are records that need
    each other and are being placed together.
    """

    def __init__(self, connection: apsw.Connection, progress: Progress, device: str) -> None:
        self.circle: frozenset[Ref] = frozenset()
        self._connection = connection
        self._ahead: dict[Ref, ShadowRow | None] = {}
        self._progress, self._device = progress, device
        self._parents = {
            table.name: {link.columns[0]: link for link in progress.links.from_child(table.name) if link.mapped}
            for table in progress.tables.values()
        }

    def look_ahead(self, table: BoundTable, refs: Sequence[Ref]) -> None:
        """Look up at once what these records of a table refer to. It holds until `look_no_further`: no parent may
        move before.
        """
        named: dict[str, set[str]] = {}
        for column, link in self._parents[table.name].items():
            packed = {self._progress.candidates[ref].fields.get(column) for ref in refs}
            records = {value for one in packed if one is not None for value in [_decode(one)] if isinstance(value, str)}
            named.setdefault(link.parent, set()).update(records)
        for name, records in named.items():
            parent = self._progress.tables[name]
            found = many.shadows_of(self._connection, parent, sorted(records))
            self._ahead.update((Ref(name, record), found.get(record)) for record in records)

    def look_no_further(self) -> None:
        """Look up each by itself again."""
        self._ahead.clear()

    def reserve(self, table: BoundTable, refs: Sequence[Ref]) -> None:
        """Give an integer to each of these records that has none, in this order."""
        taken: set[int] = set()
        homeless: list[Candidate] = []
        new = [one for one in (self._progress.candidates[ref] for ref in refs) if one.shadow is None]
        wishes = [_own_integer(table, candidate) for candidate in new]
        used = many.taken(self._connection, table, [one for one in wishes if one is not None])
        for candidate, wanted in zip(new, wishes, strict=True):
            if wanted is None or wanted in taken or wanted in used:
                homeless.append(candidate)
            else:
                candidate.integer = wanted
                taken.add(wanted)
        if homeless:
            after = max(table.largest(), *taken, 0)
            for candidate in homeless:
                after += 1
                if after > INT64_MAX:
                    after = _FAR
                while after in taken or (after >= _FAR and table.is_taken(after)):
                    after += 1
                candidate.integer = after
                taken.add(after)

    def cells(self, table: BoundTable, candidate: Candidate) -> Cells:
        """The cells of a record as this file shows them; columns that it has no field for are left out.

        Raises:
            Unplaceable: a parent is not here, or a value is none that SQLite has.
        """
        parents, fields = self._parents[table.name], candidate.fields
        own = table.key[0] if table.key_is_integer else None
        cells: Cells = {}
        for name in table.stored:
            if name == own:
                cells[name] = candidate.shadow.key[0] if candidate.shadow else candidate.integer
            elif name in parents and name in fields:
                cells[name] = self._reference(parents[name], fields[name])
            elif name in fields:
                try:
                    cells[name] = unpack_cell(fields[name])
                except ValueError as error:
                    raise Unplaceable("datatype", f"{name} of {table.name} cannot hold it: {error}.") from None
        return cells

    def key(self, table: BoundTable, candidate: Candidate, cells: Cells) -> Row:
        """The local key of a record.

        Raises:
            Unplaceable: it lacks a part of it.
        """
        shadow = candidate.shadow
        if table.key_is_integer:
            return shadow.key if shadow is not None else (candidate.integer,)
        key = tuple(map(cells.get, table.key))
        if None in key and not (shadow is not None and shadow.immovable):
            raise Unplaceable("not-null", f"The record lacks a part of the key of {table.name}.")
        return shadow.key if shadow is not None else key

    def _reference(self, link: Link, packed: bytes) -> int | float | str | bytes | None:
        value = _decode(packed)
        if isinstance(value, str):
            integer = self._integer_of(Ref(link.parent, value))
            if integer is None:
                raise Unplaceable("parent", missing_parent(link))
            return integer
        if isinstance(value, dict) and value.get("device") == self._device:
            dangling = value.get("integer")  # or text, where an application keeps such in a column of integers
            if isinstance(dangling, int | str) and not isinstance(dangling, bool):
                return dangling
        if value is None or isinstance(value, float | bytes):
            return value
        raise Unplaceable(
            "dangling", f"{link.columns[0]} refers to a row of {link.parent} that only the device of its author knows."
        )

    def _integer_of(self, parent: Ref) -> int | None:
        if parent in self._progress.pending:
            candidate = self._progress.candidates[parent]
            if parent not in self.circle:
                return None
            if candidate.shadow is None:
                return candidate.integer
        if parent in self._ahead:
            found = self._ahead[parent]
        else:
            found = self._progress.tables[parent.table].shadow_of(parent.record)
        integer = found.key[0] if found and not found.held else None
        return integer if isinstance(integer, int) else None


def _own_integer(table: BoundTable, candidate: Candidate) -> int | None:
    packed = candidate.fields.get(table.key[0])
    value = _decode(packed) if packed is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
