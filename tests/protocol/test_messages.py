"""The shapes of messages: their types, what is optional, and the bounds of every value."""

from __future__ import annotations

from peerd.protocol import messages


def test_no_two_messages_have_one_type() -> None:
    assert len({kind.type for kind in messages.ALL}) == len(messages.ALL)
