"""One space on one link: every phase, every message in it, and two sessions that meet over a wire of any order."""

from __future__ import annotations

import pytest

from peerd.protocol.session import Phase, Session


def test_a_session_begins_settling_with_nothing_known() -> None:
    session = Session(b"s" * 16, b"t" * 32)
    assert session.phase is Phase.SETTLING
    assert session.blocked is None
    assert session.their_clock == {}


def test_a_refusal_blocks_for_good() -> None:
    session = Session(b"s" * 16, b"t" * 32)
    session.refuse("fork", "two histories")
    assert session.phase is Phase.BLOCKED
    assert session.blocked is not None
    with pytest.raises(AttributeError):
        session.blocked.code = "other"  # type: ignore[misc] # that is the point
