"""The roster as a set that grows, and who belongs to it."""

from __future__ import annotations

from typing import Any

from peerd.core.origin import Announcement
from peerd.core.roster.roster import PENDING, Roster
from peerd.core.roster.statements import Vouch, encode_statement

Cast = Any  # the fixture of conftest

NONCE = b"n" * 16


def _refusals(roster: Roster) -> list[str]:
    return [refusal.code for refusal in roster.refused]


def test_an_empty_roster_accepts_nobody(cast: Cast) -> None:
    """Before the genesis there is nothing."""
    roster = Roster(b"s" * 16, cast.verify)
    assert (len(roster), roster.members, roster.heads(), roster.name) == (0, {}, (), "")
    assert roster.limit(Announcement(b"d" * 32, b"a" * 16, NONCE)) == 0


def test_of_those_that_were_removed_the_last_ones_are_told(cast: Cast) -> None:
    """In the order in which their removals came in, the other way round."""
    roster = cast.founded()
    for number in (1, 2, 3):
        roster = cast.admit(roster, 0, number)
    for number in (2, 3, 1):
        roster = cast.remove(roster, 0, number)
    assert roster.removed_last(2) == (cast.devices[1], cast.devices[3])
    assert len(roster.removed_last(9)) == 3


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


def test_up_to_is_what_somebody_needs_who_is_to_believe_a_statement(cast: Cast) -> None:
    """Its author knew no more; what others said at the same time, and what came later, is left out."""
    before = cast.space_of(0, 1)
    beside = cast.admit(before, 1, 2)
    roster = cast.joined(cast.admit(before, 0, 3), beside)
    (statement,) = (one for one in cast.admit(before, 0, 3).heads())
    needed = roster.up_to(statement)
    fresh, added = Roster(roster.space, cast.verify).with_statements(needed)
    assert added == needed
    assert cast.members(fresh) == {0, 1, 3}
    assert cast.members(cast.joined(cast.admit(roster, 0, 4), roster)) == {0, 1, 2, 3, 4}


def test_heads_are_what_nothing_follows(cast: Cast) -> None:
    """Two that spoke at once leave two; the next statement joins them."""
    start = cast.space_of(0, 1)
    both = cast.joined(cast.admit(start, 0, 2), cast.admit(start, 1, 3))
    assert len(both.heads()) == 2
    assert list(both.heads()) == sorted(both.heads())
    assert len(cast.admit(both, 0, 4).heads()) == 1
