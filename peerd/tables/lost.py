"""Rows that show what their space has lost: which they are, and how they are said again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import apsw
import msgspec

from peerd.core.clocks import Dot, ReadClock
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.tables import compare, shadow
from peerd.tables.captured import UNCAPTURED, Captured, Known
from peerd.tables.harvest import captured_tables, numbers_in
from peerd.tables.install import immediate
from peerd.tables.notes import seen_dots
from peerd.tables.settle import CHANGED

_encode = msgspec.msgpack.Encoder().encode


def beyond(
    connection: apsw.Connection, schema: Schema, plan: BindingPlan, collection: str, clock: ReadClock
) -> dict[str, frozenset[Dot]]:
    """The records whose rows show a transaction that `clock` does not cover, each with all that its row shows."""
    found = {}
    for captured in _of(connection, schema, plan, collection):
        for known in captured.shadows():
            dots = seen_dots(known.seen)
            if not known.flags and any(dot.seq > clock.get(dot.origin, 0) for dot in dots):
                found[known.record] = dots
    return found


def say_again(
    connection: apsw.Connection,
    schema: Schema,
    plan: BindingPlan,
    collection: str,
    whole: Iterable[str],
    cells: Mapping[str, Collection[str]],
) -> None:
    """The next harvest says the rows of these records, though nobody wrote to them: of `whole` as new rows, but under
    the same records, of `cells` what differs from what the space has, but for the columns that are named. Rows that are
    gone are left alone.
    """

    def as_changed(connection: apsw.Connection, captured: Captured, known: Known) -> None:
        others = {captured.numbers.get(column) for column in cells[known.record]}
        _as_changed(connection, captured, known, others)

    with immediate(connection):
        for captured in _of(connection, schema, plan, collection):
            if _each(connection, captured, whole, _as_new):
                flagged = numbers_in(connection, "flagged") | {captured.plan.number}
                shadow.set_meta(connection, "flagged", _encode(sorted(flagged)))
            _each(connection, captured, cells, as_changed)
        shadow.count_up(connection)


def _of(connection: apsw.Connection, schema: Schema, plan: BindingPlan, collection: str) -> list[Captured]:
    return [one for one in captured_tables(connection, schema, plan).values() if one.plan.collection == collection]


def _each(
    connection: apsw.Connection,
    captured: Captured,
    records: Iterable[str],
    change: Callable[[apsw.Connection, Captured, Known], None],
) -> bool:
    keys = []
    for record in records:
        known = captured.shadow_of(record)
        if known is not None and known.key is not None and not known.flags and captured.row_at(known.key) is not None:
            change(connection, captured, known)
            keys.append(known.key)
    compare.mark(connection, captured, keys)
    return bool(keys)


def _as_new(connection: apsw.Connection, captured: Captured, known: Known) -> None:
    table = shadow.shadow_table(captured.plan.number)
    connection.execute(
        f"UPDATE {table} SET h = x'', d = x'', b = NULL, e = x'', f = {UNCAPTURED} WHERE r = ?", (known.record,)
    )


def _as_changed(connection: apsw.Connection, captured: Captured, known: Known, others: Collection[int | None]) -> None:
    base = _encode({number: cell if number in others else CHANGED for number, cell in known.hashes.items()})
    table = shadow.shadow_table(captured.plan.number)
    connection.execute(f"UPDATE {table} SET h = ?, e = x'' WHERE r = ?", (base, known.record))
