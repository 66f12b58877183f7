"""Columns that must be written together, because a CHECK names them together."""

from __future__ import annotations

from collections.abc import Iterable


def groups(tied: Iterable[Iterable[str]]) -> dict[str, frozenset[str]]:
    """By column: all that it is tied to, itself among them. `tied` are the columns of each CHECK; what other CHECKs tie
    to these belongs to them. A merge of edits that a CHECK allows one by one would otherwise be a row that it forbids.
    """
    found: list[set[str]] = []
    for names in tied:
        group = set(names)
        for other in [other for other in found if other & group]:
            found.remove(other)
            group |= other
        found.append(group)
    return {name: frozenset(group) for group in found if len(group) > 1 for name in group}
