"""Whose head it is, by whose roster."""

from __future__ import annotations

from functools import partial
from typing import Any

from peerd.protocol.relay.head_signatures import is_of_before, is_signed, roster_that_knows
from peerd.protocol.relay.objects import SignedHead, head_signing_input
from tests.core.conftest import Cast, _signature


def _head(cast: Any, space: bytes, by: int, claimed: int) -> SignedHead:
    sign = partial(_signature, cast.cards[by].public_key)
    return SignedHead(cast.devices[claimed], sign(head_signing_input(space, cast.devices[claimed], b"head")), b"head")


def test_a_head_is_its_devices_by_the_key_of_that_in_the_roster() -> None:
    cast = Cast()
    roster = cast.space_of(0, 1)
    assert is_signed(_head(cast, roster.space, 1, 1), roster, cast.verify)
    assert not is_signed(_head(cast, roster.space, 0, 1), roster, cast.verify)
    assert not is_signed(_head(cast, roster.space, 2, 2), roster, cast.verify)
    assert not is_signed(_head(cast, bytes(16), 1, 1), roster, cast.verify)


def test_of_whom_the_roster_knows_nothing_its_head_may_tell() -> None:
    """Nobody else's: what is told beside it is not looked at."""
    cast = Cast()
    roster = cast.space_of(0, 1)
    larger = cast.admit(roster, 1, 2)
    assert roster_that_knows(cast.devices[2], roster, larger.statements) == larger
    assert roster_that_knows(cast.devices[1], roster, larger.statements) is roster


def test_a_head_is_of_before_if_it_does_not_tell_of_the_admission_that_counts() -> None:
    cast = Cast()
    roster = cast.space_of(0, 1, 2)
    gone = cast.remove(roster, 0, 1)
    back = cast.admit(gone, 0, 1)
    device, other = cast.devices[1], cast.devices[2]
    assert is_of_before(device, back, roster.statements)
    assert is_of_before(device, back, gone.statements)
    assert not is_of_before(device, back, back.statements)
    assert not is_of_before(other, back, roster.statements), "it never went"
    assert not is_of_before(device, gone, roster.statements), "it is not back"
    assert not is_of_before(device, roster, ())
