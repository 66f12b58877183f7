"""Rows that have other keys than before: VACUUM and copies of tables give other ones to rows whose only key is a hidden
rowid, and a table that was rebuilt may have another key at all.

A shadow follows its row to its new key: by what the row holds, which did not change. Among equal rows the order
decides, which VACUUM keeps. What is left, on both sides, was written or removed by the application since. As many on
both sides between the same neighbours are the same ones, edited, if they still agree in half of what they hold. Any
other row is a new one unless its identity says which it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Sequence

import apsw

from peerd.core.tables.cells import cell_hash
from peerd.tables import exact
from peerd.tables.captured import Captured, Known
from peerd.tables.exact import Row
from peerd.tables.shadow import NOWHERE, shadow_table
from peerd.tables.triggers import dirty_table

_NULL = cell_hash(None)

_Print = tuple[bytes | None, ...]


def follow_rows(connection: apsw.Connection, captured: Captured, columns: Collection[str]) -> bool:
    """Give shadow rows the keys that their rows have now, in the transaction of the caller. `columns` are those that
    the file had when it was last looked at. Returns whether keys had changed; then the table has no marks, and is to
    be compared.
    """
    mapped = captured.table.key if captured.plan.maps_integers else ()
    names = [name for name in captured.stored if name in columns and name not in mapped]
    numbers, places = [captured.numbers[name] for name in names], [captured.places[name] for name in names]
    rows: list[tuple[Row, _Print]] = []
    is_moved = captured.has_lost_marks()
    for row in captured.all_rows():
        printed: _Print = tuple(cell_hash((row.cells or ())[place]) for place in places)
        rows.append((row.key, printed))
        is_moved |= not row.marks and (row.known is None or _printed(row.known, numbers) != printed)
    if not is_moved:
        return False
    known = [(one.record, _printed(one, numbers)) for one in captured.shadows() if one.key is not None]
    found = _followed([printed for _, printed in known], [printed for _, printed in rows])
    shadow, width = shadow_table(captured.plan.number), range(len(captured.table.key))
    connection.execute(f"DELETE FROM {dirty_table(captured.plan.number)}")
    connection.execute(f"UPDATE {shadow} SET {', '.join(f'k{place} = NULL' for place in width)}")
    sql = f"UPDATE {shadow} SET {', '.join(f'k{place} = ?' for place in width)} WHERE r = ?"
    for place, (record, _) in enumerate(known):
        nowhere = (NOWHERE + place, *(0 for _ in width[1:]))
        exact.run(connection, sql, (*(rows[found[place]][0] if place in found else nowhere), record))
    return True


def _followed(before: Sequence[_Print], after: Sequence[_Print]) -> dict[int, int]:
    """Which of the rows `before` is which one `after`, by their places."""
    found: dict[int, int] = {}
    equal: dict[_Print, deque[int]] = defaultdict(deque)
    for place, printed in enumerate(before):
        equal[printed].append(place)
    for place, printed in enumerate(after):
        if equal[printed]:
            found[equal[printed].popleft()] = place
    taken = set(found.values())
    last_before = last_after = -1
    for here, there in [*sorted(found.items()), (len(before), len(after))]:
        if there > last_after:
            left = [place for place in range(last_before + 1, here) if place not in found]
            new = [place for place in range(last_after + 1, there) if place not in taken]
            if len(left) == len(new):
                pairs = zip(left, new, strict=True)
                found.update((old, now) for old, now in pairs if _is_alike(before[old], after[now]))
            last_before, last_after = here, there
    return found


def _is_alike(before: _Print, after: _Print) -> bool:
    agreeing = sum(one == other != _NULL for one, other in zip(before, after, strict=True))
    return agreeing >= sum(one != other for one, other in zip(before, after, strict=True))


def _printed(known: Known, numbers: Collection[int]) -> _Print:
    base = known.hashes
    return tuple(base.get(number) for number in numbers)
