"""The sending half of a session: the walk of the log, express, hold, credit and parts."""

from __future__ import annotations

from peerd.protocol.effects import FindPosition
from peerd.protocol.outflow import Outflow


def test_nothing_is_read_before_they_want_it() -> None:
    outflow = Outflow(b"s" * 16)
    assert outflow.committed(10, 0.0, own=True) == []
    assert outflow.credited(1 << 20, 0.0) == []
    assert outflow.wanted({}, 1 << 20) == [FindPosition({})]
