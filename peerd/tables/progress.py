"""What one projection has done so far: which records wait for their turn, which were placed, which are parked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import apsw
from msgspec import Struct

from peerd.core.tables.changes import Rank, RowImage
from peerd.tables.bound_table import BoundTable, Cells, ShadowRow, has_row
from peerd.tables.exact import Row
from peerd.tables.links import Link, Links

_CHUNK = 200  # values in one statement


class Ref(NamedTuple):
    """A record, by its table."""

    table: str
    record: str


class Unplaceable(Exception):
    """A record cannot be shown at the moment: the code of `Parked`, and a sentence for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Verdict(NamedTuple):
    code: str
    reason: str
    rank: Rank


class Candidate(Struct, gc=False):
    """A record whose row may change. `old`: its row, once that has been taken out of another one's way. `was`: what the
    file had of it at first.
    """

    image: RowImage
    fields: dict[str, bytes]
    shadow: ShadowRow | None
    integer: int | None = None
    old: Cells | None = None
    was: ShadowRow | None = None


class Remembered(NamedTuple):
    pending: set[Ref]
    parked: dict[Ref, Verdict]
    placed: set[Ref]
    vanished: list[tuple[Link, Row]]
    written: int


class Progress:
    def __init__(self, connection: apsw.Connection, tables: Mapping[str, BoundTable], links: Links) -> None:
        self.tables, self.links, self._connection = tables, links, connection
        self.candidates: dict[Ref, Candidate] = {}
        self.pending: set[Ref] = set()
        self.parked: dict[Ref, Verdict] = {}
        self.placed: set[Ref] = set()
        self.vanished: list[tuple[Link, Row]] = []  # values that named a parent, and may do so no more
        self.written = 0

    def remember(self) -> Remembered:
        """What to `restore` if the database goes back to a savepoint."""
        return Remembered(set(self.pending), dict(self.parked), set(self.placed), list(self.vanished), self.written)

    def restore(self, then: Remembered) -> None:
        """Be as when that was remembered."""
        self.pending, self.parked, self.placed, self.vanished, self.written = then

    def has_parent(self, link: Link, values: Row) -> bool:
        """Is what these values refer to in the file? Where one is NULL they refer to nothing."""
        return None in values or has_row(self._connection, link.parent, link.parent_columns, values)

    # ---- rows that go

    def remove(self, ref: Ref, shadow: ShadowRow) -> None:
        """Take a record out of the file. Its children are looked for by `sweep`."""
        table = self.tables[ref.table]
        links = self.links.to_parent(ref.table)
        if links:
            candidate = self.candidates.get(ref)
            needs_row = any(not set(link.parent_columns) <= set(table.key) for link in links)
            row = (table.read(shadow.key) if needs_row else None) or (candidate.old if candidate else None) or {}
            cells = {**row, **dict(zip(table.key, shadow.key, strict=True))}
            self.vanished += [(link, tuple(map(cells.get, link.parent_columns))) for link in links]
        table.delete(shadow.key)
        table.drop_shadow(ref.record)
        self.written += 1

    def step_aside(self, ref: Ref) -> None:
        """Take the row of a record that still waits out of the way; its turn comes."""
        candidate, table = self.candidates[ref], self.tables[ref.table]
        if candidate.shadow is not None:
            candidate.old = table.read(candidate.shadow.key) or candidate.old
            table.delete(candidate.shadow.key)

    def done(self, ref: Ref) -> None:
        """Its row is what it is to be."""
        self.pending.discard(ref)
        self.parked.pop(ref, None)
        self.placed.add(ref)

    def park(self, ref: Ref, code: str, reason: str) -> None:
        """Take a record out of the file, if it is there, and remember why."""
        candidate = self.candidates.get(ref)
        shadow = self.tables[ref.table].shadow_of(ref.record)
        rank = candidate.image.rank if candidate else shadow.oldest if shadow else (0, b"", 0)
        if shadow is not None:
            self.remove(ref, shadow)
        if candidate is not None:
            candidate.shadow = candidate.old = None
        self.pending.discard(ref)
        self.placed.discard(ref)
        self.parked[ref] = Verdict(code, reason, rank)

    def sweep(self, links: Collection[Link]) -> int:
        """Park what needs a row that is gone, along these links, as far as it goes. Rows that wait for their turn see
        to it themselves. Returns how many were parked.
        """
        count = 0
        while due := {entry: None for entry in self.vanished if entry[0] in links and None not in entry[1]}:
            self.vanished = [entry for entry in self.vanished if entry[0] not in links]
            by_link: dict[Link, list[Row]] = {}
            for link, values in due:
                by_link.setdefault(link, []).append(values)
            for link, found in by_link.items():
                for start in range(0, len(found), _CHUNK):
                    count += self._park_children(link, found[start : start + _CHUNK])
        return count

    def _park_children(self, link: Link, values: list[Row]) -> int:
        child = self.tables[link.child]
        if not link.mapped:
            values = [value for value in values if not self.has_parent(link, value)]
        count = 0
        for key in child.keys_with(link.columns, values) if values else ():
            shadow = child.shadow_at(key)
            ref = Ref(link.child, shadow.record) if shadow else None
            if ref is not None and shadow and not shadow.immovable and ref not in self.pending:
                self.park(ref, "parent", missing_parent(link))
                count += 1
        return count


def missing_parent(link: Link) -> str:
    """The sentence about a row whose parent is not there."""
    return f"The row of {link.parent} that {' and '.join(link.columns)} refers to is not there."
