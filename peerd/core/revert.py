"""Putting a record back: what has to be written so that it shows what it showed without some transactions.

Two questions, two rules:

    back_to    all that happened since a moment is undone: the record shows what it showed then
    without    some transactions are undone, whatever else happened before, between and after them

`without` goes field by field, and takes whether there is a record at all for one field more. Where what is shown now
was written by an undone transaction, it goes back to what stood before that one, and on from there while that was
undone, too. Where somebody else has written since, it is left alone and said to be. A concurrent value of others that
stands beside an undone one stays: the undone one is taken away from it.

What is undone is undone by new changes, which travel like any other and can be undone themselves. Nothing here looks
at a clock: the moments are places in the order of this copy (`past.Place`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from peerd.core.clocks import Dot
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.past import Place, Removal
from peerd.core.reading import DELETED, Rules, chosen, conflicts, shown
from peerd.core.record import Record, Stamp
from peerd.core.values import same

Tied = Callable[[str], frozenset[str]]


class Reversal(NamedTuple):
    """What puts one record back. `kind` None: nothing does. `kept`: dots of others that stay beside what is written.
    `left`: fields that somebody has changed since (DELETED: that there is, or is not, such a record). `met`: fields
    that are in conflict and are settled or changed by it.
    """

    kind: Kind | None = None
    set: dict[str, bytes] = {}
    drop: tuple[str, ...] = ()
    kept: frozenset[Dot] = frozenset()
    left: tuple[str, ...] = ()
    met: tuple[str, ...] = ()


def intent_of(name: tuple[str, str], reversal: Reversal, now: Record | None) -> Intent:
    """The intent that does it, if the record is still `now`."""
    if reversal.kind is None:
        raise ValueError("there is nothing to write")
    dots = now.dots() if now is not None else frozenset()
    is_there = now is not None and now.visible
    return Intent(
        reversal.kind,
        *name,
        reversal.set,
        reversal.drop,
        seen=dots - reversal.kept,
        must_match=dots if is_there else None,
        must_be_absent=not is_there,
        literal=True,
    )


def back_to(now: Record | None, then: Record, rules: Rules, tied: Tied) -> Reversal:
    """So that it shows what `then` shows."""
    is_there = now is not None and now.visible
    if not then.visible:
        return Reversal(Kind.DELETE, met=_met(now, rules)) if is_there else Reversal()
    wanted = shown(then, rules)
    if now is None or not is_there:
        return Reversal(Kind.PUT, wanted)
    seen = shown(now, rules)
    set_ = {field: value for field, value in wanted.items() if field not in seen or not same(seen[field], value)}
    drop = tuple(field for field in seen if field not in wanted)
    return _patch(now, set_, drop, rules, tied)


def without(
    now: Record | None,
    removals: Iterable[Removal],
    place: Callable[[Dot, int], Place],
    undone: Callable[[Dot], bool],
    rules: Rules,
    tied: Tied,
    *,
    anyway: bool = False,
) -> Reversal:
    """So that it shows what it would without the transactions that are `undone`. `removals` have to reach back to the
    first of them; `place` has to know where each of those stands. `anyway`: also what was changed since goes back.
    """
    return _Without(now, removals, place, undone, rules, anyway=anyway).reversal(tied)


class _Version(NamedTuple):
    dot: Dot
    value: bytes
    begun: Place
    ended: Place | None = None
    ender: Dot | None = None


_BIRTHS = DELETED  # what the presence of a record is called among its fields


class _Versions:
    """All versions of all fields, the births among them."""

    def __init__(self, now: Record, removals: Iterable[Removal], place: Callable[[Dot, int], Place]) -> None:
        self.of: dict[str, list[_Version]] = {_BIRTHS: []}
        self.stamps: dict[Dot, Stamp] = {}
        self._place = place
        self._add(now, None, None)
        for removal in removals:
            self._add(removal.dropped, place(removal.by, removal.arrived_ms), removal.by)

    def _add(self, record: Record, ended: Place | None, ender: Dot | None) -> None:
        begun = {dot: self._place(dot, stamp.t_ms) for dot, stamp in record.stamps.items()}
        self.stamps |= record.stamps
        self.of[_BIRTHS] += [_Version(dot, b"", begun[dot], ended, ender) for dot in record.births]
        for field, siblings in record.fields.items():
            versions = self.of.setdefault(field, [])
            versions += [_Version(dot, value, begun[dot], ended, ender) for dot, value in siblings.items()]

    def standing(self, field: str, before: Place) -> list[_Version]:
        return [one for one in self.of[field] if one.begun < before and (one.ended is None or one.ended >= before)]

    def last_ended(self, field: str, before: Place | None = None) -> _Version | None:
        ended = [one for one in self.of[field] if one.ended is not None and (before is None or one.ended < before)]
        return max(ended, key=lambda one: one.ended or one.begun, default=None)


class _Without:
    def __init__(
        self,
        now: Record | None,
        removals: Iterable[Removal],
        place: Callable[[Dot, int], Place],
        undone: Callable[[Dot], bool],
        rules: Rules,
        *,
        anyway: bool,
    ) -> None:
        self._now = now if now is not None else Record()
        self._versions = _Versions(self._now, removals, place)
        self._undone = undone
        self._rules = rules
        self._anyway = anyway
        self._stamped = Record()  # lends its stamps to the reading rules
        self._stamped.stamps = self._versions.stamps

    def reversal(self, tied: Tied) -> Reversal:
        touched = [field for field in self._versions.of if self._touches(field)]
        if not touched:
            return Reversal()
        present = self._was_present()
        if self._now.visible:
            return self._fields(touched, tied) if present else self._take_away()
        if present:
            return self._bring_back()
        last = self._versions.last_ended(_BIRTHS)
        if last is None or last.ended is None or self._is_undone(last.ender):
            return Reversal()
        return self._deleted_by_others(last.ended)

    def _is_undone(self, dot: Dot | None) -> bool:
        return dot is not None and self._undone(dot)

    def _touches(self, field: str) -> list[Place]:
        """Where undone transactions wrote or dropped it."""
        versions = self._versions.of[field]
        begun = [one.begun for one in versions if self._undone(one.dot)]
        return begun + [one.ended for one in versions if one.ended is not None and self._is_undone(one.ender)]

    # ---- walking back

    def _before(self, field: str, moment: Place) -> _Version | None:
        """What was shown of a field before that moment, the undone ones passed over; None: it was not there."""
        while True:
            standing = {one.dot: one for one in self._versions.standing(field, moment)}
            if standing:
                values = {dot: one.value for dot, one in standing.items()}
                one = standing[chosen(self._stamped, values, self._rules.policy_of(field))]
                if not self._undone(one.dot):
                    return one
                moment = one.begun
                continue
            last = self._versions.last_ended(field, moment)
            if last is None or last.ended is None or not self._is_undone(last.ender):
                return None
            moment = last.ended

    def _present_before(self, moment: Place) -> bool:
        while True:
            standing = self._versions.standing(_BIRTHS, moment)
            if any(not self._undone(one.dot) for one in standing):
                return True
            if standing:
                moment = min(one.begun for one in standing)
                continue
            last = self._versions.last_ended(_BIRTHS, moment)
            if last is None or last.ended is None or not self._is_undone(last.ender):
                return False
            moment = last.ended

    def _was_present(self) -> bool:
        births = [one for one in self._versions.of[_BIRTHS] if one.ended is None]
        if births:
            is_theirs = any(not self._undone(one.dot) for one in births)
            return is_theirs or self._present_before(min(one.begun for one in births))
        last = self._versions.last_ended(_BIRTHS)
        if last is None or last.ended is None or not self._is_undone(last.ender):
            return False
        return self._present_before(last.ended)

    # ---- what is to be done

    def _take_away(self) -> Reversal:
        """It would not be there, unless others have written into it."""
        theirs = tuple(
            field for field, siblings in self._now.fields.items() if any(not self._undone(dot) for dot in siblings)
        )
        if theirs and not self._anyway:
            return Reversal(left=theirs)
        return Reversal(Kind.DELETE, met=_met(self._now, self._rules))

    def _bring_back(self) -> Reversal:
        """With what it had, less what others had dropped of it before. What they have written that stands here without
        a birth stays.
        """
        values: dict[str, bytes] = {}
        for field in self._versions.of:
            found = None if field == _BIRTHS else self._brought_back(field)
            if found is not None:
                values[field] = found.value
        return Reversal(Kind.PUT, values, kept=frozenset(dot for dot in self._now.dots() if not self._undone(dot)))

    def _deleted_by_others(self, moment: Place) -> Reversal:
        """It was there, and others have deleted it since, at that moment. What is undone may have made it in the first
        place: then it is not there as it should be.
        """
        if not self._present_before(self._since(_BIRTHS, moment)):
            return Reversal()
        if not self._anyway:
            return Reversal(left=(DELETED,))
        former = {
            field: self._before(field, self._since(field, moment)) for field in self._versions.of if field != _BIRTHS
        }
        values = {field: one.value for field, one in former.items() if one is not None}
        return Reversal(Kind.PUT, values, kept=frozenset(dot for dot in self._now.dots() if not self._undone(dot)))

    def _since(self, field: str, otherwise: Place) -> Place:
        """The last moment at which it was touched by what is undone."""
        return max(self._touches(field), default=otherwise)

    def _brought_back(self, field: str) -> _Version | None:
        """What has to be written of a field."""
        if field in self._now.fields:
            return self._instead(field)[0] if self._has_mine(field) else None
        last = self._versions.last_ended(field)
        if last is None or last.ended is None or not self._is_undone(last.ender):
            return None
        return self._before(field, last.ended)

    def _fields(self, touched: list[str], tied: Tied) -> Reversal:
        set_: dict[str, bytes] = {}
        drop: list[str] = []
        left: list[str] = []
        kept: set[Dot] = set()
        last = self._versions.last_ended(_BIRTHS)
        made_again = last is not None and self._is_undone(last.ender) and not any(map(self._undone, self._now.births))
        fields = [field for field in touched if field != _BIRTHS]
        if made_again and not self._anyway and not all(self._shows(field, self._former(field)) for field in fields):
            left.append(DELETED)
        for field in fields:
            if self._has_mine(field):
                target, theirs = self._instead(field)
                kept |= theirs
            elif made_again and not self._anyway:
                continue  # what the record has now is of those who made it again
            else:
                target = self._former(field)
                if self._shows(field, target):
                    continue
                if self._is_others(field) and not self._anyway:
                    left.append(field)
                    continue
            seen = self._now.fields.get(field, {})
            if target is None:
                drop.append(field)
            elif len(seen) != 1 or not self._shows(field, target):
                set_[field] = target.value
        found = _patch(self._now, set_, tuple(drop), self._rules, tied)
        return found._replace(left=tuple(left), kept=frozenset(kept) if found.kind is not None else frozenset())

    def _has_mine(self, field: str) -> bool:
        return any(self._undone(dot) for dot in self._now.fields.get(field, ()))

    def _instead(self, field: str) -> tuple[_Version | None, set[Dot]]:
        """What takes the place of undone values that stand here (None: they only go away), and which siblings stay."""
        theirs = {dot for dot in self._now.fields[field] if not self._undone(dot)}
        standing = [one for one in self._versions.of[field] if one.ended is None]
        moment = min(one.begun for one in standing if one.dot not in theirs)
        target = self._before(field, moment)
        is_newer = any(one.begun > moment for one in standing if one.dot in theirs)
        if is_newer or (target is not None and target.dot in theirs):
            target = None
        return target, theirs

    def _is_others(self, field: str) -> bool:
        """Is what is here, or that nothing is, of somebody else?"""
        last = self._versions.last_ended(field)
        return field in self._now.fields or last is None or not self._is_undone(last.ender)

    def _former(self, field: str) -> _Version | None:
        """What stood before the last undone transaction that touched it."""
        return self._before(field, max(self._touches(field)))

    def _shows(self, field: str, target: _Version | None) -> bool:
        """Does it already?"""
        siblings = self._now.fields.get(field, {})
        if target is None or not siblings:
            return target is None and not siblings
        return same(siblings[chosen(self._stamped, siblings, self._rules.policy_of(field))], target.value)


def _patch(now: Record, set_: dict[str, bytes], drop: tuple[str, ...], rules: Rules, tied: Tied) -> Reversal:
    if not set_ and not drop:
        return Reversal()
    seen = shown(now, rules)
    for field in list(set_):
        for other in tied(field):
            if other not in set_ and other not in drop and other in seen:
                set_[other] = seen[other]  # what a CHECK ties is written together
    touched = {*set_, *drop}
    met = tuple(one for one in _met(now, rules) if one in touched)
    return Reversal(Kind.PATCH, set_, drop, met=met)


def _met(now: Record | None, rules: Rules) -> tuple[str, ...]:
    return tuple(conflict.field for conflict in conflicts(now, rules)) if now is not None else ()
