"""From what an application did to its rows to intents for the commit door."""

from __future__ import annotations

from collections.abc import Iterable

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.changes import RowEdit

_KINDS = {"put": Kind.PUT, "patch": Kind.PATCH, "delete": Kind.DELETE}


def intents_of(edits: Iterable[RowEdit], *, merging: bool = False) -> list[Intent]:
    """One intent per record, in the order of the edits.

    A row that left a record and another that took its key in the same harvest (two tags swapped their names) make one
    intent: the record has a row, so it is not deleted. `merging`: rows meet records that nobody compared before, and
    cells that are the same in both are no news.
    """
    found: dict[tuple[str, str], RowEdit] = {}
    for edit in edits:
        name = edit.collection, edit.key
        before = found.get(name)
        if before is None or before.kind == "delete":
            found[name] = edit
    return [_intent(edit, merging=merging) for edit in found.values()]


def _intent(edit: RowEdit, *, merging: bool) -> Intent:
    return Intent(
        _KINDS[edit.kind],
        edit.collection,
        edit.key,
        edit.set,
        (),
        edit.seen,
        may_be_absent=True,
        revives=True,
        unless_same=merging,
        even_if_same=edit.outdated,
        together=edit.together,
        unless_known=edit.is_new,
    )
