"""What is wanted, with which credit, and until when it is our turn."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.protocol import wanting
from peerd.protocol.effects import CaughtUp, Send
from peerd.protocol.messages import CREDIT_BYTES, Want
from peerd.protocol.their_copy import TheirCopy
from peerd.protocol.wanting import Wanting

Factory = Any  # the fixtures of conftest
SPACE = b"s" * 16
ORIGIN = b"one of theirs..."


def test_the_credit_to_begin_with_is_given_once() -> None:
    one = Wanting(SPACE)
    assert one.begin({}, 0) == Send(Want(SPACE, {}, CREDIT_BYTES, either=True))
    assert one.again({ORIGIN: 1}, either=False) == Send(Want(SPACE, {ORIGIN: 1}, 0, either=False))


def test_a_turn_ends_once_and_when_nearly_all_has_come(copies: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanting, "NEARLY", 5)
    one, theirs, ours = Wanting(SPACE), TheirCopy(), copies("desk", "laptop")[0].state
    assert one.caught_up(theirs, ours) == [], "it is not our turn"
    one.begin({}, 0)
    theirs.know({ORIGIN: 5})
    assert one.caught_up(theirs, ours) == []
    theirs.clock = {ORIGIN: 4}
    assert one.caught_up(theirs, ours) == [CaughtUp()]
    assert one.caught_up(theirs, ours) == []


def test_what_was_refused_since_is_wanted_again_once() -> None:
    one = Wanting(SPACE)
    one.begin({}, 2)
    assert one.what_was_refused({ORIGIN: 1}, 2) == []
    assert one.what_was_refused({ORIGIN: 1}, 3) == [Send(Want(SPACE, {ORIGIN: 1}, 0, either=True))]
    assert one.what_was_refused({ORIGIN: 1}, 3) == []
