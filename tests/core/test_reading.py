"""Reading rules decide what is shown of a record, never what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.reading import (
    DEFAULT_RULES,
    DELETED,
    WHOLE,
    Conflict,
    Rules,
    as_object,
    conflict_id,
    conflicts,
    etag,
    rules_from,
    seen_from,
    shown,
)
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.values import pack, unpack

A, B, C = (bytes([letter]) * 16 for letter in b"abc")
BORN = Dot(A, 1)


def record_of(*concurrent: tuple[Dot, Any], restored: Dot | None = None) -> Record:
    """A visible record with one field "x" and these concurrent values, later dots with later times."""
    record = Record()
    apply_change(record, Change(Kind.PUT, "c", "k"), BORN, Stamp(0, 2), {})
    for dot, value in concurrent:
        kind = Kind.RESTORE if dot == restored else Kind.PATCH
        apply_change(record, Change(kind, "c", "k", {"x": Raw(pack(value))}), dot, Stamp(dot.seq, 2), {})
    return record


def x_of(record: Record, rules: Rules) -> Any:
    return unpack(shown(record, rules)["x"])


def test_the_winner_is_shown_and_the_others_are_listed() -> None:
    record = record_of((Dot(B, 1), "old"), (Dot(C, 2), "new"))
    assert x_of(record, DEFAULT_RULES) == "new"
    assert conflicts(record, DEFAULT_RULES) == [Conflict("x", (Dot(C, 2), Dot(B, 1)))]


@pytest.mark.parametrize(
    ("policy", "values", "expected"),
    [
        ("newest", [1, 3, 2], 2),
        ("max", [1, 3, 2], 3),
        ("min", [1, 3, 2], 1),
        ("max", [None, "a", 7], "a"),
        ("min", [True, 0, "a"], True),
        ("max", [2, 2.5, 2], 2.5),
    ],
)
def test_a_policy_decides_silently(policy: str, values: list[Any], expected: Any) -> None:
    dots = [Dot(B, 1), Dot(C, 2), Dot(A, 3)]
    record = record_of(*zip(dots, values, strict=True))
    rules = Rules(policy=policy)
    assert x_of(record, rules) == expected
    assert conflicts(record, rules) == []


def test_a_field_may_have_its_own_policy() -> None:
    record = record_of((Dot(B, 1), 9), (Dot(C, 2), 1))
    assert x_of(record, Rules(fields={"x": "max"})) == 9
    assert x_of(record, Rules(policy="max", fields={"x": "newest"})) == 1


def test_among_equal_extremes_the_winner_is_shown() -> None:
    record = record_of((Dot(B, 1), 1), (Dot(C, 2), 1.0))
    assert isinstance(x_of(record, Rules(policy="max")), float)


def test_equal_values_are_no_conflict() -> None:
    assert conflicts(record_of((Dot(B, 1), {"a": 1, "b": 2}), (Dot(C, 2), {"b": 2, "a": 1})), DEFAULT_RULES) == []
    assert conflicts(record_of((Dot(B, 1), 1), (Dot(C, 2), True)), DEFAULT_RULES) != []


def test_a_restored_value_is_no_conflict_with_a_written_one() -> None:
    record = record_of((Dot(B, 1), "written"), (Dot(C, 2), "restored"), restored=Dot(C, 2))
    assert conflicts(record, DEFAULT_RULES) == [Conflict(DELETED, (Dot(C, 2),))]
    assert x_of(record, DEFAULT_RULES) == "written"


def test_an_edit_that_met_a_delete_is_listed_until_its_birth_is_covered() -> None:
    record = record_of((Dot(C, 2), "restored"), restored=Dot(C, 2))
    (listed,) = conflicts(record, DEFAULT_RULES)
    assert listed.is_delete
    apply_change(record, Change(Kind.PUT, "c", "k"), Dot(B, 5), Stamp(5, 2), {A: 1, C: 2})
    assert conflicts(record, DEFAULT_RULES) == []


def test_a_parked_record_has_no_conflicts() -> None:
    record = record_of((Dot(B, 1), 1), (Dot(C, 2), 2))
    record.births.clear()
    assert conflicts(record, DEFAULT_RULES) == []


def test_rules_do_not_touch_what_is_stored() -> None:
    record = record_of((Dot(B, 1), 1), (Dot(C, 2), 2))
    before = etag(record), dict(record.fields["x"])
    for policy in ("keep", "newest", "max", "min"):
        shown(record, Rules(policy=policy))
    assert (etag(record), record.fields["x"]) == before


def test_settings_make_rules_and_what_is_not_understood_falls_back() -> None:
    fields = {"merge": "record", "policy": "max", "policy.due": "min", "policy.x": "later", "deletes": "delete_wins"}
    assert rules_from(fields) == Rules("record", "max", {"due": "min"}, "delete_wins")
    assert rules_from({"merge": 7, "policy": ["max"], "deletes": None, "policy.a": {}}) == DEFAULT_RULES
    assert rules_from({}) == DEFAULT_RULES


def test_the_whole_object_is_shown_first_and_other_fields_over_it() -> None:
    whole = pack({"a": 1, "b": 2})
    assert as_object({WHOLE: whole, "b": pack(3)}) == {"a": 1, "b": 3}
    assert as_object({WHOLE: pack(7), "b": pack(3)}) == {"b": 3}


def test_a_conflict_has_one_id_everywhere() -> None:
    assert conflict_id("notes", "one", "x") == conflict_id("notes", "one", "x")
    assert len(conflict_id("notes", "one", "x")) == 16
    others = {conflict_id("notes", "onex", ""), conflict_id("note", "sone", "x"), conflict_id("notes", "one", DELETED)}
    assert conflict_id("notes", "one", "x") not in others


@given(st.sets(st.builds(Dot, st.binary(min_size=16, max_size=16), st.integers(1, 2**63 - 1)), max_size=5))
def test_an_etag_names_the_dots(dots: set[Dot]) -> None:
    record = Record()
    record.stamps = dict.fromkeys(dots, Stamp(0, 2))
    tag = etag(record)
    assert seen_from(tag) == dots
    assert tag.isascii()
    assert not set(tag) & set('",= \\')


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.hex()))
def test_any_text_is_an_etag_or_refused(tag: str) -> None:
    try:
        seen = seen_from(tag)
    except ValueError:
        return
    assert all(isinstance(dot, Dot) for dot in seen)
