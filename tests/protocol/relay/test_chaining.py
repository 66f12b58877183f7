"""What the chain of a stream says of its segments."""

from __future__ import annotations

from collections.abc import Collection

from peerd.protocol.relay.chaining import Chaining, Odd
from peerd.protocol.relay.objects import first_chain, next_chain

STREAM = b"s" * 16
COUNT = 6


def chains() -> list[bytes]:
    """Before number 1, before 2, and so on."""
    found = [first_chain(STREAM)]
    for number in range(1, COUNT + 1):
        found.append(next_chain(found[-1], b"segment %d" % number))
    return found


CHAINS = chains()


def read(numbers: Collection[int], swapped: Collection[int] = ()) -> Chaining:
    chaining = Chaining(STREAM)
    for number in numbers:
        sealed = b"another" if number in swapped else b"segment %d" % number
        chaining.add(number, CHAINS[number - 1], sealed)
    return chaining


def odd(chaining: Chaining, position: int = 1, chain: bytes = CHAINS[0]) -> list[Odd]:
    return chaining.odd(position, chain, COUNT + 1, CHAINS[COUNT])


def test_what_is_as_it_was_left_is_never_odd_whatever_of_it_is_here() -> None:
    for numbers in range(1 << COUNT):
        assert odd(read([one for one in range(1, COUNT + 1) if numbers >> (one - 1) & 1])) == []


def test_whatever_leads_to_the_end_is_proven_and_what_it_does_not_name_is_false() -> None:
    everything = range(1, COUNT + 1)
    for number in everything:
        assert odd(read(everything, {number})) == [Odd(number, false=True)]


def test_of_two_that_are_not_proven_nothing_says_which_is_false() -> None:
    assert odd(read([2, 3], {2})) == [Odd(3, false=False)]
    assert odd(read([3], {3})) == []


def test_what_was_taken_in_goes_on_by_the_chain_at_its_end() -> None:
    chaining = read([1, 2])
    assert chaining.settle(3) == CHAINS[2]
    chaining.add(3, CHAINS[2], b"segment 3")
    assert odd(chaining, 3, CHAINS[2]) == []
    assert odd(chaining, 3, bytes(32)) == [Odd(3, false=False)]
    assert odd(chaining, 3, b"") == []
    assert chaining.settle(5) == b""


def test_only_the_beginning_of_a_stream_is_known_without_reading() -> None:
    assert Chaining(STREAM).start(1) == first_chain(STREAM)
    assert Chaining(STREAM).start(2) == b""
