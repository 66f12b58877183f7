"""Which statements of a roster count: strong removal.

A removal ends the admissions that it covers and *voids* what was stated under them unless the remover had seen it: what
the removed device says afterwards, and what it said at the same time. Whatever rests on a void admission is void too:
what a newcomer said whom the removed device let in at the last moment. So

    a statement counts       if no removal that stands voids it or an admission that it rests on,
    a removal A strikes B    if A voids removal B in that way, were A to stand.

If nobody struck back, that would be all: what is not struck stands, what it strikes is void, and so on along the line.
But removals can strike each other, directly or in a ring (A removes B, B removes C, C removes A, none having seen the
others'). Then no reading gives everyone what they wrote, and the rule is: in a ring that nothing from outside strikes,
the removal whose author was admitted earliest (depth of its admission, device id, statement id) stands; what it
strikes is void, and so is what strikes it. Reasons: a stolen device, which is rarely the oldest, cannot end the space
by removing everybody first [16]; every device decides alike without asking; and nothing is lost that cannot be
repeated, as a void removal may be stated again by its author, who now has seen the other, if still a member.

In a loop: every ring that nothing undecided outside strikes (a strongly connected component, Tarjan 1972; usually one
single removal) is decided as above. Each turn decides at least one removal, so it ends. Order of arrival plays no part:
indices name entries, and are never compared. Two removals that stand never strike each other, so the author of some
standing removal always remains: nobody but the last member itself can end a space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from peerd.core.roster.lineage import Entry, Lineage


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ended`: admissions that a standing removal covers; `void`: statements that do not count. Each names the
    removal to which it is owed (of several the one with the smallest id).
    """

    standing: frozenset[bytes]
    ended: dict[bytes, Entry]
    void: dict[bytes, Entry]

    def is_open(self, admission: Entry) -> bool:
        """Does it count, and does no removal that stands end it?"""
        return admission.id not in self.ended and admission.id not in self.void


def judge(lineage: Lineage) -> Verdict:
    """Decide which removals stand, then what counts. Linear in the statements, but for rings of removals."""
    standing = _standing(lineage)
    covering: dict[bytes, list[Entry]] = {}
    for removal in sorted(standing, key=lambda one: one.id):
        for admission in removal.covers:
            covering.setdefault(admission.id, []).append(removal)
    void: dict[bytes, Entry] = {}
    for entry in lineage.entries.values():  # causes come first
        if entry.acting is None:
            continue
        by = void.get(entry.acting.id) or _first(one for one in covering.get(entry.acting.id, ()) if one.voids(entry))
        if by is not None:
            void[entry.id] = by
    ended = {admission: removals[0] for admission, removals in covering.items()}
    return Verdict(frozenset(one.id for one in standing), ended, void)


def _standing(lineage: Lineage) -> list[Entry]:
    undecided = {one.id: one for one in lineage.removals}
    strikers = _strikers(lineage)
    struck: dict[bytes, set[bytes]] = {one: set() for one in undecided}
    for target, by in strikers.items():
        for one in by:
            struck[one].add(target)
    standing = []
    while undecided:
        for ring in _free_rings(undecided, strikers):
            winner = min((undecided[one] for one in ring), key=_seniority)
            standing.append(winner)
            void = struck[winner.id] | (strikers[winner.id] & undecided.keys())
            for one in (winner.id, *void):
                undecided.pop(one, None)
    return standing


def _seniority(removal: Entry) -> tuple[tuple[int, bytes], bytes]:
    return removal.acting.rank if removal.acting else (0, b""), removal.id


def _strikers(lineage: Lineage) -> dict[bytes, set[bytes]]:
    """Of every removal, those that would void it."""
    return {
        target.id: {
            one.id
            for entry, acting in target.foundations()
            for one in lineage.covering.get(acting.id, ())
            if one.voids(entry)
        }
        for target in lineage.removals
    }


def _free_rings(undecided: dict[bytes, Entry], strikers: dict[bytes, set[bytes]]) -> list[list[bytes]]:
    """The strongly connected components that no undecided removal outside strikes: Tarjan's algorithm along the edges
    from a removal to its strikers, without recursion. A component is complete when its root is left; it is free if
    none of its members has a striker in another one.
    """
    order: dict[bytes, int] = {}
    low: dict[bytes, int] = {}
    ring_of: dict[bytes, int] = {}
    path: list[bytes] = []
    rings: list[list[bytes]] = []
    for start in undecided:
        if start in order:
            continue
        work = [(start, iter(strikers[start] & undecided.keys()))]
        order[start] = low[start] = len(order)
        path.append(start)
        while work:
            here, rest = work[-1]
            there = next(rest, None)
            if there is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == order[here]:
                    at = path.index(here)
                    ring_of.update(dict.fromkeys(path[at:], len(rings)))
                    rings.append(path[at:])
                    del path[at:]
            elif there not in order:
                order[there] = low[there] = len(order)
                path.append(there)
                work.append((there, iter(strikers[there] & undecided.keys())))
            elif there not in ring_of:
                low[here] = min(low[here], order[there])
    return [
        ring
        for number, ring in enumerate(rings)
        if all(ring_of[by] == number for one in ring for by in strikers[one] & undecided.keys())
    ]


def _first(entries: Iterator[Entry]) -> Entry | None:
    return next(entries, None)
