"""Taking in a snapshot, part by part, beside the copy that we have: what each part writes there, decided without
touching anything.

A `Standing` is what came of the parts so far. It is moved when the writes of a part are durable, so an intake that was
cut goes on with the next part. When the last part is in, the rows beside are the state of the other copy at `clock`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import Batch, Forged, Fork, Name, Reader, Verdict
from peerd.core.chain import Run, first_hash, signed_bytes
from peerd.core.clocks import Clock
from peerd.core.copy import CopyState, OriginState
from peerd.core.digest import EMPTY
from peerd.core.entry import NeedsNewer
from peerd.core.limits import CONTEXT_ORIGINS
from peerd.core.origin import Announcement, origin_of
from peerd.core.plain_put import read
from peerd.core.snapshots.parts import LEVEL, Begin, End, Ends, OriginEnd, Origins, Part, Records, Runs
from peerd.core.snapshots.rows import LoneStamps, PlainRows, RowReader, ShortNames
from peerd.core.writes import RecordRow, finish
from peerd.errors import RemoteProtocolError

LimitOf = Callable[[bytes, Announcement], int | None]

_ORDER: tuple[type[Part], ...] = (Begin, Origins, Ends, Records, Runs, End)


class Authority(Struct, frozen=True):
    """What the roster says of authors: may there be such an origin, how far is it accepted (None: without limit), and
    does a signature hold?
    """

    is_admitted: Callable[[Announcement], bool]
    limit_of: LimitOf
    verify: Callable[[bytes, bytes, bytes], bool]


class SideOrigin(Struct, frozen=True):
    """Where an origin stands in what was taken in so far."""

    number: int
    origin: bytes
    announcement: Announcement
    seq: int
    head: bytes
    signature: bytes
    context: Clock

    def state(self) -> OriginState:
        return OriginState(self.announcement, self.seq, self.head, self.context)


class Progress(Struct, frozen=True):
    """What is kept of the parts so far besides rows and origins. `stage` is the kind of the last part; `expected` and
    `expected_bytes` are about how many records will come, as the beginning says; `size_bytes` have come; `visible`
    counts visible records by collection; `highest` are the largest dots in the records; `owed` is what the end says
    that its maker's copy owes.
    """

    stage: int = -1
    expected: int = 0
    expected_bytes: int = 0
    records: int = 0
    size_bytes: int = 0
    digest: bytes = digest.EMPTY
    visible: dict[str, int] = {}
    highest: Clock = {}
    owed: bytes = EMPTY


class Standing(Struct, frozen=True):
    progress: Progress = Progress()
    origins: dict[bytes, SideOrigin] = {}

    @property
    def clock(self) -> Clock:
        return {origin: at.seq for origin, at in self.origins.items() if at.seq}

    @property
    def is_whole(self) -> bool:
        return self.progress.stage == _ORDER.index(End)

    def after(self, writes: SideWrites) -> Standing:
        origins = {**self.origins, **{at.origin: at for at in writes.origins}} if writes.origins else self.origins
        return Standing(writes.progress, origins)


class SideWrites(Struct, frozen=True):
    """What is to be written beside. `origins` are new or have moved; `ends` are (origin, seq, 8 bytes of the hash);
    `plain` are rows that did not exist before.
    """

    progress: Progress
    origins: Sequence[SideOrigin] = ()
    ends: Sequence[tuple[bytes, int, bytes]] = ()
    rows: Sequence[RecordRow] = ()
    plain: Sequence[PlainRows] = ()
    gone: Sequence[Name] = ()


class Intake:
    """Of a snapshot of `space`."""

    def __init__(self, space: bytes, authority: Authority) -> None:
        self._space = space
        self._authority = authority
        self._stamps = LoneStamps({})
        self._names = ShortNames()

    def take(self, standing: Standing, part: Part, reader: Reader, size_bytes: int = 0) -> SideWrites:
        """`reader` reads what is beside; the part came in so many bytes.

        Raises:
            RemoteProtocolError: the snapshot is of no use.
            NeedsNewer: a later version wrote something in it.
            Fork: it tells another history than itself.
        """
        stage = self._check_order(standing.progress.stage, part)
        progress = replace(standing.progress, stage=stage, size_bytes=standing.progress.size_bytes + size_bytes)
        match part:
            case Begin():
                return SideWrites(self._begin(progress, part))
            case Origins():
                return SideWrites(progress, [self._origin(one) for one in part.origins])
            case Ends():
                return SideWrites(progress, ends=list(self._ends(standing, part)))
            case Records():
                return self._records(standing, progress, part)
            case Runs():
                return self._runs(standing, progress, part, reader)
        self._end(standing, part)
        owed = ((bucket, int.from_bytes(amount, "big")) for bucket, amount in part.owed)
        return SideWrites(replace(progress, owed=digest.moved(digest.EMPTY, owed)))

    @staticmethod
    def _check_order(before: int, part: Part) -> int:
        stage = _ORDER.index(type(part))
        only_once = stage in {0, len(_ORDER) - 1}
        if (before < 0) != (stage == 0) or stage < before or (only_once and stage == before):
            raise _malformed("its parts are out of order")
        return stage

    def _begin(self, progress: Progress, part: Begin) -> Progress:
        if part.space != self._space:
            raise _refused("it belongs to another space")
        if part.level > LEVEL:
            raise RemoteProtocolError("a snapshot of a later version", code="needs-newer")
        return replace(progress, expected=part.records, expected_bytes=part.record_bytes)

    # ---- origins

    def _introduce(self, number: int, announcement: Announcement) -> SideOrigin:
        if not self._authority.is_admitted(announcement):
            raise RemoteProtocolError("an origin of a device that the roster does not know", code="unknown-author")
        origin = origin_of(self._space, announcement)
        return SideOrigin(
            number, origin, announcement, 0, first_hash(self._space, announcement.device, origin), b"", {}
        )

    def _origin(self, end: OriginEnd) -> SideOrigin:
        at = self._introduce(end.number, end.announcement)
        if not end.seq:
            return at
        device = end.announcement.device
        signed = signed_bytes(self._space, at.origin, end.seq, end.head)
        if not self._authority.verify(device, end.signature, signed):
            raise RemoteProtocolError("the end of an origin is not signed by its author", code="bad-signature")
        _check_limit(at.origin, end.announcement, end.seq, self._authority.limit_of)
        return replace(at, seq=end.seq, head=end.head, signature=end.signature, context=dict(end.context))

    def _new(self, standing: Standing, named: Sequence[tuple[int, Announcement]]) -> list[SideOrigin]:
        new = [self._introduce(number, announcement) for number, announcement in named]
        if len(standing.origins) + len(new) > CONTEXT_ORIGINS:
            raise _malformed("too many origins")
        if any(at.origin in standing.origins for at in new):
            raise _malformed("an origin is named twice")
        return new

    @staticmethod
    def _ends(standing: Standing, part: Ends) -> list[tuple[bytes, int, bytes]]:
        by_number = {at.number: at for at in standing.origins.values()}
        found = []
        for one in part.ends:
            at = by_number.get(one.number)
            if at is None or any(seq > at.seq for seq, _ in one.ends):
                raise _malformed("the end of a run that it does not hold")
            found += [(at.origin, seq, hash8) for seq, hash8 in one.ends]
        return found

    # ---- records

    def _records(self, standing: Standing, progress: Progress, part: Records) -> SideWrites:
        new = self._new(standing, part.origins)
        origin_of = {at.number: at.origin for at in (*standing.origins.values(), *new)}
        reader = RowReader(self._stamps_of(origin_of), self._names)
        for group in part.groups:
            reader.read(group.collection, group.rows)
        visible, highest = dict(progress.visible), dict(progress.highest)
        for collection, count in reader.visible.items():
            visible[collection] = visible.get(collection, 0) + count
        for origin, seq in reader.highest.items():
            highest[origin] = max(seq, highest.get(origin, 0))
        moved = replace(
            progress,
            records=progress.records + sum(len(group.rows) for group in part.groups),
            digest=digest.moved(progress.digest, enumerate(reader.shares)),
            visible=visible,
            highest=highest,
        )
        return SideWrites(moved, new, rows=reader.rows, plain=reader.plain)

    def _stamps_of(self, origin_of: dict[int, bytes]) -> LoneStamps:
        """What was read of them so far, unless the numbers stand for more by now."""
        if self._stamps.origin_of != origin_of:
            self._stamps = LoneStamps(origin_of)
        return self._stamps

    # ---- the log since

    def _runs(self, standing: Standing, progress: Progress, part: Runs, reader: Reader) -> SideWrites:
        new = self._new(standing, part.origins)
        origins = {**standing.origins, **{at.origin: at for at in new}}
        copy = CopyState(self._space, {origin: at.state() for origin, at in origins.items()}, progress.digest)
        batch = Batch(copy, reader, self._authority.limit_of, self._authority.verify)
        for run in part.runs:
            self._run(batch, run)
        done = finish(batch)
        moved = {origin: origins[origin] for origin in done.origins}
        signatures = {applied.run.origin: applied.run.signature for applied in batch.runs}
        visible, step = _counted(batch, progress.visible)
        after = replace(progress, digest=done.state.digest, visible=visible, records=progress.records + step)
        changed = [
            replace(moved[origin], seq=at.seq, head=at.head, context=at.context, signature=signatures[origin])
            for origin, at in done.origins.items()
        ]
        fresh = [at for at in new if at.origin not in moved]
        ends = [(applied.run.origin, applied.run.last, applied.head[:8]) for applied in batch.runs]
        return SideWrites(after, [*fresh, *changed], ends, done.rows, gone=done.gone)

    @staticmethod
    def _run(batch: Batch, run: Run) -> None:
        try:
            verdict = batch.take(run, [read(data) for data in run.entries])
        except NeedsNewer:
            raise
        except Fork as fork:
            raise _refused(str(fork)) from None
        except (Forged, ValueError) as problem:
            raise RemoteProtocolError(str(problem), code="bad-entry") from None
        if verdict is Verdict.REFUSED:
            raise _refused("it holds what was written after its author was removed")
        if verdict is not Verdict.APPLIED:
            raise _malformed("a run does not follow what is there")

    # ---- the end

    @staticmethod
    def _end(standing: Standing, part: End) -> None:
        progress, clock = standing.progress, standing.clock
        if any(seq > clock.get(origin, 0) for origin, seq in progress.highest.items()):
            raise _malformed("a record is newer than its clock")
        if progress.records != part.records or digest.summary(progress.digest) != part.digest:
            raise RemoteProtocolError(
                "a snapshot is not what its maker says it is: something of it is damaged", code="snapshot-damaged"
            )


def _counted(batch: Batch, visible: dict[str, int]) -> tuple[dict[str, int], int]:
    """The numbers of visible records after a batch, and by how much that of all records changed."""
    counts, step = dict(visible), 0
    for name in batch.touched:
        record, before = batch.records[name], batch.stored.get(name)
        exists = record is not None and not record.empty
        step += int(exists) - int(before is not None)
        shown = int(record is not None and record.visible) - int(before is not None and before[1])
        if shown:
            counts[name[0]] = counts.get(name[0], 0) + shown
    return counts, step


def check_accepted(standing: Standing, limit_of: LimitOf) -> None:
    """Raises RemoteProtocolError if the roster does not accept so much of an origin (any more)."""
    for origin, at in standing.origins.items():
        _check_limit(origin, at.announcement, at.seq, limit_of)


def _check_limit(origin: bytes, announcement: Announcement, seq: int, limit_of: LimitOf) -> None:
    limit = limit_of(origin, announcement)
    if limit is not None and seq > limit:
        raise _refused("it holds what was written after its author was removed")


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a snapshot cannot be read: {why}", code="malformed")


def _refused(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a snapshot is refused: {why}", code="snapshot-refused")
