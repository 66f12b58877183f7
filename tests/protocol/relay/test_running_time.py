"""A scale of time that goes on over restarts."""

from __future__ import annotations

from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.running_time import RunningTime


def test_it_goes_on_where_it_was_kept_last() -> None:
    memory = Memory()
    ran = RunningTime(memory)
    assert ran.at(1_000.0) == 0
    assert ran.at(1_100.0) == 100
    ran.keep(1_100.0)
    assert RunningTime(memory).at(5.0) == 100


def test_the_memory_is_written_anew_once_a_minute_at_most() -> None:
    memory = Memory()
    ran = RunningTime(memory)
    for second in range(240):
        ran.keep(float(second))
        assert memory.ran_s == second // 60 * 60
