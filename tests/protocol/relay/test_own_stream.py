"""What we leave ourselves: each number of the stream tells of what lies under it, whatever came between."""

from __future__ import annotations

from peerd.protocol.relay.leaving import Load
from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.own_stream import OwnStream

MINE, OTHER = b"m" * 16, b"o" * 16


def test_a_number_is_of_what_was_sealed_for_it_first() -> None:
    """It may be there though the answer got lost; what comes next may be something else by then."""
    memory = Memory(stream=b"s" * 16, next=1)
    stream = OwnStream(memory)
    first, second = Load([], [], None, {MINE: [(1, 2)]}), Load([], [], None, {OTHER: [(1, 1)]})
    assert stream.put(first, with_head=False).number == 1
    assert stream.put_again(first) is None, "nothing came between"
    again = stream.put_again(second)
    assert again is not None
    assert (again.number, again.segment) == (1, None)
    assert not stream.segment_put(b"sealed"), "what comes next is yet to be put"
    assert [kept.coverage for kept in memory.segments] == [first.coverage]
    assert stream.put_again(second) is None
    assert stream.put(second, with_head=False).number == 2
    again = stream.put_again(None)
    assert again is not None
    assert again.number == 2
    assert stream.coverage == first.coverage
