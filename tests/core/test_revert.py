"""Putting a record back, in random histories and in stories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.intents import plan
from peerd.core.past import at
from peerd.core.reading import DELETED, Rules, shown
from peerd.core.record import Record
from peerd.core.revert import Reversal, back_to, intent_of, without
from peerd.core.values import pack, unpack
from tests.core.pasts import NAME, Steps, steps

RULES = Rules()
ME = 0


def free(_field: str) -> frozenset[str]:
    """Nothing is tied to it."""
    return frozenset()


def look(record: Record | None) -> dict[str, Any] | None:
    """What is shown."""
    if record is None or not record.visible:
        return None
    return {field: unpack(value) for field, value in shown(record, RULES).items()}


def carry_out(made: Steps, reversal: Reversal) -> Dot | None:
    """Write it, as the commit door does; gives its dot."""
    if reversal.kind is None:
        return None
    change = plan(made.record, intent_of(NAME, reversal, made.record), RULES, dict)
    assert change is not None
    return made.apply(change, ME)


def undo(made: Steps, undone: Callable[[Dot], bool], **how: Any) -> Reversal:
    return without(made.record, made.newest_first, made.place, undone, RULES, free, **how)


def revert(made: Steps, undone: Callable[[Dot], bool], **how: Any) -> tuple[Reversal, Dot | None]:
    reversal = undo(made, undone, **how)
    return reversal, carry_out(made, reversal)


# ---- in random histories


@given(steps(only_seen=True))
def test_the_last_transaction_is_undone_exactly(made: Steps) -> None:
    if not made.dots:
        return
    last = made.dots[-1]
    reversal, _ = revert(made, lambda dot: dot == last)
    assert reversal.left == ()
    assert look(made.record) == look(made.states[-1 if reversal.kind is None else -3])
    if reversal.kind is None:
        assert look(made.states[-1]) == look(made.states[-2])


@given(steps(only_seen=True), st.data())
def test_all_since_a_moment_is_undone_exactly(made: Steps, data: st.DataObject) -> None:
    """By either rule, where everybody had seen everything."""
    number = data.draw(st.integers(0, len(made.dots)))
    newer = set(made.dots[number:])
    reversal, _ = revert(made, lambda dot: dot in newer)
    assert reversal.left == ()
    assert look(made.record) == look(made.states[number])


@given(steps(), st.data())
def test_a_record_goes_back_to_what_it_showed(made: Steps, data: st.DataObject) -> None:
    """Whatever was concurrent."""
    number = data.draw(st.integers(0, len(made.dots)))
    carry_out(made, back_to(made.record, made.states[number], RULES, free))
    assert look(made.record) == look(made.states[number])
    assert back_to(made.record, made.states[number], RULES, free).kind is None


@given(steps(only_seen=True), st.data())
def test_undoing_what_was_undone_shows_what_was_before(made: Steps, data: st.DataObject) -> None:
    """Whatever was undone by the first."""
    undone = set(data.draw(st.lists(st.sampled_from(made.dots)))) if made.dots else set()
    before = look(made.record)
    _, dot = revert(made, lambda one: one in undone)
    if dot is None:
        assert look(made.record) == before
        return
    reversal, _ = revert(made, lambda one: one == dot)
    assert reversal.left == ()
    assert look(made.record) == before


@given(steps(), st.data())
def test_what_others_wrote_stays(made: Steps, data: st.DataObject) -> None:
    """What they wrote, if it is shown; and then there is nothing more to undo."""
    undone = set(data.draw(st.lists(st.sampled_from(made.dots)))) if made.dots else set()
    before = made.record
    theirs = {
        field: dict(siblings)
        for field, siblings in before.fields.items()
        if before.visible and not any(dot in undone for dot in siblings)
    }
    siblings_of_others = {
        (field, dot) for field, siblings in before.fields.items() for dot in siblings if dot not in undone
    }
    was = look(before)
    reversal, dot = revert(made, lambda one: one in undone)
    after = made.record
    for field, siblings in theirs.items():
        assert after.fields[field] == siblings
    assert {(field, one) for field, found in after.fields.items() for one in found if one != dot} >= {
        pair for pair in siblings_of_others if was is not None
    }
    if not reversal.left and after.visible:
        of_others = undo(made, lambda one: one in undone)
        assert (of_others.kind, of_others.left) == (None, of_others.left)


@given(steps(), st.data())
def test_history_from_before_is_not_needed(made: Steps, data: st.DataObject) -> None:
    """Only what was dropped since the first that is undone."""
    if not made.dots:
        return
    first = data.draw(st.integers(0, len(made.dots) - 1))
    undone = set(data.draw(st.lists(st.sampled_from(made.dots[first:]), min_size=1)))
    first = min(made.dots.index(one) for one in undone)
    recent = [one for one in made.newest_first if made.dots.index(one.by) >= first]
    short = without(made.record, recent, made.place, undone.__contains__, RULES, free)
    assert short == undo(made, undone.__contains__)


# ---- stories


def put(made: Steps, author: int, *unseen: int, **fields: Any) -> Dot:
    return made.apply(Change(Kind.PUT, *NAME, packed(fields)), author, unseen)


def patch(made: Steps, author: int, *unseen: int, drop: tuple[str, ...] = (), **fields: Any) -> Dot:
    return made.apply(Change(Kind.PATCH, *NAME, packed(fields), drop), author, unseen)


def delete(made: Steps, author: int, *unseen: int) -> Dot:
    return made.apply(Change(Kind.DELETE, *NAME), author, unseen)


def packed(fields: dict[str, Any]) -> dict[str, Raw]:
    return {name: Raw(pack(value)) for name, value in fields.items()}


@pytest.fixture
def made() -> Steps:
    """A record of somebody else."""
    made = Steps()
    put(made, 1, x=1, y=1)
    return made


def test_what_somebody_changed_since_is_left_and_named(made: Steps) -> None:
    bad = patch(made, 0, x=2, y=2, z=2)
    patch(made, 1, y=3)
    reversal, _ = revert(made, lambda dot: dot == bad)
    assert (reversal.left, reversal.drop) == (("y",), ("z",))
    assert look(made.record) == {"x": 1, "y": 3}


def test_anyway_puts_back_what_was_changed_since_too(made: Steps) -> None:
    bad = patch(made, 0, x=2, y=2, z=2)
    patch(made, 1, y=3, drop=("z",))
    reversal, _ = revert(made, lambda dot: dot == bad, anyway=True)
    assert reversal.left == ()
    assert look(made.record) == {"x": 1, "y": 1}


def test_anyway_brings_back_what_others_have_deleted_since(made: Steps) -> None:
    """As it was before what is undone, and with what others had written beside that."""
    bad = patch(made, 0, x=2, z=2)
    patch(made, 1, y=3, z=4)
    delete(made, 1)
    assert undo(made, lambda dot: dot == bad) == Reversal(left=(DELETED,))
    reversal, _ = revert(made, lambda dot: dot == bad, anyway=True)
    assert reversal.left == ()
    assert look(made.record) == {"x": 1, "y": 3}


def test_what_is_undone_and_was_made_again_with_others_is_not_left_if_it_is_put_back_anyway(made: Steps) -> None:
    bad = delete(made, 0)
    put(made, 1, x=7)
    reversal, _ = revert(made, lambda dot: dot == bad, anyway=True)
    assert reversal.left == ()
    assert look(made.record) == {"x": 1, "y": 1}


@pytest.mark.parametrize("anyway", [False, True])
def test_a_record_that_was_made_and_is_deleted_needs_no_undoing(anyway: bool) -> None:  # noqa: FBT001 - a parameter
    made = Steps()
    bad = put(made, 0, x=1)
    patch(made, 1, y=2)
    delete(made, 1)
    assert undo(made, lambda dot: dot == bad, anyway=anyway) == Reversal()


@given(steps(only_seen=True), st.data())
def test_anyway_leaves_nothing(made: Steps, data: st.DataObject) -> None:
    undone = set(data.draw(st.lists(st.sampled_from(made.dots)))) if made.dots else set()
    reversal, _ = revert(made, lambda dot: dot in undone, anyway=True)
    assert reversal.left == ()


def test_what_shows_the_former_value_again_is_not_said_to_be_changed(made: Steps) -> None:
    bad = patch(made, 0, x=2)
    patch(made, 1, x=1)
    assert undo(made, lambda dot: dot == bad) == Reversal()


def test_a_deleted_record_comes_back_with_what_it_had(made: Steps) -> None:
    """Less what had been dropped before, and what is undone with it."""
    patch(made, 1, drop=("y",))
    first, bad = patch(made, 0, x=5), delete(made, 0)
    revert(made, lambda dot: dot in {first, bad})
    assert look(made.record) == {"x": 1}


def test_a_conflict_comes_back_as_what_it_showed(made: Steps) -> None:
    patch(made, 2, x=2)
    patch(made, 1, 1, x=3)
    bad = delete(made, 0)
    revert(made, lambda dot: dot == bad)
    assert look(made.record) == {"x": 3, "y": 1}


def test_what_stands_without_a_record_and_is_undone_too_goes(made: Steps) -> None:
    """An edit that a delete had not seen: with both undone, neither shows; what others wrote beside it stays."""
    mine, theirs = patch(made, 0, x=5), patch(made, 1, z=7)
    bad = delete(made, 2, 1, 2)
    assert {field: set(found) for field, found in made.record.fields.items()} == {"x": {mine}, "z": {theirs}}
    revert(made, lambda dot: dot in {mine, bad})
    assert look(made.record) == {"x": 1, "y": 1, "z": 7}
    assert undo(made, lambda dot: dot in {mine, bad}).kind is None


def test_a_record_that_was_made_again_or_deleted_since_is_left(made: Steps) -> None:
    bad = delete(made, 0)
    put(made, 1, x=7)
    assert undo(made, lambda dot: dot == bad) == Reversal(left=(DELETED,))
    patch(made, 1, x=1, y=1, z=1)
    assert undo(made, lambda dot: dot == bad) == Reversal()  # it shows again what it had
    edit = patch(made, 0, x=8)
    delete(made, 1)
    assert undo(made, lambda dot: dot == edit) == Reversal(left=(DELETED,))


def test_a_creation_is_undone_unless_others_wrote_into_it() -> None:
    made = Steps()
    bad = put(made, 0, x=1)
    patch(made, 1, y=1)
    assert undo(made, lambda dot: dot == bad) == Reversal(left=("y",))
    assert undo(made, lambda dot: dot == bad, anyway=True).kind == Kind.DELETE
    patch(made, 1, drop=("y",))
    revert(made, lambda dot: dot == bad)
    assert look(made.record) is None


def test_a_concurrent_value_of_others_stays_beside_what_goes(made: Steps) -> None:
    """Also where the undone one is shown: the conflict is over, and the other edit is not lost."""
    other = patch(made, 1, x=3)
    bad = patch(made, 0, 1, x=2)
    assert set(made.record.fields["x"]) == {bad, other}
    reversal, _ = revert(made, lambda dot: dot == bad)
    assert (reversal.met, reversal.left) == (("x",), ())
    assert made.record.fields["x"] == {other: pack(3)}


def test_what_is_tied_is_written_together(made: Steps) -> None:
    bad = patch(made, 0, x=2)
    group = frozenset({"x", "y"})
    undone = without(
        made.record, made.newest_first, made.place, lambda dot: dot == bad, RULES, lambda field: group - {field}
    )
    assert undone.set == {"x": pack(1), "y": pack(1)}
    assert back_to(made.record, made.states[1], RULES, lambda field: group - {field}).set == undone.set


def test_the_policy_says_what_was_shown(made: Steps) -> None:
    """Of concurrent values the largest, here."""
    patch(made, 1, x=9)
    patch(made, 2, 1, x=3)
    bad = patch(made, 0, x=0)
    rules = Rules(policy="max")
    undone = without(made.record, made.newest_first, made.place, lambda dot: dot == bad, rules, free)
    assert undone.set == {"x": pack(9)}


def test_a_reversal_is_of_the_record_that_was_looked_at(made: Steps) -> None:
    """The door refuses it if the record has changed meanwhile, or is there again."""
    bad = patch(made, 0, x=2)
    looked_at = at(made.record, [], lambda *_: True, lambda _: True)
    reversal = undo(made, lambda dot: dot == bad)
    patch(made, 1, y=7)
    with pytest.raises(Exception, match="has changed"):
        plan(made.record, intent_of(NAME, reversal, looked_at), RULES, dict)
    gone = delete(made, 0)
    reversal, absent = undo(made, lambda dot: dot == gone), at(made.record, [], lambda *_: True, lambda _: True)
    put(made, 1)
    with pytest.raises(Exception, match="exists already"):
        plan(made.record, intent_of(NAME, reversal, absent), RULES, dict)
    with pytest.raises(ValueError, match="nothing to write"):
        intent_of(NAME, Reversal(), None)
