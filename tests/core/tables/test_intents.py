"""What an application did to its rows, as intents."""

from __future__ import annotations

from peerd.core.clocks import Dot
from peerd.core.entry import Kind
from peerd.core.tables.changes import RowEdit
from peerd.core.tables.intents import intents_of
from peerd.core.values import pack

SEEN = frozenset({Dot(b"o" * 16, 1)})


def test_an_edit_is_an_intent_that_never_fails_because_of_what_happened_meanwhile() -> None:
    (patch,) = intents_of([RowEdit("patch", "notes", "one", {"a": pack(1)}, SEEN)])
    assert (patch.kind, patch.collection, patch.key, patch.set) == (Kind.PATCH, "notes", "one", {"a": pack(1)})
    assert patch.seen == SEEN
    assert patch.revives
    assert patch.may_be_absent
    assert not patch.unless_same


def test_two_rows_that_swap_their_names_delete_nothing() -> None:
    """Each record is left by one row and taken by the other, in either order."""
    edits = [
        RowEdit("delete", "tags", "a", seen=SEEN),
        RowEdit("put", "tags", "b", {"n": pack(1)}),
        RowEdit("delete", "tags", "b", seen=SEEN),
        RowEdit("put", "tags", "a", {"n": pack(2)}),
    ]
    found = {intent.key: intent for intent in intents_of(edits)}
    assert {key: intent.kind for key, intent in found.items()} == {"a": Kind.PUT, "b": Kind.PUT}
    assert found["a"].set == {"n": pack(2)}
    assert found["b"].set == {"n": pack(1)}


def test_merging_compares_with_what_is_there() -> None:
    (put,) = intents_of([RowEdit("put", "notes", "one", {"a": pack(1)})], merging=True)
    assert put.unless_same


def test_what_a_check_ties_stays_together() -> None:
    (patch,) = intents_of([RowEdit("patch", "notes", "one", {"a": pack(1)}, SEEN, (frozenset("ab"),))])
    assert patch.together == (frozenset("ab"),)


def test_what_an_outdated_row_says_is_said_even_if_nothing_had_been_edited() -> None:
    (patch,) = intents_of([RowEdit("patch", "notes", "one", {"a": pack(1)}, SEEN, outdated=True)])
    assert patch.even_if_same


def test_a_row_that_got_its_key_now_is_said_unless_its_record_is_known() -> None:
    new, old = intents_of([RowEdit("put", "notes", "one", is_new=True), RowEdit("put", "notes", "two")])
    assert (new.unless_known, old.unless_known) == (True, False)
