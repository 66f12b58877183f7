"""What a fork may do: of a device that was set back there are two histories, and one of the two falls.

Whoever held it takes the other copy and writes again what only its own had, under an origin of its own and with the
old times. So what was written in a history that fell must be there again with its times, unless somebody who had seen
it, or seen it written again, replaced or removed it. What somebody replaced or removed there must be gone. And nothing
is written again that only the history that stands ever had. Where the log of the parting was gone, and whoever was less
far went over, only the first of these holds. Whatever went, somebody had seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from peerd.core import entry
from peerd.core.copy import CopyState
from peerd.core.entry import Kind
from peerd.core.record import Record
from tests.network_simulation.ledger import Node
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World

Name = tuple[str, str]
Value = tuple[Name, str, bytes, int, int]  # of a field, with the time at which it was written first


class Wrong(AssertionError):
    """The history did what the rules forbid."""


class Change(NamedTuple):
    """`bit` is that of its transaction; `seen` has those of the transactions whose effect its writer knew."""

    end: bytes
    seq: int
    origin: bytes
    t_ms: int
    tq: int
    said: entry.Change
    bit: int
    seen: int

    @property
    def is_whole(self) -> bool:
        return self.said.kind in (Kind.PUT, Kind.DELETE)

    @property
    def name(self) -> Name:
        return self.said.record

    def values(self) -> dict[str, Value]:
        return {field: (self.name, field, bytes(raw), self.t_ms, self.tq) for field, raw in self.said.set.items()}

    def overwrites(self, field: str) -> bool:
        """If it has seen a value of that field."""
        is_named = field in self.said.set or field in self.said.drop
        return self.is_whole or (self.said.kind == Kind.PATCH and is_named)


class Forest:
    """All transactions of a space that were ever committed, of whatever history."""

    def __init__(self, nodes: Mapping[bytes, Node]) -> None:
        self.changes: dict[Name, list[Change]] = {}
        self._known: dict[bytes, int] = {}  # what a copy has that has a run, by its end
        self._bits: dict[tuple[bytes, int], list[int]] = {}  # of all that have this dot
        self._count = 0
        short = {(node.run.origin, node.run.last, end[:8]): end for end, node in nodes.items()}
        todo = dict(nodes)
        while todo:
            before = len(todo)
            for end, node in list(todo.items()):
                heads = [short[head] for head in _heads(node)]
                if node.run.first > 1:
                    heads.append(node.before)
                if all(head in self._known for head in heads):
                    self._take(end, node, heads)
                    del todo[end]
            if len(todo) == before:
                raise Wrong("the logs are not causal")

    def _take(self, end: bytes, node: Node, heads: list[bytes]) -> None:
        mask = 0
        for head in heads:
            mask |= self._known[head]
        for seq, data in enumerate(node.run.entries, node.run.first):
            decoded = entry.decode(data)
            bit = 1 << self._count
            self._count += 1
            for change in decoded.changes:
                seen = mask & ~sum(one for dot in set(change.keep) for one in self._bits.get(dot, ()))
                found = Change(end, seq, node.run.origin, decoded.t_ms, decoded.tq, change, bit, seen)
                self.changes.setdefault(found.name, []).append(found)
            self._bits.setdefault((node.run.origin, seq), []).append(bit)
            mask |= bit
        self._known[end] = mask


def _heads(node: Node) -> list[tuple[bytes, int, bytes]]:
    return [(one.origin, one.seq, one.hash8) for one in entry.decode(node.run.entries[0]).delta]


def check_forked(world: World, space: SimSpace, copy: CopyState, records: Mapping[Name, Record]) -> None:
    """All copies are like this one."""
    if not world.was_forked(space):
        return
    standing = frozenset(world.ledger.ends(copy))
    exactly = space.id not in world.ledger.in_doubt
    acknowledged = {(one.end, one.seq) for one in world.acknowledged if one.space == space.id}
    world.counts["of a history that fell"] += sum(end not in standing for end, _ in acknowledged)
    for name, changes in Forest(world.ledger.nodes[space.id]).changes.items():
        kept = [one for one in changes if one.end not in space.lost or one.end in standing]
        for one in kept:
            if one.end not in standing and (one.end, one.seq) in acknowledged:
                _check_accounted_for(one, changes, kept, standing)
            if one.end in standing and (one.end, one.seq) in acknowledged:
                _check_seen_when_it_went(one, kept, records.get(name, Record()))
            if one.end not in standing and exactly:
                _check_carried_out(one, changes, standing, records.get(name, Record()))
        if exactly:
            _check_nothing_invented(changes, standing, acknowledged)


def _check_accounted_for(one: Change, changes: list[Change], kept: list[Change], standing: frozenset[bytes]) -> None:
    """What an acknowledged change of a history that fell wrote."""
    for field, value in one.values().items():
        alike = [other for other in changes if other.values().get(field) == value]
        if any(other.end in standing for other in alike):
            continue
        bits = sum(other.bit for other in alike)
        if not any(later.overwrites(field) and later.seen & bits for later in kept):
            raise Wrong(f"a value of a history that fell is lost: {value}, {one.origin.hex()}:{one.seq}")


def _check_seen_when_it_went(one: Change, kept: list[Change], record: Record) -> None:
    """What an acknowledged change of the history that stands wrote goes only by those who had it."""
    for field in one.said.set:
        if (one.origin, one.seq) in record.fields.get(field, {}):
            continue
        if not any(later.overwrites(field) and later.seen & one.bit for later in kept):
            raise Wrong(
                f"{one.name}: {field} of {one.origin.hex()}:{one.seq} went, and nobody who had seen it wrote there"
            )


def _check_carried_out(one: Change, changes: list[Change], standing: frozenset[bytes], record: Record) -> None:
    """What it replaced or removed is gone."""
    for other in changes:
        if other.end not in standing or not one.seen & other.bit:
            continue
        dot = (other.origin, other.seq)
        left = [field for field in other.said.set if one.overwrites(field) and dot in record.fields.get(field, {})]
        if left or (one.is_whole and dot in record.births):
            raise Wrong(f"{one.name}: {dot} is back, which {one.origin.hex()}:{one.seq} had replaced")


def _check_nothing_invented(
    changes: list[Change], standing: frozenset[bytes], acknowledged: set[tuple[bytes, int]]
) -> None:
    """What only the history that stands had is not written a second time by those who had it."""
    fell = {value for one in changes if one.end not in standing for value in one.values().values()}
    first: dict[Value, int] = {}
    for one in changes:
        if one.end not in standing or one.said.kind == Kind.RESTORE:
            continue
        for value in one.values().values():
            is_again = value in first and (one.seen & first[value]) and (one.end, one.seq) not in acknowledged
            if is_again and value not in fell:
                raise Wrong(f"written again, and only the history that stands had it: {value}")
            first[value] = first.get(value, 0) | one.bit
