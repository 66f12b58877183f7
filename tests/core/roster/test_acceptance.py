"""What is accepted of those who left, and what a member vouches for."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.origin import Announcement, origin_of
from peerd.core.roster import compose
from peerd.core.roster.acceptance import vouches_due
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import Final

Cast = Any  # the fixture of conftest

NONCE = b"n" * 16


def _announced(cast: Cast, roster: Roster, whom: int, nonce: bytes = NONCE) -> Announcement:
    return Announcement(cast.devices[whom], roster.members[cast.devices[whom]].admission, nonce)


def test_a_member_is_accepted_without_limit(cast: Cast) -> None:
    """Any origin of its admission."""
    roster = cast.space_of(0, 1)
    assert roster.limit(_announced(cast, roster, 1)) is None
    assert roster.accepts(_announced(cast, roster, 1, b"m" * 16), 1 << 62)


def test_an_announcement_under_a_foreign_or_unknown_admission_is_not_accepted(cast: Cast) -> None:
    """A device speaks for its own admissions only."""
    roster = cast.space_of(0, 1)
    foreign = Announcement(cast.devices[1], roster.members[cast.devices[0]].admission, NONCE)
    assert roster.limit(foreign) == 0
    assert not roster.accepts(Announcement(cast.devices[1], b"?" * 16, NONCE), 1)


def test_a_removal_ends_each_origin_where_the_remover_stood(cast: Cast) -> None:
    """An origin that it does not name counts 0: a fresh one is no way back in."""
    roster = cast.space_of(0, 1)
    known, fresh = _announced(cast, roster, 1), _announced(cast, roster, 1, b"f" * 16)
    origin = origin_of(roster.space, known)
    after = cast.remove(roster, 0, 1, {origin: Final(7, b"h" * 8)})
    assert (after.limit(known), after.limit(fresh)) == (7, 0)
    assert (after.accepts(known, 7), after.accepts(known, 8)) == (True, False)
    assert after.limit_of(origin, known) == 7


def test_who_leaves_does_not_say_where_its_origins_end(cast: Cast) -> None:
    """It could go on writing; those who have what it wrote say so."""
    roster = cast.space_of(0, 1)
    known = _announced(cast, roster, 1)
    origin = origin_of(roster.space, known)
    left = cast.remove(roster, 1, 1, {origin: Final(1 << 62, b"4" * 8)})
    assert left.limit(known) == 0
    due = vouches_due(left, cast.devices[0], {origin: (4, b"4" * 8)}, {origin: known})
    assert cast.say(left, compose.vouch(left, cast.devices[0], due)).limit(known) == 4


@pytest.mark.parametrize("helped", [False, True])
def test_nobody_vouches_for_what_it_will_write_when_it_is_removed(cast: Cast, *, helped: bool) -> None:
    """Before its removal, to the knowledge of all, or by the removal that another stolen device states: whoever is no
    member has no say.
    """
    roster = cast.space_of(0, 1, 2)
    known = _announced(cast, roster, 2)
    finals = {origin_of(roster.space, known): Final(1 << 62, b"x" * 8)}
    if helped:
        stolen = cast.remove(roster, 1, 2, finals)
        assert stolen.limit(known) == 1 << 62
        removed = cast.remove(stolen, 0, 1)
    else:
        stolen = cast.say(roster, compose.vouch(roster, cast.devices[2], finals))
        removed = cast.remove(stolen, 0, 2)
    assert removed.limit(known) == 0
    assert not removed.accepts(known, 1)


def test_what_a_member_vouched_for_that_left_is_vouched_for_anew(cast: Cast) -> None:
    """By whoever has applied it."""
    roster = cast.space_of(0, 1, 2, 3)
    known = _announced(cast, roster, 3)
    origin = origin_of(roster.space, known)
    removed = cast.remove(roster, 1, 3, {origin: Final(7, b"7" * 8)})
    left = cast.remove(removed, 0, 1)
    assert left.limit(known) == 0
    due = vouches_due(left, cast.devices[2], {origin: (7, b"7" * 8)}, {origin: known})
    assert cast.say(left, compose.vouch(left, cast.devices[2], due)).limit(known) == 7


def test_vouches_raise_and_the_maximum_stands(cast: Cast) -> None:
    """In any order, and never down."""
    roster = cast.space_of(0, 1, 2, 3)
    known = _announced(cast, roster, 3)
    origin = origin_of(roster.space, known)
    removed = cast.remove(roster, 0, 3, {origin: Final(5, b"5" * 8)})
    more = cast.say(removed, compose.vouch(removed, cast.devices[1], {origin: Final(9, b"9" * 8)}))
    less = cast.say(removed, compose.vouch(removed, cast.devices[2], {origin: Final(6, b"6" * 8)}))
    assert cast.joined(more, less).limit(known) == 9
    assert cast.joined(less, more).final(origin) == Final(9, b"9" * 8)


def test_of_two_hashes_at_one_seq_the_smaller_is_named(cast: Cast) -> None:
    """A fork: the same answer everywhere."""
    roster = cast.space_of(0, 1, 2, 3)
    origin = origin_of(roster.space, _announced(cast, roster, 3))
    one = cast.remove(roster, 0, 3, {origin: Final(5, b"b" * 8)})
    two = cast.remove(roster, 1, 3, {origin: Final(5, b"a" * 8)})
    assert cast.joined(one, two).final(origin) == cast.joined(two, one).final(origin) == Final(5, b"a" * 8)


def test_a_second_admission_starts_anew(cast: Cast) -> None:
    """Its origins are other origins; those of the first stay closed, and the device is listed as removed no more."""
    roster = cast.space_of(0, 1)
    before = _announced(cast, roster, 1)
    back = cast.admit(cast.remove(roster, 0, 1), 0, 1)
    after = _announced(cast, back, 1)
    assert origin_of(back.space, before) != origin_of(back.space, after)
    assert (back.limit(before), back.limit(after)) == (0, None)
    assert back.removed == {}
    gone = cast.remove(back, 0, 1)
    assert gone.removed[cast.devices[1]].admission == after.admission


def test_what_is_due_is_exactly_what_is_not_accepted_yet(cast: Cast) -> None:
    """Learning of a removal and vouching is one step, and afterwards nothing is due."""
    roster = cast.space_of(0, 1, 2)
    theirs, ours = _announced(cast, roster, 2), _announced(cast, roster, 1)
    origin, own = origin_of(roster.space, theirs), origin_of(roster.space, ours)
    known = {origin: theirs, own: ours}
    applied = {origin: (8, b"8" * 8), own: (3, b"3" * 8)}
    device = cast.devices[1]
    assert vouches_due(roster, device, applied, known) == {}
    removed = cast.remove(roster, 0, 2, {origin: Final(5, b"5" * 8)})
    due = vouches_due(removed, device, applied, known)
    assert due == {origin: Final(8, b"8" * 8)}
    vouched = cast.say(removed, compose.vouch(removed, device, due))
    assert vouches_due(vouched, device, applied, known) == {}
    assert vouched.limit(theirs) == 8
    assert vouches_due(removed, cast.devices[2], applied, known) == {}


def test_a_guest_of_the_removed_is_vouched_for_too(cast: Cast) -> None:
    """Its admission is void, but what others have applied of it must not cut them off from each other."""
    start = cast.space_of(0, 1, 2)
    guest = cast.admit(start, 2, 3)
    known = _announced(cast, guest, 3)
    origin = origin_of(start.space, known)
    roster = cast.joined(guest, cast.remove(start, 0, 2))
    assert roster.limit(known) == 0
    due = vouches_due(roster, cast.devices[1], {origin: (4, b"4" * 8)}, {origin: known})
    assert cast.say(roster, compose.vouch(roster, cast.devices[1], due)).limit(known) == 4


def test_a_void_vouch_is_made_good_by_those_who_relied_on_it(cast: Cast) -> None:
    """The voucher is removed by somebody who had not seen its vouch; whoever had applied so much vouches now."""
    roster = cast.space_of(0, 1, 2, 3)
    known = _announced(cast, roster, 3)
    origin = origin_of(roster.space, known)
    removed = cast.remove(roster, 0, 3)
    vouched = cast.say(removed, compose.vouch(removed, cast.devices[2], {origin: Final(6, b"6" * 8)}))
    assert vouched.limit(known) == 6
    after = cast.joined(vouched, cast.remove(removed, 0, 2))
    assert after.limit(known) == 0
    assert vouches_due(after, cast.devices[1], {origin: (6, b"6" * 8)}, {origin: known})


def test_of_two_variants_the_one_with_the_smaller_hash_stands(cast: Cast) -> None:
    """Of all that were named behind one end, in whatever order; nothing is bounded by it, and the origin is closed."""
    roster = cast.space_of(0, 1, 2)
    known = _announced(cast, roster, 2)
    origin = origin_of(roster.space, known)
    last = origin, 5, b"5" * 8
    a, b, c = Final(6, b"a" * 8), Final(9, b"b" * 8), Final(6, b"c" * 8)
    one = cast.say(roster, compose.close(roster, cast.devices[0], last, [c, b]))
    (fork,) = one.forks(origin)
    assert (fork.seq, fork.stands, fork.falls) == (5, b, (c,))
    other = cast.say(roster, compose.close(roster, cast.devices[1], last, [a, c]))
    for both in (cast.joined(one, other), cast.joined(other, one)):
        (fork,) = both.forks(origin)
        assert (fork.stands, fork.falls) == (a, (b, c))
        assert both.limit(known) is None
        assert both.closed_forks == (fork,)
    assert (one.is_closed(origin), roster.is_closed(origin)) == (True, False)
    later = cast.say(
        one, compose.close(one, cast.devices[0], (origin, 20, b"x" * 8), [Final(21, b"p" * 8), Final(22, b"q" * 8)])
    )
    assert [fork.seq for fork in later.forks(origin)] == [5, 20]


def test_a_close_by_somebody_whom_a_removal_voids_means_nothing(cast: Cast) -> None:
    roster = cast.space_of(0, 1, 2)
    origin = origin_of(roster.space, _announced(cast, roster, 1))
    ends = [Final(6, b"a" * 8), Final(6, b"b" * 8)]
    closed = cast.say(roster, compose.close(roster, cast.devices[2], (origin, 5, b"5" * 8), ends))
    assert closed.is_closed(origin)
    assert not cast.joined(closed, cast.remove(roster, 0, 2)).is_closed(origin)


@pytest.mark.parametrize(
    "after",
    [
        [],
        [Final(6, b"a" * 8)],
        [Final(6, b"a" * 8), Final(7, b"a" * 8)],  # the same hash is no other history
        [Final(6, b"a" * 8), Final(5, b"b" * 8)],  # not behind the last common one
        [Final(6, b"a" * 8), Final(0, b"b" * 8)],
    ],
)
def test_a_close_that_names_no_two_variants_bounds_nothing(cast: Cast, after: list[Final]) -> None:
    """Any member may state it, and others have applied more: who has not could never come to have the same. Member or
    not; but the origin's device takes another one.
    """
    roster = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    known = _announced(cast, roster, 1)
    origin = origin_of(roster.space, known)
    closed = cast.say(roster, compose.close(roster, cast.devices[2], (origin, 5, b"5" * 8), after))
    assert (closed.limit(known), closed.forks(origin), closed.is_closed(origin)) == (None, (), True)
    removed = cast.remove(closed, 0, 1, {origin: Final(9, b"9" * 8)})
    assert removed.limit(known) == 9
    due = vouches_due(removed, cast.devices[2], {origin: (11, b"x" * 8)}, {origin: known})
    assert due == {origin: Final(11, b"x" * 8)}


def test_keys_of_those_who_left_are_still_known(cast: Cast) -> None:
    """What they wrote must be verified for as long as it is kept."""
    roster = cast.remove(cast.space_of(0, 1), 0, 1)
    assert roster.public_key(cast.devices[1]) == cast.cards[1].public_key
    assert roster.public_key(cast.devices[5]) is None
