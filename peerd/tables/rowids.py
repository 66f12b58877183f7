"""Rows whose only key is a hidden rowid: VACUUM and copies of tables give them other ones.

A shadow follows its row to its new rowid: by what the row holds, which did not change. Among equal rows the order
decides, which VACUUM keeps. What is left, on both sides, was written or removed by the application since: such a row
is a new one unless its identity says which it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection

import apsw

from peerd.core.tables.cells import Cell, cell_hash
from peerd.tables.captured import Captured, Known
from peerd.tables.shadow import shadow_table
from peerd.tables.triggers import dirty_table

_NOWHERE = -(1 << 62)  # and below: keys of shadows whose row was not found

_Print = tuple[bytes | None, ...]


def follow_rowids(connection: apsw.Connection, captured: Captured, columns: Collection[str]) -> bool:
    """Give shadow rows the rowids that their rows have now, in the transaction of the caller. `columns` are those that
    the file had when it was last looked at. Returns whether rowids had changed; then the table has no marks, and is to
    be compared.
    """
    numbers = [captured.numbers[name] for name in captured.stored if name in columns]
    places = [captured.places[name] for name in captured.stored if name in columns]
    rows: list[tuple[Cell, _Print]] = []
    is_moved = False
    for row in captured.all_rows():
        printed: _Print = tuple(cell_hash((row.cells or ())[place]) for place in places)
        rows.append((row.key[0], printed))
        is_moved |= not row.marks and (row.known is None or _printed(row.known, numbers) != printed)
    if not is_moved:
        return False
    lost: dict[_Print, deque[Known]] = defaultdict(deque)
    nowhere = 0
    for known in captured.shadows():
        if known.key is not None:
            lost[_printed(known, numbers)].append(known)
    shadow = shadow_table(captured.plan.number)
    connection.execute(f"DELETE FROM {dirty_table(captured.plan.number)}")
    connection.execute(f"UPDATE {shadow} SET k0 = NULL")
    for rowid, printed in rows:
        if lost[printed]:
            values = rowid, lost[printed].popleft().record
            connection.execute(f"UPDATE {shadow} SET k0 = ? WHERE r = ?", values)
    for left in lost.values():
        for known in left:
            connection.execute(f"UPDATE {shadow} SET k0 = ? WHERE r = ?", (_NOWHERE - nowhere, known.record))
            nowhere += 1
    return True


def _printed(known: Known, numbers: Collection[int]) -> _Print:
    base = known.hashes
    return tuple(base.get(number) for number in numbers)
