"""The chain over the parts of a snapshot."""

from __future__ import annotations

from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay import part_chain
from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.part_chain import KEPT, PartChain

ONE, OTHER = b"1" * 16, b"2" * 16


def test_it_is_of_one_snapshot_and_of_the_parts_in_their_order() -> None:
    chains = {
        part_chain.next_chain(part_chain.next_chain(part_chain.first_chain(snapshot), first), second)
        for snapshot in (ONE, OTHER)
        for first, second in [(b"a", b"b"), (b"b", b"a"), (b"ab", b"")]
    }
    assert len(chains) == 6


def test_where_it_stood_is_remembered_of_the_last_parts_of_one_snapshot() -> None:
    memory = Memory()
    chain = PartChain(memory)
    for number in range(1, 2 * KEPT + 1):
        chain.add(ONE, number, b"%d" % number)
    again = PartChain(relay_memory.decode(relay_memory.encode(memory)))
    assert again.before(ONE, 2 * KEPT) == b"%d" % (2 * KEPT)
    assert again.before(ONE, KEPT + 1) == b"%d" % (KEPT + 1)
    assert again.before(ONE, KEPT) is None
    assert again.before(ONE, 0) == part_chain.first_chain(ONE)
    assert again.before(OTHER, 2 * KEPT) is None
    again.add(OTHER, 1, b"other")
    assert again.before(ONE, 2 * KEPT) is None
    again.forget()
    assert again.before(OTHER, 1) is None
