"""What needs what, and which circles there are."""

from __future__ import annotations

import random

import pytest

from peerd.tables.ordering import Units


def reachable(needs: dict[int, list[int]], start: int) -> set[int]:
    found: set[int] = set()
    new = set(needs[start])
    while new:
        found |= new
        new = {far for near in new for far in needs[near]} - found
    return found


@pytest.mark.parametrize("seed", range(60))
def test_circles_and_depths_of_random_graphs(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randrange(1, 12)
    needs = {node: [chance.randrange(size) for _ in range(chance.choice((0, 1, 1, 2)))] for node in range(size)}
    units = Units(needs.__getitem__)
    nodes = list(needs)
    chance.shuffle(nodes)
    below = {node: reachable(needs, node) for node in needs}
    for node in nodes:
        unit = units.of(node)
        assert set(unit.members) == {node} | {other for other in below[node] if node in below[other]}
        assert unit.circular == (node in below[node])
        outside = {needed for member in unit.members for needed in needs[member]} - set(unit.members)
        assert unit.depth == max((1 + units.of(needed).depth for needed in outside), default=0)
    order = units.in_order(nodes)
    assert sorted(member for unit in order for member in unit.members) == sorted(needs)
    placed: set[int] = set()
    for unit in order:
        placed |= set(unit.members)
        assert all(needed in placed for member in unit.members for needed in needs[member])


def test_a_long_chain_is_no_trouble() -> None:
    units = Units(lambda node: [node - 1] if node else [])
    assert units.of(100_000).depth == 100_000


def test_what_is_not_asked_about_is_not_looked_at() -> None:
    asked: list[int] = []

    def needs(node: int) -> list[int]:
        asked.append(node)
        return [node + 1] if node < 3 else []

    units = Units(needs)
    units.of(2)
    assert asked == [2, 3]
    units.of(1)
    assert asked == [2, 3, 1]
