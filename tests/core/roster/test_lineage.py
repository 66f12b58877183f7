"""Which statements are taken in: what a statement and its ancestors alone decide."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.roster import compose, lineage
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import (
    EPOCH,
    TICKET,
    Admit,
    Epoch,
    Remove,
    SignedStatement,
    Ticket,
    Vouch,
    encode_statement,
    statement_id,
)

Cast = Any  # the fixture of conftest


def _refusals(roster: Roster) -> list[str]:
    return [refusal.code for refusal in roster.refused]


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
        TICKET: Ticket(b"t" * 32, 1),
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
