"""What a copy knows of itself: positions, contexts, origins."""

from __future__ import annotations

from msgspec.structs import replace

from peerd.core.chain import first_hash
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState, OriginState, context_before, dot_after
from peerd.core.origin import Announcement

SPACE, ORIGIN, OTHER = b"s" * 16, b"o" * 16, b"p" * 16
ANNOUNCEMENT = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)


def test_a_known_origin_stands_at_zero_and_is_not_in_the_clock() -> None:
    state = CopyState(SPACE).with_origin(ORIGIN, ANNOUNCEMENT)
    assert state.origins[ORIGIN] == OriginState(ANNOUNCEMENT, 0, first_hash(SPACE, b"d" * 32, ORIGIN), {})
    assert state.clock() == {}
    assert state.positions() == []
    assert state.device_of(ORIGIN) == b"d" * 32
    assert state.device_of(OTHER) is None
    assert (state.seq(ORIGIN), state.seq(OTHER)) == (0, 0)


def test_hearing_of_an_origin_again_changes_nothing() -> None:
    state = CopyState(SPACE).with_origin(ORIGIN, ANNOUNCEMENT)
    moved = replace(state, origins={ORIGIN: replace(state.origins[ORIGIN], seq=3)})
    assert moved.with_origin(ORIGIN, ANNOUNCEMENT) is moved
    assert moved.clock() == {ORIGIN: 3}


def test_a_state_is_a_value() -> None:
    state = CopyState(SPACE)
    state.with_origin(ORIGIN, ANNOUNCEMENT)
    assert state.origins == {}
    assert CopyState(SPACE).origins is not state.origins


def test_positions_carry_eight_bytes_of_the_hash() -> None:
    at = OriginState(ANNOUNCEMENT, 7, b"0123456789abcdef" * 2, {})
    assert CopyState(SPACE, {ORIGIN: at}).positions() == [(ORIGIN, 7, b"01234567")]


def test_a_context_adds_up_and_its_own_origin_stands_one_before() -> None:
    at = OriginState(ANNOUNCEMENT, 7, bytes(32), {OTHER: 2, b"q" * 16: 5})
    assert context_before(at, ORIGIN, {OTHER: 4}) == {OTHER: 4, b"q" * 16: 5, ORIGIN: 7}
    assert at.context == {OTHER: 2, b"q" * 16: 5}
    assert dot_after(at, ORIGIN) == Dot(ORIGIN, 8)
