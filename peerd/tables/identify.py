"""Which record each row is: the first half of a harvest, after the rows were read.

    surrogate          the record in the shadow, unless the key went away in between (a mark of `GONE`): then the row is
                       a new one, with an id of its own
    natural, content   the record that its identity names, wherever the file had it before. Two rows that swap their
                       names swap their records

Of two rows with one identity the second is not captured; it is told, and tried again whenever its table changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from peerd.core.tables.plans import KeyClass
from peerd.core.tables.row_keys import Parent, Part, identity_collations, record_key
from peerd.tables.captured import APPROVED, DROPPED, UNCAPTURED, Captured, Found, Known
from peerd.tables.exact import Row
from peerd.tables.notes import Shadowed, TableNote, pack_key
from peerd.tables.shadow import HELD
from peerd.tables.triggers import GONE

_ID_BYTES: Final = 16
_HEAD_BYTES, _PLACE_BYTES = 5, 4  # what the ids of one harvest have in common, and of the row's own number
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_IN_ORDER = str.maketrans(_ALPHABET, "".join(sorted(_ALPHABET)))
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)
_LONGEST_CHAIN = 300  # of identities of which each needs that of a parent
_PERSON: Final = b"peerd row ids"

_encode = msgspec.msgpack.Encoder().encode


class Outcome(Struct, gc=False):
    """A row and the record that it is. `base` is what the file showed of the record; None: it is a new one."""

    found: Found
    record: str
    base: Known | None


class Work:
    """What a harvest knows of one table. `rekeyed` are local integers that mean another record now, or none;
    `arrived` those that meant nothing before.
    """

    def __init__(self, captured: Captured, found: dict[Row, Found], *, complete: bool) -> None:
        self.captured, self.plan, self.table = captured, captured.plan, captured.table
        self.found, self.complete = found, complete
        self.collations = identity_collations(self.table, self.plan.identity)
        self.outcomes: list[Outcome] = []
        self.deleted: list[Known] = []
        self.vanished: list[Known] = []  # no row, and no decision of a person
        self.rekeyed: set[int] = set()
        self.arrived: set[int] = set()
        self.troubles: list[tuple[str, str]] = []
        self.note = TableNote(
            self.plan.number, marks=[(pack_key(one.key), one.marks) for one in found.values() if one.marks]
        )

    @property
    def is_surrogate(self) -> bool:
        return self.plan.key_class is KeyClass.SURROGATE

    def means_nothing(self, known: Known) -> None:
        """The row that the file showed of a record is gone from its place."""
        if self.plan.maps_integers and known.key is not None and isinstance(known.key[0], int):
            self.rekeyed.add(known.key[0])

    def trouble(self, found: Found, why: str) -> None:
        self.troubles.append((", ".join(map(str, found.key))[:200], why))


class Identities:
    """The records of rows, also of rows that no harvest has read yet. `draw` gives random bytes; `state` names the
    state of the file that is harvested: no other one of any file has it.
    """

    def __init__(
        self, captured: Mapping[str, Captured], device: str, draw: Callable[[int], bytes], state: tuple[bytes, int]
    ) -> None:
        self.works: dict[str, Work] = {}
        self._captured, self._device, self._draw = captured, device, draw
        self._head = blake2b(_encode(state), digest_size=_HEAD_BYTES, person=_PERSON).digest()
        rest = _ID_BYTES - _HEAD_BYTES - _PLACE_BYTES
        self._hash = blake2b(_encode(state), digest_size=rest, person=_PERSON)
        self._meant: dict[tuple[str, int], str | None] = {}
        self._new: dict[tuple[str, Row], str] = {}
        self._read: dict[tuple[str, Row], Found] = {}  # of tables or rows that this harvest does not cover
        self._expected: dict[tuple[str, Row], str] = {}
        self._depth = 0

    def random_id(self) -> str:
        """128 random bits, as 26 characters of base32."""
        return base32(self._draw(_ID_BYTES))

    def is_new(self, table: str, found: Found) -> bool:
        """Has a row been given an id by this harvest?"""
        return (table, found.key) in self._new

    def _new_id(self, table: str, found: Found) -> str:
        """An id of the same form that is a function of the state of the file and of the row: a harvest of the same rows
        from the same state, to which the file went back, gives them the same ids. Those of one harvest begin alike and
        follow the numbers of the rows: rows that lie beside each other have ids that do, in every index of both ends,
        and a bulk fills one page of it after the other.
        """
        place = found.key[0]
        last = (place if isinstance(place, int) else 0) % (1 << 8 * _PLACE_BYTES)
        row = self._hash.copy()  # cheaper than a new one
        row.update(_encode((self._captured[table].plan.number, pack_key(found.key), pack_key(found.cells or ()))))
        data = self._head + last.to_bytes(_PLACE_BYTES, "big") + row.digest()
        return base32(data).translate(_IN_ORDER)

    def meant_by(self, table: str, integer: int) -> str | None:
        """The record of the row that a reference means; None: there is no such row."""
        name = table, integer
        if name not in self._meant:
            self._meant[name] = self._row_meant(table, (integer,))
        return self._meant[name]

    def _row_meant(self, table: str, key: Row) -> str | None:
        captured = self._captured.get(table)
        if captured is None:
            return None
        work = self.works.get(table)
        found = work.found.get(key) if work else None
        if found is None:
            found = captured.row_at(key)
            if found is not None:
                self._read[table, key] = found
        if found is None or found.cells is None:
            return None
        if captured.plan.key_class is KeyClass.SURROGATE:
            return self._surrogate(table, found)
        return self.expected(captured, found)

    def _surrogate(self, table: str, found: Found) -> str:
        known = found.known
        if known is not None and known.flags & UNCAPTURED:
            return known.record
        was_held = known is not None and known.flags & (HELD | APPROVED) and not known.flags & DROPPED
        if known is None or found.marks >= GONE or was_held:
            name = table, found.key
            if name not in self._new:
                self._new[name] = self._new_id(table, found)
            return self._new[name]
        return known.record

    def expected(self, captured: Captured, found: Found) -> str:
        """The record key that the identity of a row names.

        Raises:
            ValueError: it has none.
        """
        name = captured.table.name, found.key
        if name not in self._expected:
            if self._depth >= _LONGEST_CHAIN:
                raise ValueError("its identity needs too many other rows")
            self._depth += 1
            try:
                self._expected[name] = self._named(captured, found)
            finally:
                self._depth -= 1
        return self._expected[name]

    def _named(self, captured: Captured, found: Found) -> str:
        plan, cells = captured.plan, found.cells or ()
        parts: list[Part] = []
        for column in plan.identity:
            cell = cells[captured.places[column]]
            parent = plan.references.get(column)
            if parent is not None and isinstance(cell, int):
                parts.append(Parent(self.meant_by(parent, cell), self._device, cell))
            else:
                parts.append(cell)
        return record_key(parts, identity_collations(captured.table, plan.identity))

    # ---- all rows of one table

    def identify(self, work: Work) -> None:
        """Say of each row which record it is, and which records have none any more."""
        self.works[work.table.name] = work
        mine: dict[str, Found] = {}
        for found in work.found.values():
            if found.known is not None and not found.known.flags & UNCAPTURED:
                mine[found.known.record] = found
        claimed = self._surrogates(work) if work.is_surrogate else self._named_rows(work, mine)
        for record, found in mine.items():
            if record not in claimed:
                self._gone(work, found)
            elif found.cells is None and found.known is not None:
                work.means_nothing(found.known)
        for found in work.found.values():
            known = found.known
            if known is not None and known.flags & UNCAPTURED and known.record not in claimed and found.cells is None:
                work.note.removed.append(known.record)

    def _surrogates(self, work: Work) -> set[str]:
        claimed = set()
        for found in work.found.values():
            if found.cells is None:
                continue
            record, known = self._surrogate(work.table.name, found), found.known
            is_known = known is not None and known.record == record and not known.flags & UNCAPTURED
            work.outcomes.append(Outcome(found, record, known if is_known else None))
            claimed.add(record)
            _remember_meaning(work, found, record)
        return claimed

    def _named_rows(self, work: Work, mine: Mapping[str, Found]) -> set[str]:
        claimed: set[str] = set()
        later = []
        for found in work.found.values():
            if found.cells is None:
                continue
            try:
                record = self.expected(work.captured, found)
            except ValueError as why:
                self._leave_out(work, found, f"{why}")
                continue
            if found.known is not None and found.known.record == record:
                work.outcomes.append(Outcome(found, record, None if found.known.flags & UNCAPTURED else found.known))
                claimed.add(record)
                _remember_meaning(work, found, record)
            else:
                later.append((found, record))
        for found, record in later:
            if record in claimed or (record not in mine and self._has_other_row(work, found, record)):
                self._leave_out(work, found, "another row has the same identity")
                continue
            claimed.add(record)
            holder = mine[record].known if record in mine else work.captured.shadow_of(record)
            if holder is not None and record not in mine:
                work.means_nothing(holder)
            base = None if holder is None or holder.flags & UNCAPTURED else holder
            found.forced |= frozenset(work.plan.references)  # what was noted about them stands at its old place
            work.outcomes.append(Outcome(found, record, base))
            if found.known is not None and found.known.flags & UNCAPTURED:
                work.note.removed.append(found.known.record)
            _remember_meaning(work, found, record)
        return claimed

    def _has_other_row(self, work: Work, found: Found, record: str) -> bool:
        """Does a row that is not harvested now have this identity?"""
        holder = work.captured.shadow_of(record)
        if holder is None or holder.key is None or holder.key == found.key:
            return False
        other = work.captured.row_at(holder.key)
        if other is None or other.key in work.found:
            return False
        try:
            return self.expected(work.captured, other) == record
        except ValueError:
            return False

    def _leave_out(self, work: Work, found: Found, why: str) -> None:
        """A row without a record of its own: a shadow row stands for it, so that rows and shadows can be counted."""
        work.trouble(found, why)
        known = found.known
        if known is not None and known.flags & UNCAPTURED:
            return
        work.note.written.append(Shadowed(f"?{self.random_id()}", pack_key(found.key), b"", b"", None, UNCAPTURED))

    def _gone(self, work: Work, found: Found) -> None:
        """The record that a row was has no row now."""
        known = found.known
        if known is None:
            return
        if found.cells is not None and known.flags & HELD and not known.flags & DROPPED:
            work.note.detached.append((known.record, HELD))
        elif known.flags & HELD:
            if found.cells is not None:
                work.note.detached.append((known.record, known.flags))
        elif found.cells is not None or known.flags & APPROVED:
            work.deleted.append(known)
            work.means_nothing(known)
        else:
            work.vanished.append(known)

    # ---- rows whose ids were needed before they are harvested

    def foreseen(self) -> dict[str, TableNote]:
        """The ids that were given to rows which a later harvest will take, by table."""
        notes: dict[str, TableNote] = {}
        for (table, key), record in self._new.items():
            work = self.works.get(table)
            if work is not None and key in work.found:
                continue
            found, captured = self._read[table, key], self._captured[table]
            note = notes.setdefault(table, TableNote(captured.plan.number))
            if found.known is not None:
                flags = HELD if found.known.flags & HELD else APPROVED
                note.detached.append((found.known.record, flags))
            note.written.append(Shadowed(record, pack_key(key), b"", b"", None, UNCAPTURED))
        return notes


def _remember_meaning(work: Work, found: Found, record: str) -> None:
    """Does the integer of the row mean another record than before?"""
    if not work.plan.maps_integers or not isinstance(found.key[0], int):
        return
    known = found.known
    if known is None or not known.has_row or known.flags & UNCAPTURED:
        work.arrived.add(found.key[0])
    elif known.record != record:
        work.rekeyed.add(found.key[0])


def base32(data: bytes) -> str:
    """16 bytes in the alphabet of RFC 4648, in small letters and without padding; for as many ids as a bulk needs,
    faster than the standard library's.
    """
    number, pairs = int.from_bytes(data, "big") << 2, _PAIRS
    return "".join([pairs[number >> shift & 1023] for shift in _SHIFTS])
