"""In which order records are placed: those that others need first, then the oldest birth.

Nodes are anything hashable. Nothing here recurses, since a chain of replies may be as long as its table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

Node = TypeVar("Node", bound=Hashable)


class Unit(NamedTuple, Generic[Node]):
    """Nodes that need each other in a circle, or one alone. `depth` is the length of the longest way down to a unit
    that needs no other.
    """

    members: tuple[Node, ...]
    depth: int
    circular: bool


class Units(Generic[Node]):
    """The units of a graph that is looked at as far as it is asked about: Tarjan's algorithm (1972), with a stack of
    its own. `needs` gives the nodes that one needs; what it answers must not change.
    """

    def __init__(self, needs: Callable[[Node], Iterable[Node]]) -> None:
        self._needs = needs
        self._units: dict[Node, Unit[Node]] = {}
        self._all: list[Unit[Node]] = []

    def of(self, node: Node) -> Unit[Node]:
        """The unit of a node. Afterwards the units of all that it needs are known, too."""
        if node not in self._units:
            self._search(node)
        return self._units[node]

    def in_order(self, nodes: Iterable[Node]) -> list[Unit[Node]]:
        """The units of `nodes` and of all they need, each after those it needs."""
        for node in nodes:
            self.of(node)
        return self._all

    def _search(self, root: Node) -> None:
        numbers: dict[Node, int] = {}
        low: dict[Node, int] = {}
        needed: dict[Node, tuple[Node, ...]] = {}
        open_nodes: list[Node] = []
        ways: list[tuple[Node, Iterator[Node]]] = []

        def enter(node: Node) -> None:
            numbers[node] = low[node] = len(numbers)
            needed[node] = tuple(self._needs(node))
            open_nodes.append(node)
            ways.append((node, iter(needed[node])))

        enter(root)
        while ways:
            node, rest = ways[-1]
            following = next((one for one in rest if one not in self._units), None)
            if following is None:
                ways.pop()
                if ways:
                    low[ways[-1][0]] = min(low[ways[-1][0]], low[node])
                if low[node] == numbers[node]:
                    self._close(node, open_nodes, needed)
            elif following in numbers:
                low[node] = min(low[node], numbers[following])
            else:
                enter(following)

    def _close(self, node: Node, open_nodes: list[Node], needed: dict[Node, tuple[Node, ...]]) -> None:
        members = [open_nodes.pop()]
        while members[-1] != node:
            members.append(open_nodes.pop())
        inside = set(members)
        below = [self._units[one].depth for member in members for one in needed[member] if one not in inside]
        circular = len(members) > 1 or node in needed[node]
        unit = Unit(tuple(members), 1 + max(below) if below else 0, circular)
        self._units.update(dict.fromkeys(members, unit))
        self._all.append(unit)
