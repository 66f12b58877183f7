"""Strong removal: which removals stand, and what counts then.

Devices are numbers, in the order of their ids; where both were admitted by the same device the smaller is the senior.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.core.roster import compose
from peerd.core.roster.removal import judge
from peerd.core.roster.statements import REMOVE, Final, Remove, encode_statement, statement_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peerd.core.roster.lineage import Entry
    from peerd.core.roster.roster import Roster

Cast = Any  # the fixture of conftest


def test_a_removed_device_is_no_member(cast: Cast) -> None:
    """And everybody learns by whom."""
    roster = cast.remove(cast.space_of(0, 1, 2), 1, 2)
    assert cast.members(roster) == {0, 1}
    assert roster.removed[cast.devices[2]].by == cast.devices[1]


def test_a_membership_does_not_go_on_for_whoever_is_let_in_again(cast: Cast) -> None:
    roster = cast.space_of(0, 1, 2)
    back = cast.admit(cast.remove(roster, 1, 2), 0, 2)
    staying = {device for device, member in roster.members.items() if back.goes_on(member)}
    assert staying == {cast.devices[0], cast.devices[1]}
    assert all(map(back.goes_on, back.members.values()))
    assert not roster.goes_on(back.members[cast.devices[2]])


def test_each_membership_has_an_admission_of_its_own_that_is_known_after_it(cast: Cast) -> None:
    roster = cast.space_of(0, 1, 2)
    gone = cast.remove(roster, 1, 2)
    back = cast.admit(gone, 0, 2)
    again = cast.remove(back, 1, 2)
    first, second = roster.members[cast.devices[2]].admission, back.members[cast.devices[2]].admission
    assert [one.admissions[cast.devices[2]] for one in (roster, gone, back, again)] == [first, first, second, second]
    assert all(one.admissions.keys() == set(cast.devices[:3]) for one in (roster, gone, back, again))


def test_who_is_let_in_again_was_removed_before(cast: Cast) -> None:
    roster = cast.space_of(0, 1, 2)
    assert not any(map(roster.was_removed, cast.devices))
    gone = cast.remove(roster, 1, 2)
    back = cast.admit(gone, 0, 2)
    assert cast.members(back) == {0, 1, 2}
    for one in (gone, back):
        assert [device for device in cast.devices if one.was_removed(device)] == [cast.devices[2]]


@pytest.mark.parametrize("admission_after", [False, True])
@pytest.mark.parametrize("removal_after", [False, True])
def test_of_the_admissions_of_who_was_removed_twice_the_last_is_named(
    cast: Cast, *, removal_after: bool, admission_after: bool
) -> None:
    """The second removal ends the first admission as well. So where the second's id is the smaller, it is told of both,
    and their ids must not decide which is named. Each is stated until its id is on the side that is asked for.
    """
    here, by, device = cast.space_of(0, 1), cast.devices[0], cast.devices[1]
    first_admission = here.members[device].admission
    gone = cast.remove(here, 0, 1)
    first_removal = gone.removed[device].statement
    sealed = ({bytes([number]) * 16: b"sealed"} for number in range(256))
    tellings = (compose.admit(gone, by, cast.cards[1], wraps=wraps) for wraps in sealed)
    back = cast.say(gone, _on_side(tellings, first_admission, after=admission_after))
    bounds = ({bytes([number]) * 16: Final(1, b"anything")} for number in range(256))
    tellings = (compose.remove(back, by, device, finals) for finals in bounds)
    again = cast.say(back, _on_side(tellings, first_removal, after=removal_after))
    assert again.removed[device].admission == back.members[device].admission != first_admission


def _on_side(tellings: Iterable[bytes], of: bytes, *, after: bool) -> bytes:
    return next(one for one in tellings if (statement_id(one) > of) is after)


def test_what_the_removed_did_before_stands(cast: Cast) -> None:
    """The remover had seen it: its guests stay."""
    roster = cast.admit(cast.space_of(0, 1), 1, 2)
    assert cast.members(cast.remove(roster, 0, 1)) == {0, 2}


def test_what_the_removed_did_at_the_same_time_is_void(cast: Cast) -> None:
    """The remover had not seen it: a thief's guest is no member, and is listed with the removal of its host."""
    start = cast.space_of(0, 1)
    roster = cast.joined(cast.remove(start, 0, 1), cast.admit(start, 1, 2))
    assert cast.members(roster) == {0}
    assert roster.removed[cast.devices[2]].by == cast.devices[0]


def test_what_a_void_guest_did_is_void(cast: Cast) -> None:
    """However many devices a thief lets in and lets speak for it, none of it counts."""
    start = cast.space_of(0, 1, 5)
    thief = cast.admit(cast.admit(start, 1, 2), 2, 3)
    thief = cast.remove(cast.remove(thief, 3, 5), 3, 0)
    roster = cast.joined(cast.remove(start, 0, 1), thief)
    assert cast.members(roster) == {0, 5}


def test_what_the_removed_says_afterwards_is_void(cast: Cast) -> None:
    """Having seen its removal or not."""
    roster = cast.remove(cast.space_of(0, 1, 2), 0, 1)
    data = encode_statement(
        REMOVE,
        roster.space,
        cast.devices[1],
        roster.heads(),
        Remove(cast.devices[2], roster.members[cast.devices[2]].admission),
    )
    assert cast.members(cast.say(roster, data)) == {0, 2}


def test_of_two_mutual_removals_the_seniors_stands(cast: Cast) -> None:
    """Both directions of depth: by admission, not by who spoke first."""
    start = cast.admit(cast.space_of(0, 2), 2, 1)  # 2 was admitted by the founder, 1 by 2
    roster = cast.joined(cast.remove(start, 1, 2), cast.remove(start, 2, 1))
    assert cast.members(roster) == {0, 2}


def test_of_two_mutual_removals_at_equal_depth_the_smaller_device_id_stands(cast: Cast) -> None:
    """A rule that everybody can apply alone."""
    start = cast.space_of(0, 1, 2)
    roster = cast.joined(cast.remove(start, 2, 1), cast.remove(start, 1, 2))
    assert cast.members(roster) == {0, 1}


def test_a_thief_cannot_end_the_space(cast: Cast) -> None:
    """It removes everybody at the moment in which the founder removes it: only the thief goes."""
    start = cast.space_of(0, 1, 2, 3)
    thief = start
    for victim in (0, 1, 2):
        thief = cast.remove(thief, 3, victim)
    assert cast.members(cast.joined(cast.remove(start, 0, 3), thief)) == {0, 1, 2}


def test_a_removal_that_strikes_nothing_back_voids_a_seniors(cast: Cast) -> None:
    """Seniority decides rings only: 2 removes 1 while 1 removes 3, and 3 stays."""
    start = cast.space_of(0, 1, 2, 3)
    roster = cast.joined(cast.remove(start, 2, 1), cast.remove(start, 1, 3))
    assert cast.members(roster) == {0, 2, 3}


def test_a_chain_is_undone_from_its_free_end(cast: Cast) -> None:
    """1 removes 2, 2 removes 3, 3 removes 4, all at once: 2 goes, so 3 stays, so 4 goes."""
    start = cast.space_of(0, 1, 2, 3, 4)
    roster = cast.joined(*(cast.remove(start, one, one + 1) for one in (1, 2, 3)))
    assert cast.members(roster) == {0, 1, 3}


def test_in_a_ring_the_senior_removal_stands_and_what_it_meets_is_void(cast: Cast) -> None:
    """1 removes 2, 2 removes 3, 3 removes 1: only the first counts. 3 may say it again, having seen."""
    start = cast.space_of(0, 1, 2, 3)
    roster = cast.joined(cast.remove(start, 1, 2), cast.remove(start, 2, 3), cast.remove(start, 3, 1))
    assert cast.members(roster) == {0, 1, 3}
    assert cast.members(cast.remove(roster, 3, 1)) == {0, 3}


def test_a_ring_is_decided_before_what_hangs_on_it(cast: Cast) -> None:
    """2 and 3 remove each other, 3 also removes 1, and 1, the senior but in no ring, removes 4."""
    start = cast.space_of(0, 1, 2, 3, 4)
    third = cast.remove(cast.remove(start, 3, 2), 3, 1)
    roster = cast.joined(cast.remove(start, 2, 3), third, cast.remove(start, 1, 4))
    assert cast.members(roster) == {0, 1, 2}
    second_gone = cast.joined(third, cast.remove(start, 1, 4))
    assert cast.members(second_gone) == {0, 3, 4}


def test_a_device_may_leave(cast: Cast) -> None:
    """Removing oneself does not void itself."""
    assert cast.members(cast.remove(cast.space_of(0, 1, 2), 1, 1)) == {0, 2}


def test_two_removals_of_one_device_both_stand(cast: Cast) -> None:
    """And the device is listed once, with the same removal everywhere."""
    start = cast.space_of(0, 1, 2, 3)
    one, two = cast.remove(start, 1, 3), cast.remove(start, 2, 3)
    assert cast.joined(one, two).removed == cast.joined(two, one).removed
    assert cast.members(cast.joined(one, two)) == {0, 1, 2}


def test_a_second_admission_survives_the_removal_of_the_first(cast: Cast) -> None:
    """1 removes device 3; 2 removes it too and lets it in again: the removals speak of the first admission."""
    start = cast.space_of(0, 1, 2, 3)
    roster = cast.joined(cast.remove(start, 1, 3), cast.admit(cast.remove(start, 2, 3), 2, 3))
    assert cast.members(roster) == {0, 1, 2, 3}
    assert cast.members(cast.admit(roster, 3, 5)) == {0, 1, 2, 3, 5}  # and it speaks under the second


def test_a_removal_covers_every_admission_that_it_had_seen(cast: Cast) -> None:
    """Two members let device 3 in at once; one removal is enough."""
    start = cast.space_of(0, 1, 2)
    both = cast.joined(cast.admit(start, 1, 3), cast.admit(start, 2, 3))
    assert cast.members(cast.remove(both, 0, 3)) == {0, 1, 2}


def test_a_device_with_a_void_admission_speaks_under_its_good_one(cast: Cast) -> None:
    """3 was let in by the thief 1, unseen, and by 4: what it says counts."""
    start = cast.admit(cast.space_of(0, 1, 2), 2, 4)
    roster = cast.joined(cast.remove(start, 0, 1), cast.admit(start, 1, 3), cast.admit(start, 4, 3))
    assert cast.members(roster) == {0, 2, 3, 4}
    assert cast.members(cast.admit(roster, 3, 5)) == {0, 2, 3, 4, 5}


def test_of_two_open_admissions_the_less_deep_speaks_in_any_order_of_arrival(cast: Cast) -> None:
    """3 was let in by 1 (depth 2) and by 4 (depth 3). Whoever removes the former voids what 3 says, everywhere."""
    start = cast.admit(cast.space_of(0, 1, 2), 2, 4)
    less, more = cast.admit(start, 1, 3), cast.admit(start, 4, 3)
    said = cast.admit(cast.joined(less, more), 3, 5)
    removed = cast.remove(less, 0, 3)
    for first, second in ((less, more), (more, less)):
        roster = cast.joined(first, second, said, removed)
        assert cast.members(roster) == {0, 1, 2, 3, 4}
        assert roster.members[cast.devices[3]].depth == 3


def _naive_standing(roster: Roster) -> set[bytes]:
    """The rule of `removal`, said again in the plainest way: closures of sets instead of Tarjan's algorithm."""

    def strikes(one: Entry, target: Entry) -> bool:
        entry: Entry = target
        while entry.acting is not None:
            if entry.acting in one.covers and one is not entry and not one.saw(entry):
                return True
            entry = entry.acting
        return False

    undecided = [one for one in roster.entries() if one.statement.kind == REMOVE]
    standing: set[bytes] = set()
    while undecided:
        reached: dict[bytes, set[bytes]] = {}
        for one in undecided:
            found = [one]
            for at in found:
                found += [by for by in undecided if strikes(by, at) and by not in found]
            reached[one.id] = {by.id for by in found}
        free = [one for one in undecided if all(one.id in reached[by] for by in reached[one.id])]
        assert one.acting is not None
        winner = min(free, key=lambda one: (one.acting.depth, one.acting.device, one.id) if one.acting else ())
        standing.add(winner.id)
        undecided = [
            one for one in undecided if one is not winner and not strikes(winner, one) and not strikes(one, winner)
        ]
    return standing


Step = tuple[str, int, int, int]

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "remove", "remove", "vouch", "learn"]),
        st.integers(0, 11),
        st.integers(0, 5),
        st.integers(0, 11),
    ),
    max_size=40,
)


def _told(cast: Cast, steps: list[Step]) -> list[Roster]:
    """Twelve views of one space, two of each of six devices (an honest one and one that lags or lies), after these
    steps.
    """
    start = cast.space_of(0, 1, 2, 3)
    views = [start] * 12
    for what, view, whom, other in steps:
        by, roster = view % 6, views[view]
        device, target = cast.devices[by], cast.devices[whom]
        if what == "learn":
            views[view] = cast.joined(roster, views[other])
        elif what == "vouch" and roster.is_member(device):
            views[view] = cast.say(roster, compose.vouch(roster, device, {}))
        elif what == "admit" and roster.is_admin(device) and not roster.is_member(target):
            views[view] = cast.admit(roster, by, whom)
        elif what == "remove" and roster.is_admin(device) and roster.is_member(target) and by != whom:
            views[view] = cast.remove(roster, by, whom)
    return views


_OFTEN = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_OFTEN
@given(_STEPS)
def test_random_histories_agree_with_the_plain_rule_and_end_no_space(cast: Cast, steps: list[Step]) -> None:
    """Whatever six devices with twelve views do to each other, somebody remains, standing removals strike no
    standing one, and the answer is that of the naive statement of the rule.
    """
    roster = cast.joined(*_told(cast, steps))
    verdict = judge(roster._lineage)
    assert verdict.standing == _naive_standing(roster)
    assert not verdict.standing & verdict.void.keys()
    assert roster.members


@_OFTEN
@given(_STEPS, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_roster(cast: Cast, steps: list[Step], chance: Any) -> None:
    """One by one, in batches, causes last: a function of the set."""
    whole = cast.joined(*_told(cast, steps))
    statements = list(whole.statements)
    chance.shuffle(statements)
    other = type(whole)(whole.space, cast.verify)
    added = []
    while statements:
        size = chance.randint(1, 5)
        other, new = other.with_statements(statements[:size])
        added += new
        statements = statements[size:]
    assert other == whole
    assert other.digest() == whole.digest()
    assert other.heads() == whole.heads()
    assert (other.members, other.removed) == (whole.members, whole.removed)
    assert {one.data for one in added} == {one.data for one in whole.statements}
    assert not other.pending
