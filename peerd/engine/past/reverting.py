"""Undoing: of one transaction, of a device's transactions in a span of time, of everything since a time.

Portion by portion: each is one transaction of ours, and never half of a record. It is decided on what a read
transaction saw that took about 10 ms, so that whoever reads or writes beside it does not notice; if the door finds a
record changed, it is decided anew. One transaction that is undone is undone in one, if it is not too large to travel
with others: what it did is looked at in as many short reads as it takes. The
transactions are looked through from the newest to the oldest, and a record is put back where the newest of them
touched it, so that it comes up once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from peerd.core import entry
from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.entry import Entry, Kind
from peerd.core.intents import Intent
from peerd.core.names import RESERVED_PREFIX
from peerd.core.past import Removal, at, is_anonymous
from peerd.core.record import Record
from peerd.core.revert import Reversal, back_to, intent_of, without
from peerd.core.stored import NEVER_MS, LogRow, LogWish
from peerd.core.values import unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.past.past import Past
from peerd.engine.past.ports import PastReader
from peerd.engine.records import conflict_name, dot_text, unpack_whole
from peerd.engine.space import Space
from peerd.engine.upkeep.small_steps import AIM_S
from peerd.errors import UserError
from peerd.protocol.control.history import Reverted, RevertResult

PORTION_RECORDS = 2_000
PORTION_BYTES = 4 << 20
SCAN = 20_000  # transactions looked through for one portion
LOOK_AT = 5_000  # records looked at for one portion
WINDOW, WINDOW_BYTES = 50, 256 << 10  # of the log, at one time
VERSIONS = 5_000  # that a record may have had since the first transaction that is undone
TRIES = 5
ORIGIN_DIGITS = 4
_DONE = {Kind.PUT: "created", Kind.PATCH: "changed", Kind.DELETE: "deleted"}


class Selection(NamedTuple):
    """What is undone: one transaction (`only`); or those of these origins (None: all) that arrived between these times;
    of this collection or record. `anyway`: also where somebody has changed it since.
    """

    only: Dot | None = None
    origins: frozenset[bytes] | None = None
    since_ms: int = 0
    until_ms: int = NEVER_MS
    collection: str | None = None
    key: str | None = None
    anyway: bool = False

    def wants(self, name: Name) -> bool:
        return self.collection in {None, name[0]} and self.key in {None, name[1]}


class _Cursor(NamedTuple):
    """Where to go on: `top` is the last position when it began; then a run, an entry of it, a change of that."""

    top: int
    position: int
    below: int = 1 << 40
    change: int = 0


class _Planned(NamedTuple):
    name: Name
    view: Reverted
    intent: Intent | None

    @property
    def size_bytes(self) -> int:
        return 0 if self.intent is None else sum(len(value) for value in self.intent.set.values())


class _Room(NamedTuple):
    """What still fits into a portion."""

    records: int
    size_bytes: int


class Reverting:
    """Undoing in one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def portion(self, selection: Selection, cursor: str | None, *, preview: bool) -> RevertResult:
        """The next portion; with `preview` nothing is written.

        Raises:
            UserError: "transaction-not-found", "before-history", "bad-cursor"; "removed".
            StoreError: nothing of this portion was written.
        """
        start = await self._start(selection, cursor)
        records = PORTION_RECORDS
        tries = TRIES
        while True:
            planned, on = await self._plan(selection, start, records)
            intents = [one.intent for one in planned if one.intent is not None]
            dot = None
            if intents and not preview:
                try:
                    dot = (await self._space.commits.write(intents)).dot
                except UserError as refusal:
                    tries -= 1
                    if refusal.code == "too-large" and len(intents) > 1:
                        records = max(1, records // 8)
                        continue
                    if refusal.code == "too-large":
                        planned = [_refused(one, str(refusal)) for one in planned]
                    elif refusal.code == "precondition-failed" and tries > 0:
                        continue
                    else:
                        raise
            return RevertResult(
                dot=dot_text(dot) if dot is not None else None,
                preview=preview,
                records=[one.view for one in planned],
                cursor=to_word(tuple(on)) if on is not None else None,
            )

    def find(self, text: str) -> Dot:
        """The transaction that people call so: its origin may be cut short. Raises UserError."""
        origin, _, seq = text.partition(":")
        word = origin.lower()
        if seq.isascii() and seq.isdigit() and len(seq) <= 18 and len(word) >= ORIGIN_DIGITS:
            found = [one for one in self._space.copy.origins if one.hex().startswith(word)]
            if len(found) > 1:
                raise UserError(
                    f"{len(found)} origins begin with {origin!r}",
                    code="transaction-not-found",
                    status=404,
                    next_step="Give more of it: `peerctl log SPACE --json` has all of it.",
                )
            if found:
                return Dot(found[0], int(seq))
        raise _unknown(self._space.name, text)

    async def _start(self, selection: Selection, cursor: str | None) -> _Cursor:
        on = _Cursor(*from_word(cursor, tuple[int, int, int, int])) if cursor is not None else None
        reach = await self._space.store.lookback.reach()  # asked for each portion: history may be forgotten meanwhile
        past = Past(self._space)
        top = self._space.commits.last_position
        since_ms = selection.since_ms
        dot = selection.only
        if dot is not None:
            row = await self._space.store.lookback.read(
                lambda reader: reader.row(position) if (position := reader.place(dot, 0).position) else None
            )
            if row is None:
                raise _unknown(self._space.name, dot_text(dot))
            top, since_ms = row.position, row.arrived_ms
        elif reach.log_ms is not None:
            past.check_reaches(reach.log_ms + 1, since_ms, "trimmed")
        if reach.history_ms is not None:
            past.check_reaches(reach.history_ms + 1, since_ms, "forgotten")
        return on or _Cursor(self._space.commits.last_position, top)

    async def _plan(self, selection: Selection, start: _Cursor, records: int) -> tuple[list[_Planned], _Cursor | None]:
        """What is to be done to the next records, and where to go on, None at the end."""
        planned: list[_Planned] = []
        on: _Cursor | None = start
        size_bytes = 0
        while on is not None:
            room = _Room(records - len(planned), PORTION_BYTES - size_bytes)
            more, on = await self._look(selection, on, room)
            planned += more
            size_bytes += sum(one.size_bytes for one in more)
            if selection.only is None or len(planned) >= records or size_bytes >= PORTION_BYTES:
                break
        return planned, on

    async def _look(self, selection: Selection, start: _Cursor, room: _Room) -> tuple[list[_Planned], _Cursor | None]:
        return await self._space.store.lookback.read(
            lambda reader: _Planning(self._space, selection, reader, start).plan(room)
        )


class _Planning:
    """A part of a portion, inside one read transaction that ends in time."""

    def __init__(self, space: Space, selection: Selection, reader: PastReader, start: _Cursor) -> None:
        self._space = space
        self._selection = selection
        self._reader = reader
        self._start = start
        self._until_s = space.times.monotonic_s() + AIM_S
        self._is_all = selection.only is None and selection.origins is None
        self._low = reader.position_at(selection.since_ms - 1) if selection.only is None else start.position - 1

    def _is_late(self) -> bool:
        return self._space.times.monotonic_s() >= self._until_s

    def plan(self, room: _Room) -> tuple[list[_Planned], _Cursor | None]:
        planned: list[_Planned] = []
        size_bytes = looked_at = 0
        for row, number, decoded in self._entries():
            dot = Dot(row.run.origin, row.run.first + number)
            is_first = (row.position, number + 1) == (self._start.position, self._start.below)
            for index, change in enumerate(decoded.changes):
                if is_first and index < self._start.change:
                    continue
                full = len(planned) >= room.records or size_bytes >= room.size_bytes
                if full or looked_at >= LOOK_AT or (looked_at and self._is_late()):
                    return planned, _Cursor(self._start.top, row.position, number + 1, index)
                if not self._selection.wants(change.record):
                    continue
                looked_at += 1
                found = self._record(change.record, dot)
                if found is not None:
                    planned.append(found)
                    size_bytes += found.size_bytes
        return planned, self._on

    _on: _Cursor | None = None  # where to go on when the entries end before the log does

    def _entries(self) -> Iterator[tuple[LogRow, int, Entry]]:
        """Those that are undone, the newest first."""
        chosen = self._selection
        since_ms, until_ms = 0, NEVER_MS
        if not self._is_all and chosen.only is None:
            since_ms, until_ms = chosen.since_ms, chosen.until_ms
        wish = LogWish(self._start.position, chosen.origins, since_ms, until_ms, WINDOW, WINDOW_BYTES)
        scanned = 0
        while wish.position > self._low:
            back = self._reader.rows_back(wish)
            for row in back.rows:
                if row.position <= self._low:
                    return
                for number in reversed(range(len(row.run.entries))):
                    if row.position == self._start.position and number >= self._start.below:
                        continue
                    if chosen.only in {None, Dot(row.run.origin, row.run.first + number)}:
                        yield row, number, entry.decode(row.run.entries[number])
            scanned += sum(len(row.run.entries) for row in back.rows)
            wish = replace(wish, position=back.position)
            if (scanned >= SCAN or self._is_late()) and wish.position > self._low:
                self._on = _Cursor(self._start.top, wish.position)
                return

    def _undone(self, dot: Dot) -> bool:
        chosen = self._selection
        if chosen.only is not None:
            return dot == chosen.only
        if chosen.origins is not None and dot.origin not in chosen.origins:
            return False
        position = self._reader.place(dot, 0).position
        if not self._low < position <= self._start.top:
            return False
        return self._is_all or chosen.since_ms <= self._reader.arrived_ms(position) <= chosen.until_ms

    def _record(self, name: Name, by: Dot) -> _Planned | None:
        """What is to be done to a record that the transaction `by` names; None: nothing, or not here."""
        now = self._reader.record(name)
        removals, is_whole = self._removals(name)
        here = self._reader.place(by, 0)
        touches = [
            self._reader.place(dot, 0)
            for versions in (now, *(removal.dropped for removal in removals))
            if versions is not None
            for dot in versions.dots()
            if self._undone(dot)
        ]
        touches += [self._reader.place(removal.by, 0) for removal in removals if self._undone(removal.by)]
        if not touches or max(touches) != here:
            return None  # it came up, or comes up, at another of them; or nothing of this one was ever here
        if name[0].startswith(RESERVED_PREFIX):
            return _nothing(name, "what a space says of its collections and tables is left alone")
        if not is_whole:
            return _nothing(name, f"it has had more than {VERSIONS:,} versions since then; put it back by hand")
        reversal = self._reversal(name, now, removals)
        if reversal.kind is None and not reversal.left:
            return None
        return self._planned(name, now, reversal)

    def _removals(self, name: Name) -> tuple[list[Removal], bool]:
        """What was dropped since the first transaction that is undone, and whether that is all."""
        found: list[Removal] = []
        for removal in self._reader.removals(name):
            if self._reader.place(removal.by, 0).position <= self._low:
                if is_anonymous(removal.by):
                    continue
                break
            if len(found) >= VERSIONS:
                return found, False
            found.append(removal)
        return found, True

    def _reversal(self, name: Name, now: Record | None, removals: list[Removal]) -> Reversal:
        rules = self._space.commits.rules.of(name[0])
        place, bound = self._reader.place, self._space.commits.bound
        if not self._is_all:
            return without(
                now,
                removals,
                place,
                self._undone,
                rules,
                lambda field: bound.tied(name[0], field),
                anyway=self._selection.anyway,
            )
        then = at(
            now,
            removals,
            lambda dot, t_ms: place(dot, t_ms).position <= self._low,
            lambda removal: place(removal.by, 0).position <= self._low,
        )
        return back_to(now, then, rules, lambda field: bound.tied(name[0], field))

    def _planned(self, name: Name, now: Record | None, reversal: Reversal) -> _Planned:
        intent = intent_of(name, reversal, now) if reversal.kind is not None else None
        view = Reverted(
            collection=name[0],
            key=name[1],
            done=_DONE[reversal.kind] if reversal.kind is not None else None,  # type: ignore[arg-type] # its words
            set={
                conflict_name(field): unpack(value) if field else unpack_whole(value)
                for field, value in reversal.set.items()
            },
            drop=[conflict_name(field) for field in reversal.drop],
            left=[conflict_name(field) for field in reversal.left],
            conflicts=[conflict_name(field) for field in reversal.met],
        )
        planned = _Planned(name, view, intent)
        if intent is not None:
            try:
                self._space.commits.bound.check(intent)
            except UserError as refusal:
                return _refused(planned, str(refusal))
        return planned


def _nothing(name: Name, reason: str) -> _Planned:
    return _Planned(name, Reverted(collection=name[0], key=name[1], done=None, reason=reason), None)


def _refused(one: _Planned, reason: str) -> _Planned:
    return one if one.intent is None else _nothing(one.name, reason)


def _unknown(space: str, text: str) -> UserError:
    return UserError(
        f"the log of {space} has no transaction {text} here",
        code="transaction-not-found",
        status=404,
        next_step="`peerctl log SPACE` lists those it has; what is older than they are cannot be undone here.",
    )
