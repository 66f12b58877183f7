"""What is acknowledged, and when an acknowledgement is answered."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core import digest
from peerd.protocol.acknowledging import Acknowledging
from peerd.protocol.messages import Ack

Factory = Any  # the fixtures of conftest


@pytest.fixture
def desk(copies: Factory) -> Any:
    return copies("desk", "laptop")[0]


def test_what_moved_is_said_once(desk: Any) -> None:
    acks = Acknowledging(desk.roster.space)
    assert acks.news(desk.state) == []
    desk.write("a", "b")
    assert acks.news(desk.state) == [Ack(desk.roster.space, {desk.origin: 2}, digest.summary(desk.state.digest))]
    assert acks.news(desk.state) == []


def test_what_a_summary_said_is_told(desk: Any) -> None:
    acks = Acknowledging(desk.roster.space)
    desk.write("a")
    acks.told(desk.state.clock())
    assert acks.news(desk.state) == []


def test_news_is_what_both_have_and_we_neither_told_nor_sent(desk: Any) -> None:
    acks = Acknowledging(desk.roster.space)
    desk.write("a", "b")
    assert acks.is_news({desk.origin: 1}, desk.state, {})
    assert not acks.is_news({desk.origin: 1}, desk.state, {desk.origin: 1})
    assert acks.is_news({desk.origin: 2}, desk.state, {desk.origin: 1})
    assert not acks.is_news({b"never heard of  ": 9}, desk.state, {})
    acks.told(desk.state.clock())
    assert not acks.is_news({desk.origin: 2}, desk.state, {})
