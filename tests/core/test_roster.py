"""The roster as a set that grows, and what is accepted of those who left."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core import compose, lineage
from peerd.core.acceptance import vouches_due
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster import PENDING, Roster
from peerd.core.statements import (
    EPOCH,
    TICKET,
    Admit,
    DeviceCard,
    Epoch,
    Final,
    Remove,
    SignedStatement,
    Vouch,
    encode_statement,
    statement_id,
)
from peerd.errors import LocalProtocolError, RemoteProtocolError, UserError

Cast = Any  # the fixture of conftest

NONCE = b"n" * 16


def _announced(cast: Cast, roster: Roster, whom: int, nonce: bytes = NONCE) -> Announcement:
    return Announcement(cast.devices[whom], roster.members[cast.devices[whom]].admission, nonce)


def _refusals(roster: Roster) -> list[str]:
    return [refusal.code for refusal in roster.refused]


# ---- the set


def test_an_empty_roster_accepts_nobody(cast: Cast) -> None:
    """Before the genesis there is nothing."""
    roster = Roster(b"s" * 16, cast.verify)
    assert (len(roster), roster.members, roster.heads(), roster.name) == (0, {}, (), "")
    assert roster.limit(Announcement(b"d" * 32, b"a" * 16, NONCE)) == 0


def test_members_show_keys_role_depth_and_sponsor(cast: Cast) -> None:
    """All that the rest of peerd asks about a member."""
    roster = cast.admit(cast.admit(cast.founded(), 0, 1), 1, 2, "member")
    two = roster.members[cast.devices[2]]
    assert (two.public_key, two.sealing_key, two.name) == tuple(
        getattr(cast.cards[2], key) for key in ("public_key", "sealing_key", "name")
    )
    assert (two.role, two.depth, two.admitted_by) == ("member", 2, cast.devices[1])
    assert roster.members[cast.devices[0]].depth == 0
    assert roster.is_admin(cast.devices[1])
    assert not roster.is_admin(cast.devices[2])
    assert roster.name == "home"


def test_a_roster_is_a_value(cast: Cast) -> None:
    """Growing gives another one; the first stays as it was."""
    before = cast.space_of(0, 1)
    digest = before.digest()
    after = cast.admit(before, 0, 2)
    assert (cast.members(before), before.digest()) == ({0, 1}, digest)
    assert after != before
    assert after.digest() != digest
    assert hash(cast.joined(before, after)) == hash(after)


def test_statements_come_causes_first_and_only_once(cast: Cast) -> None:
    """What `added` names is what a store has to keep, in that order."""
    roster = cast.space_of(0, 1, 2)
    fresh = Roster(roster.space, cast.verify)
    larger, added = fresh.with_statements([*reversed(roster.statements), *roster.statements])
    assert added == roster.statements
    assert larger.with_statements(added)[1] == ()


def test_a_statement_waits_for_what_it_names(cast: Cast) -> None:
    """It is no part of the roster until then: neither of its digest nor of its heads."""
    roster = cast.space_of(0, 1)
    genesis, admission = roster.statements
    early, added = Roster(roster.space, cast.verify).with_statements([admission])
    assert added == ()
    assert (early.pending, len(early), early.heads()) == ((admission,), 0, ())
    late, added = early.with_statements([genesis])
    assert added == (genesis, admission)
    assert late == roster
    assert late.pending == ()


def test_what_waits_is_bounded(cast: Cast) -> None:
    """A peer cannot fill the memory with statements that name what nobody has."""
    device = cast.devices[0]
    loose = [
        cast.signed(encode_statement(128, b"s" * 16, device, (i.to_bytes(16, "big"),), Vouch()))
        for i in range(PENDING + 10)
    ]
    roster, _ = Roster(b"s" * 16, cast.verify).with_statements(loose)
    assert len(roster.pending) == PENDING


def test_missing_from_names_what_the_other_side_lacks(cast: Cast) -> None:
    """Causes first, so that nothing has to wait there."""
    small = cast.space_of(0, 1)
    large = cast.admit(cast.admit(small, 0, 2), 2, 3)
    missing = large.missing_from(small.ids())
    assert missing == large.statements[2:]
    assert small.with_statements(missing)[0] == large
    assert small.missing_from(large.ids()) == ()


def test_heads_are_what_nothing_follows(cast: Cast) -> None:
    """Two that spoke at once leave two; the next statement joins them."""
    start = cast.space_of(0, 1)
    both = cast.joined(cast.admit(start, 0, 2), cast.admit(start, 1, 3))
    assert len(both.heads()) == 2
    assert list(both.heads()) == sorted(both.heads())
    assert len(cast.admit(both, 0, 4).heads()) == 1


# ---- what is taken in


def test_a_wrong_signature_is_refused_and_the_right_one_taken_later(cast: Cast) -> None:
    """A forged signature does not keep the statement out for good."""
    roster = cast.space_of(0, 1)
    right = cast.signed(compose.admit(roster, cast.devices[0], cast.cards[2]))
    wrong = SignedStatement(right.data, b"x" * 64)
    after, added = roster.with_statements([wrong])
    assert (added, _refusals(after)) == ((), ["bad-signature"])
    after, added = after.with_statements([wrong, right])
    assert added == (right,)


def test_one_bad_statement_does_not_keep_the_others_out(cast: Cast) -> None:
    """A removal must get through, whatever stands beside it."""
    roster = cast.space_of(0, 1)
    removal = cast.signed(compose.remove(roster, cast.devices[0], cast.devices[1], {}))
    after, added = roster.with_statements([SignedStatement(b"\xc1", b"x" * 64), removal])
    assert added == (removal,)
    assert _refusals(after) == ["bad-statement"]


def test_a_stranger_cannot_speak(cast: Cast) -> None:
    """Its heads show no admission of it."""
    roster = cast.space_of(0, 1)
    data = encode_statement(4, roster.space, cast.devices[5], roster.heads(), Vouch())
    after, _ = roster.with_statements([cast.signed(data)])
    assert _refusals(after) == ["bad-statement"]


def test_an_admission_speaks_only_for_what_follows_it(cast: Cast) -> None:
    """A member that names heads older than its own admission says nothing."""
    genesis = cast.founded()
    roster = cast.admit(genesis, 0, 1)
    data = encode_statement(4, roster.space, cast.devices[1], genesis.heads(), Vouch())
    after, added = roster.with_statements([cast.signed(data)])
    assert (added, _refusals(after)) == ((), ["bad-statement"])


@pytest.mark.parametrize("kind", [2, 3, 5, TICKET])
def test_a_plain_member_may_not_do_what_admins_do(cast: Cast, kind: int) -> None:
    """Admit, remove, make epochs or tickets; it may vouch."""
    roster = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    bodies = {
        2: Admit(cast.cards[3]),
        3: Remove(cast.devices[1], roster.members[cast.devices[1]].admission),
        5: Epoch(1, b"e" * 16),
        TICKET: Vouch(),
    }
    data = encode_statement(kind, roster.space, cast.devices[2], roster.heads(), bodies[kind])
    after, _ = roster.with_statements([cast.signed(data)])
    assert _refusals(after) == ["bad-statement"]
    cast.say(roster, compose.vouch(roster, cast.devices[2], {}))


def test_a_statement_of_another_space_is_refused(cast: Cast) -> None:
    """Nothing can be carried from one space to the next, not even by its author."""
    home, work = cast.space_of(0, 1), cast.founded(1, "work")
    after, added = home.with_statements(work.statements)
    assert (added, _refusals(after)) == ((), ["bad-statement"])


def test_a_removal_of_something_unseen_is_refused(cast: Cast) -> None:
    """It must name an admission among its ancestors, of the very device."""
    roster = cast.space_of(0, 1, 2)
    wrong = Remove(cast.devices[1], roster.members[cast.devices[2]].admission)
    data = encode_statement(3, roster.space, cast.devices[0], roster.heads(), wrong)
    assert _refusals(roster.with_statements([cast.signed(data)])[0]) == ["bad-statement"]


def test_optional_kinds_are_kept_and_handed_on(cast: Cast) -> None:
    """They have no effect here, and others may know them."""
    roster = cast.space_of(0, 1)
    data = encode_statement(200, roster.space, cast.devices[1], roster.heads(), Vouch())
    after = cast.say(roster, data)
    assert after.members == roster.members
    assert after.heads() == (statement_id(data),)
    assert after.missing_from(roster.ids())[0].data == data


def test_no_author_can_fill_the_roster(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member's share is bounded, so that there is room for its removal."""
    monkeypatch.setattr(lineage, "STATEMENTS_PER_AUTHOR", 3)
    roster = cast.space_of(0, 1)
    for _ in range(3):
        roster = cast.say(roster, compose.vouch(roster, cast.devices[1], {}))
    more = cast.signed(compose.vouch(roster, cast.devices[1], {}))
    after, added = roster.with_statements([more])
    assert (added, _refusals(after)) == ((), ["roster-full"])
    assert cast.members(cast.remove(after, 0, 1)) == {0}


def test_depth_is_bounded(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of admissions has an end, and so has every walk along it."""
    monkeypatch.setattr(lineage, "DEPTH", 2)
    roster = cast.admit(cast.admit(cast.founded(), 0, 1), 1, 2)
    with pytest.raises(AssertionError, match="more than 2 admissions"):
        cast.admit(roster, 2, 3)


def test_epochs_follow_each_other(cast: Cast) -> None:
    """The first stands on the genesis, the next is one more than all before: no number is out of reach."""
    late = cast.space_of(0, 1)
    with pytest.raises(AssertionError, match="stands on the genesis"):
        cast.say(late, compose.new_epoch(late, cast.devices[0], 1, b"1" * 16, {}))
    roster = cast.founded()
    roster = cast.say(roster, compose.new_epoch(roster, cast.devices[0], 1, b"1" * 16, {}))
    roster = cast.admit(roster, 0, 1)
    with pytest.raises(AssertionError, match="epoch 9 does not follow epoch 1"):
        cast.say(roster, compose.new_epoch(roster, cast.devices[1], 9, b"2" * 16, {}))
    roster = cast.say(roster, compose.new_epoch(roster, cast.devices[1], 2, b"2" * 16, {}))
    again = compose.new_epoch(roster, cast.devices[0], 1, b"1" * 16, {cast.devices[1]: b"sealed"})
    assert len(cast.say(roster, again)) == len(roster) + 1
    assert EPOCH == 5


# ---- who may speak


def test_who_may_not_is_told_so_before_anything_is_signed(cast: Cast) -> None:
    """The builders refuse in the words of a person."""
    roster = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    zero, one, two, three = cast.devices[:4]
    with pytest.raises(UserError) as caught:
        compose.admit(roster, two, cast.cards[3])
    assert caught.value.code == "not-admin"
    with pytest.raises(UserError) as caught:
        compose.remove(roster, zero, three, {})
    assert caught.value.code == "not-member"
    with pytest.raises(UserError) as caught:
        compose.admit(roster, zero, cast.cards[1])
    assert caught.value.code == "already-member"
    with pytest.raises(UserError) as caught:
        compose.admit(roster, one, DeviceCard(b"9" * 32, b"9" * 32, "bell\a"))
    assert caught.value.code == "bad-name"
    with pytest.raises(UserError):
        compose.found_space(" ", cast.cards[0], NONCE)


def test_what_others_would_refuse_is_never_signed(cast: Cast) -> None:
    """A builder's bytes are decoded once before they leave it."""
    roster = cast.space_of(0, 1)
    finals = {i.to_bytes(16, "big"): Final(1, b"h" * 8) for i in range(1_025)}
    with pytest.raises((RemoteProtocolError, LocalProtocolError)):
        compose.vouch(roster, cast.devices[0], finals)


def test_of_too_many_heads_those_are_named_that_carry_the_statement(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many spoke at once; the author's admission and the target's are still seen."""
    monkeypatch.setattr(compose, "HEADS", 2)
    start = cast.founded()
    views = [cast.admit(start, 0, one) for one in (1, 2, 3, 4, 5)]
    roster = cast.joined(*views)
    assert len(roster.heads()) == 5
    after = cast.remove(roster, 4, 2)
    assert cast.members(after) == {0, 1, 3, 4, 5}


# ---- what is accepted


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


def test_who_leaves_says_where_its_origins_end(cast: Cast) -> None:
    """Its own removal counts, with what it names."""
    roster = cast.space_of(0, 1)
    known = _announced(cast, roster, 1)
    left = cast.remove(roster, 1, 1, {origin_of(roster.space, known): Final(4, b"4" * 8)})
    assert left.limit(known) == 4


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


def test_a_closed_origin_ends_for_everybody(cast: Cast) -> None:
    """Member or not; of two closes the earlier; and no vouch opens it again."""
    roster = cast.space_of(0, 1, 2)
    known = _announced(cast, roster, 2)
    origin = origin_of(roster.space, known)
    closed = cast.say(roster, compose.close(roster, cast.devices[0], (origin, 6, b"6" * 8), (b"b" * 8, b"a" * 8)))
    closed = cast.say(closed, compose.close(closed, cast.devices[1], (origin, 5, b"5" * 8), ()))
    assert closed.limit(known) == 5
    assert closed.closed(origin).seq == 5
    removed = cast.remove(closed, 0, 2, {origin: Final(9, b"9" * 8)})
    assert removed.limit(known) == 5
    assert vouches_due(removed, cast.devices[1], {origin: (9, b"9" * 8)}, {origin: known}) == {}
    lower = cast.remove(closed, 0, 2, {origin: Final(2, b"2" * 8)})
    assert lower.limit(known) == 2


def test_keys_of_those_who_left_are_still_known(cast: Cast) -> None:
    """What they wrote must be verified for as long as it is kept."""
    roster = cast.remove(cast.space_of(0, 1), 0, 1)
    assert roster.public_key(cast.devices[1]) == cast.cards[1].public_key
    assert roster.public_key(cast.devices[5]) is None
