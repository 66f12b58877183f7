"""How much a roster takes in, and for whom there is room left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.roster import compose, lineage, room
from peerd.core.roster.statements import Final

if TYPE_CHECKING:
    from peerd.core.roster.roster import Roster

Cast = Any  # the fixture of conftest


def _refusals(roster: Roster) -> list[str]:
    return [refusal.code for refusal in roster.refused]


@pytest.mark.parametrize("by_itself", [False, True])
def test_no_author_can_fill_the_roster(cast: Cast, monkeypatch: pytest.MonkeyPatch, *, by_itself: bool) -> None:
    """One member's share is bounded, so that there is room for its removal; an admin's too."""
    monkeypatch.setattr(room, "OF_AN_ADMIN", room.Room(3, 1 << 20))
    roster = cast.space_of(0, 1)
    for _ in range(3):
        roster = cast.say(roster, compose.vouch(roster, cast.devices[1], {}))
    more = cast.signed(compose.vouch(roster, cast.devices[1], {}))
    after, added = roster.with_statements([more], cast.devices[by_itself])
    assert (added, _refusals(after)) == ((), ["roster-full"])
    assert cast.members(cast.remove(after, 0, 1)) == {0}


@pytest.mark.parametrize("few", [room.Room(3, 1 << 20), room.Room(1_000, 1_000)])
def test_who_tells_each_copy_something_else_is_removed_everywhere(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, few: room.Room
) -> None:
    """Each takes in from itself what it has room for, and all of that from the others: what they state rests on it."""
    monkeypatch.setattr(room, "FROM_A_MEMBER", few)
    start = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    told = [start, start]
    for one in (0, 1):
        lies = start
        for number in range(9):
            lies = cast.say(lies, compose.vouch(lies, cast.devices[2], {bytes([one, number]) * 8: Final(1, b"h" * 8)}))
        told[one], taken = start.with_statements(lies.missing_from(start.ids()), cast.devices[2])
        assert 0 < len(taken) < 9
        assert "roster-full" in _refusals(told[one])
    ours, theirs = cast.remove(told[0], 0, 2), told[1]
    both, _ = theirs.with_statements(ours.statements, cast.devices[0])
    assert not both.refused
    assert cast.members(both) == {0, 1}
    assert both == ours.with_statements(theirs.statements, cast.devices[1])[0]


def test_what_had_to_wait_is_no_way_round(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have come by its author, all of it before the first."""
    monkeypatch.setattr(room, "FROM_A_MEMBER", room.Room(3, 1 << 20))
    start = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    lies = start
    for _ in range(9):
        lies = cast.say(lies, compose.vouch(lies, cast.devices[2], {}))
    first, *later = lies.missing_from(start.ids())
    waiting, _ = start.with_statements(later, cast.devices[2])
    assert len(waiting.pending) == 8
    after, added = waiting.with_statements([first], cast.devices[2])
    assert (len(added), _refusals(after)[0]) == (3, "roster-full")


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 9 statements of each device, and for 14 of the guests of one that is one step away from the founder, 12
    two steps away, and so on.
    """
    monkeypatch.setattr(room, "OF_AN_ADMIN", room.Room(9, 1 << 20))
    monkeypatch.setattr(room, "OF_GUESTS", room.Room(16, 1 << 20))
    monkeypatch.setattr(room, "STEPS", 4)


def _fills_its_room(cast: Cast, roster: Roster, thief: int) -> Roster:
    """As much as the thief can state, and the devices that it lets in for that."""
    for accomplice in (5, 6, 7):
        for author in (thief, accomplice):
            for _ in range(9):
                if author in cast.members(roster):
                    roster, _ = roster.with_statements([cast.signed(compose.vouch(roster, cast.devices[author], {}))])
            if author == thief:
                data = compose.admit(roster, cast.devices[thief], cast.cards[accomplice])
                roster, _ = roster.with_statements([cast.signed(data)])
    return roster


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("by", [0, 1])
def test_a_thief_and_the_devices_that_it_lets_in_leave_room_for_its_removal(cast: Cast, by: int) -> None:
    """By the founder, and by whoever came as it did."""
    roster = _fills_its_room(cast, cast.space_of(0, 1, 2), 2)
    assert _refusals(roster) == ["roster-full"]
    assert 2 not in cast.members(cast.remove(roster, by, 2))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("by", [1, 3])
def test_they_leave_room_for_whoever_let_them_in(cast: Cast, by: int) -> None:
    """And for its other guests, though all of them rest on it."""
    start = cast.admit(cast.admit(cast.space_of(0, 1), 1, 2), 1, 3)
    roster = _fills_its_room(cast, start, 2)
    assert _refusals(roster) == ["roster-full"]
    assert 2 not in cast.members(cast.remove(roster, by, 2))


def test_removals_are_counted_apart(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that strike each other take long to judge. The founder's are its own affair."""
    monkeypatch.setattr(room, "REMOVALS", 3)
    start = cast.space_of(0, 1, 2)
    statements = [
        cast.signed(compose.remove(start, cast.devices[1], cast.devices[2], {bytes([number]) * 16: Final(1, b"h" * 8)}))
        for number in range(5)
    ]
    roster, added = start.with_statements(statements)
    assert (len(added), _refusals(roster)) == (2, ["roster-full"] * 3)
    assert cast.members(cast.remove(roster, 0, 1)) == {0}


def test_a_device_has_so_many_admissions(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its statements looks for its own among them."""
    monkeypatch.setattr(lineage, "ADMISSIONS", 2)
    start = cast.space_of(0, 1)
    data = [compose.admit(start, cast.devices[one], cast.cards[2]) for one in (0, 1)]
    roster, _ = start.with_statements([cast.signed(one) for one in data])
    removed = cast.remove(roster, 0, 2)
    again = cast.signed(compose.admit(removed, cast.devices[0], cast.cards[2]))
    after, added = removed.with_statements([again])
    assert (added, _refusals(after)) == ((), ["roster-full"])
