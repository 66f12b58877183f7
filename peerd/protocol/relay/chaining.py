"""Is what lies under the numbers of a stream what its writer left there? What the chain of the stream says of it.

A segment names the chain before it, and its stored bytes give the one after it. A signed head names the chain at the
end of its stream. So, of the segments that are here:

    the last one gives what the head says                  it is the one that was left: proven, and so is what it names
    the one before a proven one does not give what that names   it is another one: false
    two that are not proven do not follow each other       one of them is another one; nothing says which

What was taken in goes on being remembered by the chain at its end.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.protocol.relay.objects import first_chain, next_chain


class _Link(Struct):
    before: bytes
    after: bytes


class Odd(Struct, frozen=True):
    """What is wrong with a number. `false`: another segment lies there than its writer left; otherwise it or the one
    before it is another one.
    """

    number: int
    false: bool


class Chaining:
    """Of one stream; `_links` are of the segments that are here and not taken in."""

    def __init__(self, stream: bytes) -> None:
        self._first = first_chain(stream)
        self._links: dict[int, _Link] = {}

    def add(self, number: int, before: bytes, sealed: bytes) -> None:
        self._links[number] = _Link(before, next_chain(before, sealed))

    def drop(self, number: int) -> None:
        self._links.pop(number, None)

    def clear(self) -> None:
        self._links.clear()

    def settle(self, position: int) -> bytes:
        """Everything before `position` is taken in. Gives the chain there, b"" if it is not known."""
        link = self._links.get(position - 1)
        for number in [number for number in self._links if number < position]:
            del self._links[number]
        return link.after if link else b""

    def start(self, number: int) -> bytes:
        """The chain before a number of which nothing is known: b"", but for the first."""
        return self._first if number == 1 else b""

    def odd(self, position: int, chain: bytes, end: int, end_chain: bytes) -> list[Odd]:
        """What does not belong where it is. `chain` is that before `position`, `end_chain` that before `end`, as a head
        says.
        """
        found: list[Odd] = []
        proven, named = end_chain, b""  # what comes next names this: a proven one, one that is not
        expected = end - 1
        for number in sorted((one for one in self._links if position <= one < end), reverse=True):
            link = self._links[number]
            if number != expected:
                proven = named = b""
            expected = number - 1
            if proven and link.after != proven:
                found.append(Odd(number, false=True))
                proven = named = b""
                continue
            if named and link.after != named:
                found.append(Odd(number + 1, false=False))
            proven, named = (link.before, b"") if proven else (b"", link.before)
        begins = proven or named
        if expected == position - 1 < end - 1 and begins and chain and begins != chain:
            found.append(Odd(position, false=False))
        return found
