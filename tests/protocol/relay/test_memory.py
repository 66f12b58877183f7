"""What a courier remembers."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay.memory import HeadMark, Heard, Kept, Known, Litter, Memory, Told
from peerd.protocol.relay.objects import Manifest

ID, LONG = b"i" * 16, b"d" * 32


def full() -> Memory:
    mark = HeadMark(3, 5, ID, 3, 1, LONG, b"r", b"", [(LONG, ID, 4)], {ID: 2}, "tag")
    return Memory(
        copy_id=ID, counter=3, stream=ID, next=3, chain=LONG, put=mark, putting=[replace(mark, counter=4)],
        segments=[Kept(100, {ID: [(1, 2)]}), Kept(200, {ID: [(3, 9)]}, more=True)], in_flight=Kept(0, {}),
        known={LONG: Known(7, ID, 3, 4, 2, ID, 5, 6, {3: 900})}, snapshot=Manifest(ID, 2, 3, LONG, {ID: 1}),
        litter=[Litter("part", ID, 0, 9)], lost=[(LONG, ID, 4)], marks={ID: 2}, marks_of=ID,
        heard=[Heard(LONG, (LONG, ID, 4), 60, 7, 90)], ran_s=960, failing_s=60,
        taking_of=ID, taking={4: LONG}, told=[Told(LONG, ID, [1, 2], 70)], in_order={ID: {1: 60}},
    )  # fmt: skip


def test_what_is_remembered_comes_back() -> None:
    memory = full()
    assert relay_memory.decode(relay_memory.encode(memory)) == memory


def test_a_memory_that_contradicts_itself_counts_as_none() -> None:
    assert relay_memory.decode(relay_memory.encode(replace(full(), next=9))) == Memory()
    assert relay_memory.decode(relay_memory.encode(replace(full(), format=2))) == Memory()
    assert relay_memory.decode(None) == Memory()


def test_a_memory_of_an_earlier_version_is_read() -> None:
    """It did not know of which membership it was."""
    told = msgspec.msgpack.decode(relay_memory.encode(full()), strict=False)
    (known,) = told["known"].values()
    assert known.pop() == b""
    assert relay_memory.decode(msgspec.msgpack.encode(told)) == full()


def test_litter_is_bounded() -> None:
    memory = Memory()
    for number in range(2 * relay_memory.LITTER):
        relay_memory.throw_away(memory, Litter("part", ID, number, number))
    assert len(memory.litter) == relay_memory.LITTER
    relay_memory.throw_away(memory, Litter("part", b"", 0, -1))
    assert memory.litter[-1].first == 2 * relay_memory.LITTER - 1
