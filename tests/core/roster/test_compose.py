"""New statements: who may make them, and what they name."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.roster import compose
from peerd.core.roster.statements import DeviceCard, Final, statement_id
from peerd.errors import LocalProtocolError, RemoteProtocolError, UserError

Cast = Any  # the fixture of conftest

NONCE = b"n" * 16


def test_who_may_not_is_told_so_before_anything_is_signed(cast: Cast) -> None:
    """The builders refuse in the words of a person."""
    roster = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    zero, one, two, three = cast.devices[:4]
    with pytest.raises(UserError) as caught:
        compose.admit(roster, two, cast.cards[3])
    assert caught.value.code == "not-admin"
    with pytest.raises(UserError) as caught:
        compose.remove(roster, zero, three, {})
    assert (caught.value.code, str(caught.value)) == ("not-member", f"it is no member of {roster.name}")
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


def test_an_epoch_follows_the_last_one_however_many_have_spoken_beside_it(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member may say much that has not seen it; it is stated again likewise."""
    monkeypatch.setattr(compose, "HEADS", 2)
    start = cast.founded()
    start = cast.admit(cast.say(start, compose.new_epoch(start, cast.devices[0], 1, b"1" * 16, {})), 0, 1)
    noise = [
        cast.say(start, compose.vouch(start, cast.devices[1], {bytes([number]) * 16: Final(1, b"h" * 8)}))
        for number in range(40)
    ]
    stated = cast.say(start, compose.new_epoch(start, cast.devices[0], 2, b"2" * 16, {}))
    roster = cast.joined(*noise, stated)
    assert statement_id(stated.statements[-1].data) not in roster.heads()[:2]
    for number, one in ((3, b"3" * 16), (3, b"3" * 16), (2, b"2" * 16), (4, b"4" * 16)):
        wraps = {cast.devices[0]: bytes([len(roster)])}
        roster = cast.say(roster, compose.new_epoch(roster, cast.devices[0], number, one, wraps))


def test_what_only_one_head_carries_is_seen_too(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others carry the author's admission, and that one does not."""
    monkeypatch.setattr(compose, "HEADS", 2)
    start = cast.founded()
    start = cast.say(start, compose.new_epoch(start, cast.devices[0], 1, b"1" * 16, {}))
    stated = cast.say(start, compose.new_epoch(start, cast.devices[0], 2, b"2" * 16, {}))
    let_in = cast.admit(start, 0, 1)
    noise = [
        cast.say(let_in, compose.vouch(let_in, cast.devices[1], {bytes([number]) * 16: Final(1, b"h" * 8)}))
        for number in range(40)
    ]
    roster = cast.joined(*noise, stated)
    assert statement_id(stated.statements[-1].data) not in roster.heads()[:2]
    cast.say(roster, compose.new_epoch(roster, cast.devices[1], 3, b"3" * 16, {}))
