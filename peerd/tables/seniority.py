"""Who is placed before whom within a group of tables: parents before children, then the oldest birth.

It is a function of what the records say and not of the file: records that wait for their turn count with what they
are to be, all others with what the file has of them, which is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from peerd.core.tables.cells import pack_cell
from peerd.core.tables.changes import Rank
from peerd.core.tables.shape import folded
from peerd.tables.bound_table import Cells
from peerd.tables.exact import Row
from peerd.tables.links import Link
from peerd.tables.ordering import Unit, Units
from peerd.tables.progress import Progress, Ref

Seniority = tuple[int, Rank, Ref]

_decode = msgspec.msgpack.Decoder().decode


class Seniorities:
    def __init__(self, progress: Progress, group: frozenset[str]) -> None:
        self._progress = progress
        self._links = progress.links.inside(group)
        self._units: Units[Ref] = Units(self._needs)
        self._named: dict[tuple[Link, Row], list[Ref]] = {}
        plain = [link for link in self._links if not link.mapped]
        for ref, candidate in progress.candidates.items() if plain else ():
            for link in plain:
                if ref.table == link.parent:
                    name = self._folded(link, map(candidate.fields.get, link.parent_columns))
                    self._named.setdefault((link, name), []).append(ref)

    def unit(self, ref: Ref) -> Unit[Ref]:
        """The records that must be placed together with this one."""
        return self._units.of(ref) if self._links else Unit((ref,), 0, circular=False)

    def of(self, ref: Ref) -> Seniority:
        """The smaller, the earlier it is placed."""
        if not self._links:
            return 0, self._rank(ref), ref
        unit = self._units.of(ref)
        return unit.depth, *min((self._rank(member), member) for member in unit.members)

    def _rank(self, ref: Ref) -> Rank:
        candidate = self._progress.candidates.get(ref)
        if candidate is not None:
            return candidate.image.rank
        shadow = self._progress.tables[ref.table].shadow_of(ref.record)
        return shadow.oldest if shadow else (0, b"", 0)

    def _needs(self, ref: Ref) -> Iterable[Ref]:
        candidate, table = self._progress.candidates.get(ref), self._progress.tables[ref.table]
        row: Cells | None = None
        for link in self._links:
            if link.child != ref.table:
                continue
            if candidate and all(name in candidate.fields for name in link.columns):
                yield from self._by_fields(link, [candidate.fields[name] for name in link.columns])
                continue
            if row is None:
                shadow = table.shadow_of(ref.record)
                row = (table.read(shadow.key) if shadow else None) or (candidate.old if candidate else None) or {}
            values = tuple(map(row.get, link.columns))
            yield from self._by_values(link, values)
            if not link.mapped:
                yield from self._by_name(link, map(pack_cell, values))

    def _by_fields(self, link: Link, packed: list[bytes]) -> Iterable[Ref]:
        values = tuple(map(_decode, packed))
        if not link.mapped:
            yield from self._by_name(link, packed)
            # A waiting record counts with what it is to be, found above.
            yield from (one for one in self._by_values(link, values) if one not in self._progress.candidates)
        elif isinstance(values[0], str):
            parent = Ref(link.parent, values[0])
            is_known = parent in self._progress.candidates
            if is_known or self._progress.tables[link.parent].shadow_of(parent.record) is not None:
                yield parent

    def _by_name(self, link: Link, packed: Iterable[bytes]) -> Iterable[Ref]:
        """The waiting records that are to have these values; NULL refers to nothing."""
        name = self._folded(link, packed)
        return () if _NULL in name else self._named.get((link, name), ())

    def _by_values(self, link: Link, values: Row) -> Iterable[Ref]:
        if not all(isinstance(value, int | float | str | bytes) for value in values):
            return
        parent = self._progress.tables[link.parent]
        # Behind a mapped integer stands a shadow, even while its row is out of somebody's way.
        for key in [values] if link.mapped else parent.keys_with(link.parent_columns, [values]):
            shadow = parent.shadow_at(key)
            if shadow is not None:
                yield Ref(link.parent, shadow.record)

    def _folded(self, link: Link, packed: Iterable[bytes | None]) -> Row:
        """Values of parent columns, equal where SQLite's built-in collations call them equal."""
        columns = {column.name: column for column in self._progress.tables[link.parent].table.columns}
        return tuple(_fold(one, columns[name].collation) for name, one in zip(link.parent_columns, packed, strict=True))


_NULL = msgspec.msgpack.encode(None)


def _fold(packed: bytes | None, collation: str) -> bytes | None:
    value = None if packed is None else _decode(packed)
    if isinstance(value, str):
        value = folded(value) if collation == "NOCASE" else value.rstrip(" ") if collation == "RTRIM" else value
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.msgpack.encode(value)
