"""Key epochs: which secret is in use, and who lacks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.roster import compose, epochs

if TYPE_CHECKING:
    from peerd.core.roster.roster import Roster

Cast = Any  # the fixture of conftest

SECRETS = [bytes([i]) * 32 for i in range(4)]


def _state(cast: Cast, roster: Roster, by: int, number: int, *to: int, secret: int = 0) -> Roster:
    """Device `by` states the epoch with that number, sealed to these devices."""
    wraps = {cast.devices[one]: b"sealed to %d" % one for one in to}
    one = epochs.epoch_id(roster.space, SECRETS[secret or number])
    data = compose.new_epoch(roster, cast.devices[by], number, one, wraps)
    return cast.say(roster, data)  # type: ignore[no-any-return] # the fixture is untyped here


def _admit_with(cast: Cast, roster: Roster, by: int, whom: int) -> Roster:
    wraps = {one.id: b"sealed to %d" % whom for one in epochs.epochs(roster)}
    data = compose.admit(roster, cast.devices[by], cast.cards[whom], wraps=wraps)
    return cast.say(roster, data)  # type: ignore[no-any-return] # the fixture is untyped here


def _number(roster: Roster) -> int | None:
    now = epochs.current(roster)
    return now.number if now else None


def _home(cast: Cast) -> Roster:
    roster = _state(cast, cast.founded(), 0, 1, 0)
    return _admit_with(cast, _admit_with(cast, roster, 0, 1), 0, 2)


def test_a_space_without_an_epoch_has_none_in_use(cast: Cast) -> None:
    """Nothing is announced, and the next number is the first."""
    roster = cast.founded()
    assert (epochs.current(roster), epochs.announced(roster), epochs.first(roster)) == (None, [], None)
    assert epochs.next_number(roster) == 1


def test_the_founders_epoch_reaches_those_who_come_later(cast: Cast) -> None:
    """By the wraps in their admissions."""
    roster = _home(cast)
    now = epochs.current(roster)
    assert now is not None
    assert now.recipients == {cast.devices[one] for one in (0, 1, 2)}
    assert epochs.wraps_to(roster, cast.devices[2]) == [(now.id, b"sealed to 2")]
    assert epochs.without_wrap(roster, now) == []


def test_after_a_removal_nothing_is_sealed_before_a_new_epoch(cast: Cast) -> None:
    """The removed device knows the old secret; the new one it never gets."""
    roster = cast.remove(_home(cast), 0, 2)
    assert _number(roster) is None
    rotated = _state(cast, roster, 0, epochs.next_number(roster), 0, 1)
    assert _number(rotated) == 2
    assert epochs.wraps_to(rotated, cast.devices[2])[0][0] == epochs.epoch_id(roster.space, SECRETS[1])
    assert len(epochs.wraps_to(rotated, cast.devices[2])) == 1


def test_an_epoch_of_the_removed_is_not_used(cast: Cast) -> None:
    """Neither one that it made before, nor one that it made at the same time for others only."""
    start = _home(cast)
    rival = _state(cast, start, 2, 2, 0, 1)
    assert _number(rival) == 2
    assert _number(cast.remove(rival, 0, 2)) is None
    joined = cast.joined(rival, _state(cast, cast.remove(start, 0, 2), 0, 2, 0, 1, secret=3))
    now = epochs.current(joined)
    assert now is not None
    assert now.id == epochs.epoch_id(start.space, SECRETS[3])
    assert [one.number for one in epochs.epochs(joined)] == [1, 2]


def test_an_epoch_that_a_removed_device_was_given_is_not_used(cast: Cast) -> None:
    """Even by a void admission: what it was once given it has."""
    start = _home(cast)
    guest = _admit_with(cast, start, 2, 3)
    roster = cast.joined(guest, _state(cast, cast.remove(start, 0, 2), 0, 2, 0, 1, 3))
    assert _number(roster) is None


def test_of_two_concurrent_epochs_the_larger_is_used(cast: Cast) -> None:
    """By (number, id), so everybody picks the same."""
    start = _home(cast)
    one = _state(cast, start, 0, 2, 0, 1, 2)
    other = _state(cast, start, 1, 2, 0, 1, 2, secret=3)
    both = cast.joined(one, other)
    now = epochs.current(both)
    assert now is not None
    assert now.id == max(epochs.epoch_id(start.space, SECRETS[i]) for i in (2, 3))
    assert epochs.next_number(both) == 3


def test_who_was_admitted_at_the_same_time_lacks_the_epoch_until_it_is_stated_again(cast: Cast) -> None:
    """Anybody who has it may seal it to them."""
    start = _home(cast)
    roster = cast.joined(_state(cast, start, 0, 2, 0, 1, 2), _admit_with(cast, start, 1, 3))
    now = epochs.current(roster)
    assert now is not None
    assert [member.device for member in epochs.without_wrap(roster, now)] == [cast.devices[3]]
    again = _state(cast, roster, 1, 2, 3)
    now = epochs.current(again)
    assert now is not None
    assert epochs.without_wrap(again, now) == []
    assert (now.id, b"sealed to 3") in epochs.wraps_to(again, cast.devices[3])


def test_the_epoch_before_is_announced_too(cast: Cast) -> None:
    """Members are recognised who have not heard of the change; while a new one is due, the newest is used."""
    roster = _home(cast)
    assert [one.number for one in epochs.announced(roster)] == [1]
    roster = cast.remove(roster, 0, 2)
    assert [one.number for one in epochs.announced(roster)] == [1]
    roster = _state(cast, roster, 0, 2, 0, 1)
    assert [one.number for one in epochs.announced(roster)] == [2, 1]
    first = epochs.first(roster)
    assert first is not None
    assert first.number == 1


def test_of_two_concurrent_epochs_one_is_announced_and_the_one_before_both(cast: Cast) -> None:
    """Whoever has not heard of the change, and may stay where others went, knows that alone."""
    start = _home(cast)
    removed = cast.remove(start, 0, 2)
    both = cast.joined(_state(cast, removed, 0, 2, 0, 1), _state(cast, removed, 1, 2, 0, 1, secret=3))
    assert [one.number for one in epochs.epochs(both)] == [1, 2, 2]
    assert epochs.announced(both) == [epochs.current(both), epochs.first(both)]


def test_keys_differ_by_purpose_space_and_secret() -> None:
    """And the id of an epoch gives none of them away."""
    made = {
        derive(space, secret)
        for derive in (epochs.discovery_key, epochs.names_key, epochs.epoch_id)
        for space in (b"s" * 16, b"t" * 16)
        for secret in SECRETS[:2]
    }
    assert len(made) == 12
    assert len({epochs.wrap_info(b"s" * 16, e * 16, d * 32) for e in (b"1", b"2") for d in (b"1", b"2")}) == 4


def test_a_newcomer_is_given_what_a_statement_has_room_for(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a member has stated very many: the first, from which names come, and the last ones. One at a time all get
    a new one.
    """
    roster = _home(cast)
    for number in (2, 3):
        roster = _state(cast, roster, 0, number, 0)
    ids = [one.id for one in epochs.epochs(roster)]
    assert epochs.handed_on(roster, reversed(ids)) == ids
    assert epochs.handed_on(roster, []) == []
    monkeypatch.setattr(epochs, "WRAPS_AT_ONCE", 2)
    assert epochs.handed_on(roster, ids) == [ids[0], ids[2]]
    assert epochs.handed_on(roster, ids[1:]) == ids[1:]
    monkeypatch.setattr(epochs, "WRAPS_AT_ONCE", 1)
    now = epochs.current(roster)
    assert now is not None
    assert [one.device for one in epochs.without_wrap(roster, now)] == [cast.devices[1]]
