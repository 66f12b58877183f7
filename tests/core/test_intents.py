"""From what a caller wants to the change that says so: minimal, and honest about what the caller had seen."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.intents import Intent, plan
from peerd.core.reading import DEFAULT_RULES, WHOLE, Rules
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.values import pack, unpack
from peerd.errors import UserError

US, THEM = b"u" * 16, b"t" * 16
NAME = ("notes", "one")
Past = Mapping[str, Mapping[Dot, bytes]]


def packed(**fields: object) -> dict[str, bytes]:
    return {name: pack(value) for name, value in fields.items()}


def record_of(*changes: tuple[Dot, Kind, dict[str, object]]) -> Record:
    """A record after changes whose authors had seen nothing of each other."""
    record = Record()
    for dot, kind, fields in changes:
        raw = {name: Raw(pack(value)) for name, value in fields.items()}
        apply_change(record, Change(kind, *NAME, raw), dot, Stamp(dot.seq, 2), {})
    return record


def planned(
    record: Record | None, intent: Intent, past: Past | None = None, rules: Rules = DEFAULT_RULES
) -> Change | None:
    return plan(record, intent, rules, lambda: past or {})


def set_of(change: Change | None) -> dict[str, object]:
    assert change is not None
    return {name: unpack(value) for name, value in change.set.items()}


BORN = Dot(US, 1)


def test_a_put_of_a_new_record_is_a_put() -> None:
    change = planned(None, Intent(Kind.PUT, *NAME, packed(a=1)))
    assert change == Change(Kind.PUT, *NAME, {"a": Raw(pack(1))})


def test_a_put_of_what_stands_there_already_is_nothing() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1, "b": "x"}))
    assert planned(record, Intent(Kind.PUT, *NAME, packed(a=1, b="x"))) is None


def test_a_put_of_a_seen_record_sets_what_differs_and_drops_what_is_unnamed() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1, "b": 2, "c": 3}))
    change = planned(record, Intent(Kind.PUT, *NAME, packed(a=1, b=5)))
    assert change == Change(Kind.PATCH, *NAME, {"b": Raw(pack(5))}, ("c",))


def test_a_stale_put_does_not_revert_what_its_caller_had_not_seen() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 1), Kind.PATCH, {"b": 2}))
    change = planned(record, Intent(Kind.PUT, *NAME, packed(a=7), seen=frozenset({BORN})))
    assert change == Change(Kind.PATCH, *NAME, {"a": Raw(pack(7))})


def test_a_stale_write_of_a_field_that_changed_keeps_the_unseen_value_beside_it() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 1), Kind.PATCH, {"a": 2}))
    change = planned(record, Intent(Kind.PATCH, *NAME, packed(a=7), seen=frozenset({BORN})))
    assert change == Change(Kind.PATCH, *NAME, {"a": Raw(pack(7))}, keep=(Dot(THEM, 1),))


def test_a_stale_put_writes_nothing_where_its_caller_changed_nothing() -> None:
    """The value that the caller had looked at is overwritten here; the local history still has it."""
    record = record_of((BORN, Kind.PUT, {}), (Dot(THEM, 1), Kind.PATCH, {"a": 2}))
    past = {"a": {BORN: pack(1)}}
    assert planned(record, Intent(Kind.PUT, *NAME, packed(a=1), seen=frozenset({BORN})), past) is None


def test_what_is_written_even_if_same_stands_beside_what_came_since() -> None:
    record = record_of((BORN, Kind.PUT, {}), (Dot(THEM, 1), Kind.PATCH, {"a": 2}))
    past = {"a": {BORN: pack(1)}}
    intent = Intent(Kind.PATCH, *NAME, packed(a=1), seen=frozenset({BORN}), even_if_same=True)
    assert planned(record, intent, past) == Change(Kind.PATCH, *NAME, {"a": Raw(pack(1))}, keep=(Dot(THEM, 1),))


def test_a_stale_put_is_compared_with_the_last_value_its_caller_had_seen() -> None:
    """Older values of a field may lie under dots that the token names for the sake of other fields."""
    second = Dot(US, 2)
    record = record_of((BORN, Kind.PUT, {"b": 1}), (Dot(THEM, 1), Kind.PATCH, {"a": "theirs"}))
    past = {"a": {BORN: pack("oldest"), second: pack("seen")}}  # in the order in which they went
    seen = frozenset({BORN, second})
    assert planned(record, Intent(Kind.PUT, *NAME, packed(a="seen", b=1), seen=seen), past) is None
    back_to_the_oldest = planned(record, Intent(Kind.PUT, *NAME, packed(a="oldest", b=1), seen=seen), past)
    assert set_of(back_to_the_oldest) == {"a": "oldest"}


def test_a_stale_put_does_not_bring_back_a_field_that_was_dropped_meanwhile() -> None:
    """A dropped field leaves nothing unseen in the record, only a dot of the token that is gone."""
    record = record_of((BORN, Kind.PUT, {"b": 1}))
    seen = frozenset({BORN, Dot(US, 2)})
    past = {"a": {Dot(US, 2): pack("dropped")}}
    assert planned(record, Intent(Kind.PUT, *NAME, packed(a="dropped", b=1), seen=seen), past) is None


def test_a_stale_delete_keeps_what_its_caller_had_not_seen() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 1), Kind.PATCH, {"b": 2}))
    change = planned(record, Intent(Kind.DELETE, *NAME, seen=frozenset({BORN})))
    assert change == Change(Kind.DELETE, *NAME, keep=(Dot(THEM, 1),))


def test_a_fresh_delete_keeps_nothing() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 1), Kind.PATCH, {"b": 2}))
    assert planned(record, Intent(Kind.DELETE, *NAME)) == Change(Kind.DELETE, *NAME)


def test_a_patch_that_names_a_field_with_several_values_settles_it() -> None:
    """Even with the value that is shown already: the caller has looked and decided."""
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 2), Kind.PATCH, {"a": 2}))
    assert set_of(planned(record, Intent(Kind.PATCH, *NAME, packed(a=2)))) == {"a": 2}


def test_a_patch_drops_only_fields_that_are_there() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}))
    change = planned(record, Intent(Kind.PATCH, *NAME, drop=("a", "b")))
    assert change == Change(Kind.PATCH, *NAME, {}, ("a",))
    assert planned(record, Intent(Kind.PATCH, *NAME, drop=("b",))) is None


@pytest.mark.parametrize("kind", [Kind.PATCH, Kind.DELETE])
def test_what_is_not_there_cannot_be_changed(kind: Kind) -> None:
    with pytest.raises(UserError) as refusal:
        planned(None, Intent(kind, *NAME))
    assert (refusal.value.status, refusal.value.code) == (404, "record-not-found")
    assert refusal.value.next_step


@pytest.mark.parametrize("kind", [Kind.PATCH, Kind.DELETE])
def test_a_stale_change_of_a_deleted_record_is_refused(kind: Kind) -> None:
    with pytest.raises(UserError) as refusal:
        planned(None, Intent(kind, *NAME, seen=frozenset({BORN})))
    assert (refusal.value.status, refusal.value.code) == (412, "precondition-failed")
    assert refusal.value.next_step


def test_a_parked_record_counts_as_absent_and_a_put_keeps_what_is_parked() -> None:
    parked = record_of((Dot(THEM, 1), Kind.PATCH, {"a": 2}))
    change = planned(parked, Intent(Kind.PUT, *NAME, packed(a=1)))
    assert change == Change(Kind.PUT, *NAME, {"a": Raw(pack(1))}, keep=(Dot(THEM, 1),))
    with pytest.raises(UserError):
        planned(parked, Intent(Kind.DELETE, *NAME))


def test_if_match_demands_exactly_the_dots_that_stand_there() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}))
    same = Intent(Kind.PATCH, *NAME, packed(a=2), must_match=frozenset({BORN}))
    assert set_of(planned(record, same)) == {"a": 2}
    for now in (record_of((BORN, Kind.PUT, {}), (Dot(THEM, 1), Kind.PATCH, {"a": 1})), None):
        with pytest.raises(UserError) as refusal:
            planned(now, same)
        assert refusal.value.status == 412


def test_if_none_match_demands_absence() -> None:
    intent = Intent(Kind.PUT, *NAME, packed(a=1), must_be_absent=True)
    assert planned(None, intent) is not None
    with pytest.raises(UserError) as refusal:
        planned(record_of((BORN, Kind.PUT, {})), intent)
    assert refusal.value.status == 412


WHOLE_RECORDS = Rules(merge="record")


def test_where_records_merge_whole_a_put_writes_one_field() -> None:
    change = planned(None, Intent(Kind.PUT, *NAME, packed(a=1, b=2)), rules=WHOLE_RECORDS)
    assert set_of(change) == {WHOLE: {"a": 1, "b": 2}}


def test_where_records_merge_whole_a_patch_rewrites_the_object() -> None:
    record = record_of((BORN, Kind.PUT, {WHOLE: {"a": 1, "b": 2}}))
    change = planned(record, Intent(Kind.PATCH, *NAME, packed(a=5), ("b",)), rules=WHOLE_RECORDS)
    assert set_of(change) == {WHOLE: {"a": 5}}


def test_where_records_merge_whole_the_same_object_is_nothing() -> None:
    record = record_of((BORN, Kind.PUT, {WHOLE: {"a": 1, "b": 2}}))
    assert planned(record, Intent(Kind.PUT, *NAME, packed(b=2, a=1)), rules=WHOLE_RECORDS) is None


def test_a_put_is_compared_with_what_the_reading_rules_show() -> None:
    """Under "max" the caller was shown 9: writing 9 back is nothing, and choosing 1 is an edit."""
    record = record_of((BORN, Kind.PUT, {"a": 9}), (Dot(THEM, 2), Kind.PATCH, {"a": 1}))
    rules = Rules(policy="max")
    assert planned(record, Intent(Kind.PUT, *NAME, packed(a=9)), rules=rules) is None
    assert set_of(planned(record, Intent(Kind.PUT, *NAME, packed(a=1)), rules=rules)) == {"a": 1}


def test_any_version_must_be_visible_where_the_caller_says_so() -> None:
    intent = Intent(Kind.PUT, *NAME, packed(a=1), must_be_visible=True)
    with pytest.raises(UserError) as refusal:
        planned(None, intent)
    assert refusal.value.status == 412
    assert planned(record_of((BORN, Kind.PUT, {"a": 2})), intent) is not None


def test_deleting_what_is_not_there_may_be_nothing() -> None:
    assert planned(None, Intent(Kind.DELETE, *NAME, may_be_absent=True)) is None


def test_a_resolution_says_exactly_what_it_says_and_keeps_what_was_not_seen() -> None:
    record = record_of((BORN, Kind.PUT, {"a": 1}), (Dot(THEM, 1), Kind.PATCH, {"a": 2}))
    everything = Intent(Kind.PUT, *NAME, packed(a=1), literal=True)
    assert planned(record, everything) == Change(Kind.PUT, *NAME, {"a": Raw(pack(1))})
    stale = everything._replace(seen=frozenset({BORN}))
    assert planned(record, stale) == Change(Kind.PUT, *NAME, {"a": Raw(pack(1))}, keep=(Dot(THEM, 1),))


def test_an_edit_of_a_row_whose_record_was_deleted_meanwhile_had_not_seen_the_delete() -> None:
    """It leaves a value without a birth, from which the record comes back; what others left there stays."""
    here = Dot(THEM, 2)
    parked = record_of((here, Kind.PATCH, {"a": 3}))
    intent = Intent(Kind.PATCH, *NAME, packed(a=2), seen=frozenset({BORN}), may_be_absent=True, revives=True)
    assert planned(None, intent) == Change(Kind.PATCH, *NAME, {"a": Raw(pack(2))})
    assert planned(parked, intent) == Change(Kind.PATCH, *NAME, {"a": Raw(pack(2))}, keep=(here,))


def test_a_row_that_is_gone_together_with_its_record_is_no_failure() -> None:
    intent = Intent(Kind.DELETE, *NAME, seen=frozenset({BORN}), may_be_absent=True, revives=True)
    assert planned(None, intent) is None


def test_a_row_that_says_what_the_record_says_is_no_news() -> None:
    """Two copies of one list that meet for the first time: only what differs becomes a second value."""
    record = record_of((BORN, Kind.PUT, {"a": 1, "b": "x"}))
    intent = Intent(Kind.PUT, *NAME, packed(a=1, b="y"), seen=frozenset(), unless_same=True)
    change = planned(record, intent)
    assert change is not None
    assert set_of(change) == {"b": "y"}
    assert change.keep == (BORN,)
    assert planned(record, intent._replace(set=packed(a=1, b="x"))) is None


def test_fields_that_belong_together_are_all_written_if_one_is() -> None:
    """Of two edits that each kept a rule one is shown whole, and not a mixture that breaks it."""
    record = record_of((BORN, Kind.PUT, {"lo": 1, "hi": 9, "x": 0}))
    both = (frozenset({"lo", "hi"}),)
    change = planned(record, Intent(Kind.PATCH, *NAME, packed(lo=8, hi=9, x=0), together=both))
    assert set_of(change) == {"lo": 8, "hi": 9}
    assert planned(record, Intent(Kind.PATCH, *NAME, packed(lo=1, hi=9), together=both)) is None
    assert set_of(planned(record, Intent(Kind.PATCH, *NAME, packed(lo=1, x=1), together=both))) == {"x": 1}


@pytest.mark.parametrize("kind", [Kind.PUT, Kind.PATCH])
def test_what_is_said_unless_its_record_is_known_is_said_once(kind: Kind) -> None:
    """A record that is parked is known, too."""
    intent = Intent(Kind.PUT, *NAME, packed(a=1), seen=frozenset(), unless_known=True)
    assert planned(record_of((Dot(THEM, 1), kind, {"a": 2})), intent) is None
    assert set_of(planned(None, intent)) == {"a": 1}
    assert set_of(planned(Record(), intent)) == {"a": 1}
