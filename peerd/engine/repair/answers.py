"""What is said of our copy to another device that compares it with its own, or puts its own right."""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core import digest
from peerd.core.batch import Name, Stored
from peerd.core.record_form import bucket_of
from peerd.core.repair.form import (
    Answer,
    clock_mark,
    dots_of,
    pack_answer,
    pack_evidence,
    pack_record,
    unpack_record,
    whole_mark,
)
from peerd.core.repair.scrub import SharesRead, is_sound
from peerd.engine.repair import log_repairs, mending
from peerd.engine.space import Space
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import SHARES_PER_FRAME, Locate, Located, Mend, Mended, RecordName
from peerd.protocol.repairing import LARGEST_BYTES, Standing

SHARES = SHARES_PER_FRAME
SHARES_BYTES = 512 << 10
ROWS_LOOKED_AT = 50_000
RECORDS_BYTES = 700 << 10

_MOVED = bytes(16)  # the mark of no clock: ours moved while we looked


def standing(space: Space) -> Standing:
    return Standing(clock_mark(space.copy.clock()), space.copy.digest, space.damage.owed_buckets())


def _mark(space: Space, before: Standing) -> bytes:
    return before.clock if standing(space) == before else _MOVED


async def shares(space: Space, question: Locate, ours: Standing) -> Located:
    """The next page of the shares that are asked for."""
    page = await space.store.scrubs.shares(question.buckets, question.after, None, SHARES, ROWS_LOOKED_AT)
    if question.after is None and page.up_to is None:
        _check_sums(space, question.buckets, page, ours)
    found = [(collection, key, share.to_bytes(8, "big")) for collection, key, share in page.shares]
    up_to, size_bytes = page.up_to, 0
    for number, (collection, key, _) in enumerate(found):
        size_bytes += len(collection.encode()) + len(key.encode()) + 20
        if number and size_bytes > SHARES_BYTES:
            del found[number:]
            up_to = found[-1][:2]
            break
    return Located(space.id, _mark(space, ours), ours.digest, b"", found, up_to, list(ours.faulty))


def _check_sums(space: Space, buckets: Sequence[int], page: SharesRead, ours: Standing) -> None:
    """Somebody differs from us there: do our records make the sums that we say?"""
    steps = ((bucket_of(collection, key), share) for collection, key, share in page.shares)
    sums = digest.moved(digest.EMPTY, steps)
    differs = any(digest.at(sums, bucket) != digest.at(ours.sums, bucket) for bucket in buckets)
    if differs and standing(space) == ours:
        space.scrub.alarm()


async def held(space: Space, names: Sequence[RecordName]) -> list[tuple[str, str, bytes]]:
    """What we hold of these records, of as many as fit into a frame; nothing of a bad one."""
    here = await mending.stored(space.store, names)
    found: list[tuple[str, str, bytes]] = []
    size_bytes = 0
    for name in names:
        packed = _said(space, name, here.get(name))
        size_bytes += len(packed) + 200
        if size_bytes > RECORDS_BYTES:
            break
        found.append((*name, packed))
    return found or [(*names[0], b"")]


class Large:
    """The answer about one record that fits no frame, while its pieces are asked for."""

    def __init__(self) -> None:
        self._of: tuple[RecordName, Standing] | None = None
        self._data = b""

    def keep(self, name: RecordName, ours: Standing, data: bytes) -> None:
        self._of, self._data = (name, ours), data

    def forget(self) -> None:
        self._of, self._data = None, b""

    def piece(self, space: Space, name: RecordName, ours: Standing, after: int) -> Mended | None:
        """The bytes behind `after`; None if they are not at hand."""
        if self._of != (name, ours):
            return None
        data, piece = self._data, self._data[after : after + RECORDS_BYTES]
        if after + len(piece) >= len(data):
            self.forget()
        return Mended(space.id, ours.clock, [], [], len(data), piece, whole_mark(data))


async def records(space: Space, question: Mend, ours: Standing, large: Large) -> Mended:
    """What we hold of these, what our log proves of them, and whether we know that ours is damaged; or runs. Of a first
    one that fits no frame, a piece: `large` keeps the rest.

    Raises:
        RemoteProtocolError: what they hold is no record.
    """
    if question.runs:
        return Mended(space.id, ours.clock, [], await log_repairs.ours(space, question.runs))
    if question.clock != ours.clock or not question.records:
        return Mended(space.id, ours.clock, [])
    names = [(collection, key) for collection, key, _ in question.records]
    if question.after and (piece := large.piece(space, names[0], ours, question.after)) is not None:
        return piece
    large.forget()
    here = await mending.stored(space.store, names)
    dots = dots_of(stored.record for stored in here.values())
    try:
        dots |= dots_of(unpack_record(packed) for _, _, packed in question.records)
    except ValueError:
        raise RemoteProtocolError("a record that is none", code="malformed") from None
    gathering = await mending.gather(space.commits, space.store, names=names, dots=dots)
    found: list[Answer] = []
    size_bytes = 0
    for name in names:
        packed = _said(space, name, here.get(name))
        evidence = pack_evidence(gathering.of(name))
        answer = (*name, packed, evidence, (not packed and name in here) or space.damage.doubts(name))
        size_bytes += len(packed) + len(evidence) + 200
        if size_bytes > RECORDS_BYTES:
            if not found and size_bytes < LARGEST_BYTES and standing(space) == ours:
                large.keep(name, ours, pack_answer(answer))
            break
        found.append(answer)
    if not found and (piece := large.piece(space, names[0], ours, question.after)) is not None:
        return piece
    return Mended(space.id, _mark(space, ours), found)


def _said(space: Space, name: Name, stored: Stored | None) -> bytes:
    """Our record, unless it is known not to be what was written: that nobody shall have."""
    if stored is None or space.damage.findings.suspects(name):
        return b""
    if stored.found is not None or not is_sound(stored.record):
        space.scrub.alarm()
        return b""
    return pack_record(stored.record)
