"""What a record was, for people: its versions, and what it showed at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from peerd.core import entry
from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.device_id import format_device_id
from peerd.core.past import Event, Removal, add, before, events, is_anonymous, rewind
from peerd.core.reading import conflicts, shown_dot
from peerd.core.record import Record
from peerd.core.stored import NEVER_MS, LogRow, Reach
from peerd.core.values import unpack
from peerd.engine.cursors import from_word, to_word
from peerd.engine.past.history import VERSIONS, History
from peerd.engine.past.ports import PastReader
from peerd.engine.records import conflict_name, dot_text, json_object
from peerd.engine.space import Space
from peerd.errors import UserError
from peerd.protocol.control.history import PastValue, RecordHistory, RecordThen, RecordVersion
from peerd.protocol.control.messages import Beginning

PAGE_BYTES = 4 << 20
SLICE = 2_000  # of what was dropped of a record, read at once


class _Version(NamedTuple):
    event: Event
    row: LogRow | None
    leapt_ms: int | None
    after: Record
    before: Record


class Past:
    """The past of one space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    async def versions(self, name: Name, limit: int, cursor: str | None) -> RecordHistory:
        """Behind `cursor`, which names the last version that was told: at most `limit`, and fewer if they are large."""
        told = Dot(*from_word(cursor, tuple[bytes, int])) if cursor else None
        found: list[_Version] = []

        def reading(reader: PastReader) -> bool:
            record = reader.record(name) or Record()
            is_new = told is None
            size_bytes = 0
            for event in islice(events(record, reader.removals(name), reader.place), VERSIONS):
                earlier = before(record, event)
                if is_new:
                    if len(found) >= limit or size_bytes >= PAGE_BYTES:
                        return True
                    row = reader.row(event.place.position) if event.place.position else None
                    found.append(_Version(event, row, reader.leapt_ms(event.dot), record, earlier))
                    size_bytes += _size_bytes(record)
                is_new = is_new or event.dot == told
                record = earlier
            return False

        more = await self._space.store.lookback.read(reading)
        return RecordHistory(
            versions=[self._version(name, one) for one in found],
            cursor=to_word(tuple(found[-1].event.dot)) if more else None,
            begins=await History(self._space).beginning(name),
        )

    def _version(self, name: Name, one: _Version) -> RecordVersion:
        dot, removal = one.event.dot, one.event.removal
        rules = self._space.commits.rules.of(name[0])
        time_ms: int | None = None
        arrived_ms = one.leapt_ms if removal is None else removal.arrived_ms or one.leapt_ms
        if one.row is not None:
            arrived_ms = one.row.arrived_ms
            time_ms = entry.decode(one.row.run.entries[dot.seq - one.row.run.first]).t_ms
        elif dot in one.after.stamps:
            time_ms = one.after.stamps[dot].t_ms
        device = None if is_anonymous(dot) else self._space.copy.device_of(dot.origin)
        dropped = removal.dropped.fields if removal is not None else {}
        return RecordVersion(
            dot=None if is_anonymous(dot) else dot_text(dot),
            device=format_device_id(device) if device else None,
            device_name=self._space.name_of(device) if device else "",
            time_ms=time_ms,
            arrived_ms=arrived_ms,
            kind=_kind(one),  # type: ignore[arg-type] # one of its four words
            set={
                conflict_name(field): unpack(siblings[dot])
                for field, siblings in one.after.fields.items()
                if dot in siblings
            },
            drop=[conflict_name(field) for field in dropped if dot not in one.after.fields.get(field, {})],
            value=json_object(one.after, rules) if one.after.visible else None,
            conflicts=[conflict_name(conflict.field) for conflict in conflicts(one.after, rules)],
        )

    async def then(self, name: Name, at_ms: int) -> RecordThen:
        """Raises UserError "before-history"."""
        reach = await self._space.store.lookback.reach()
        self.check_reaches(reach.history_ms, at_ms, "forgotten")
        moment = _Moment(name, at_ms, reach)
        while not await self._space.store.lookback.read(moment.read_on):
            pass
        record = moment.record
        rules = self._space.commits.rules.of(name[0])
        values: dict[str, list[PastValue]] = {}
        for conflict in conflicts(record, rules):
            if not conflict.is_delete:
                winner = shown_dot(record, conflict.field, rules)
                values[conflict_name(conflict.field)] = [
                    self._value(record, conflict.field, dot, shown=dot == winner) for dot in conflict.dots
                ]
        return RecordThen(
            collection=name[0],
            key=name[1],
            at_ms=at_ms,
            value=json_object(record, rules) if record.visible else None,
            values=values,
            estimated=moment.estimated,
        )

    def _value(self, record: Record, field: str, dot: Dot, *, shown: bool) -> PastValue:
        device = self._space.copy.device_of(dot.origin)
        return PastValue(
            value=unpack(record.fields[field][dot]),
            device=format_device_id(device) if device else None,
            device_name=self._space.name_of(device) if device else "",
            time_ms=record.stamps[dot].t_ms,
            dot=dot_text(dot),
            shown=shown,
        )

    def check_reaches(self, since_ms: int | None, at_ms: int, cause: str) -> None:
        """Does this copy know what was at `at_ms`, if it knows since `since_ms` (None: always)?

        Raises:
            UserError: "before-history".
        """
        if since_ms is None or at_ms >= since_ms:
            return
        begins = Beginning(time_ms=since_ms, cause=cause)  # type: ignore[arg-type] # one of its words
        raise UserError(
            f"what this device knows of the past of {self._space.name} begins at {_utc(since_ms)}",
            code="before-history",
            status=409,
            next_step="Ask for a later time, or ask another member: each keeps a history of its own. What is older is "
            "in backups only.",
            begins=begins,
        )


class _Moment:
    """A record at a time, that is: at a place in the order of this copy. A record that changes every second has
    millions of versions, so they are read slice by slice.
    """

    def __init__(self, name: Name, at_ms: int, reach: Reach) -> None:
        self.record = Record()
        self.estimated = False
        self._name = name
        self._at_ms = at_ms
        self._log_covers = reach.log_ms is None or at_ms >= reach.log_ms
        self._position = 0
        self._below: int | None = None

    def read_on(self, reader: PastReader) -> bool:
        """Read a slice; True: that was all."""

        def begun(dot: Dot, t_ms: int) -> bool:
            where = reader.place(dot, t_ms)
            if where.position:
                return where.position <= self._position
            leapt_ms = reader.leapt_ms(dot)
            if leapt_ms is not None:
                return leapt_ms <= self._at_ms
            self.estimated = self.estimated or not self._log_covers
            return self._log_covers or t_ms <= self._at_ms

        def over(removal: Removal) -> bool:
            where = reader.place(removal.by, removal.arrived_ms)
            return where.position <= self._position if where.position else removal.arrived_ms <= self._at_ms

        if self._below is None:
            self._position = reader.position_at(self._at_ms)
            self._below = NEVER_MS
            add(self.record, reader.record(self._name) or Record(), begun)
        removals = list(islice(reader.removals(self._name, self._below), SLICE))
        if removals:
            self._below = removals[-1].number
        return rewind(self.record, removals, begun, over) or len(removals) < SLICE


def _utc(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return f"{ms} ms"


def _kind(one: _Version) -> str:
    if one.after.visible and not one.before.visible:
        stamp = one.after.stamps.get(one.event.dot)
        return "restored" if stamp is not None and stamp.restored else "created"
    return "deleted" if one.before.visible and not one.after.visible else "changed"


def _size_bytes(record: Record) -> int:
    return sum(len(value) for siblings in record.fields.values() for value in siblings.values())
