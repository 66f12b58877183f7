"""What the store has to write for a batch: rows, what is gone, the digest, the count."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec import Raw

from peerd.core import digest
from peerd.core.batch import Author, Batch
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.record import Record, Stamp
from peerd.core.record_form import decode_record
from peerd.core.values import pack
from peerd.core.writes import PARKED, RESTORED, SIBLINGS, Writes, finish, flags_of
from tests.simulation.device import SPACE
from tests.simulation.memory import Disk, MemoryReader

ANNOUNCEMENT = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)
AUTHOR = Author(origin_of(SPACE, ANNOUNCEMENT), ANNOUNCEMENT, lambda _: bytes(64))


@pytest.fixture
def disk() -> Disk:
    return Disk(CopyState(SPACE))


def put(key: str, **fields: object) -> Change:
    return Change(Kind.PUT, "notes", key, {name: Raw(pack(value)) for name, value in fields.items()})


def write(disk: Disk, *transactions: Iterable[Change]) -> Writes:
    batch = Batch(disk.state, MemoryReader(disk), lambda *_: None, lambda *_: True)
    for changes in transactions:
        batch.load(change.record for change in changes)
        batch.write(AUTHOR, tuple(changes), 1_000, 2)
    done = finish(batch)
    disk.commit(done)
    return done


def test_each_record_is_written_once_as_it_stands_at_the_end(disk: Disk) -> None:
    done = write(disk, [put("one", a=1), put("two", a=1)], [Change(Kind.PATCH, "notes", "one", {"a": Raw(pack(2))})])
    rows = {row.name: row for row in done.rows}
    assert rows.keys() == {("notes", "one"), ("notes", "two")}
    one = decode_record(rows["notes", "one"].stamps, rows["notes", "one"].body)
    assert one.fields == {"a": {Dot(AUTHOR.origin, 2): pack(2)}}
    assert done.gone == []
    assert done.origins.keys() == {AUTHOR.origin}
    assert [applied.run.last for applied in done.runs] == [2]


def test_what_is_gone_was_stored_before(disk: Disk) -> None:
    write(disk, [put("one")])
    done = write(disk, [Change(Kind.DELETE, "notes", "one")], [put("two")], [Change(Kind.DELETE, "notes", "two")])
    assert done.gone == [("notes", "one")]
    assert done.rows == []
    assert (done.state.visible, done.state.digest) == (0, digest.EMPTY)


def test_digest_and_count_follow_every_commit(disk: Disk) -> None:
    write(disk, [put(str(number), a=number) for number in range(20)])
    write(disk, [Change(Kind.DELETE, "notes", str(number)) for number in range(5)])
    write(disk, [put(str(number), a="again") for number in range(3, 8)])
    assert disk.state.visible == 17
    assert disk.state.digest == disk.recomputed_digest() != digest.EMPTY


def test_a_batch_that_did_nothing_moves_nothing(disk: Disk) -> None:
    write(disk, [put("one")])
    before = disk.state
    done = write(disk)
    assert done.state == before
    assert (done.rows, done.gone, done.runs, done.origins, done.history) == ([], [], [], {}, [])


def test_the_history_says_what_went_and_by_whom(disk: Disk) -> None:
    write(disk, [put("one", a=1)])
    done = write(disk, [put("one", b=2)])
    (row,) = done.history
    assert (row.name, row.by) == (("notes", "one"), Dot(AUTHOR.origin, 2))
    gone = decode_record(row.stamps, row.body)
    assert (gone.births, gone.fields) == ({Dot(AUTHOR.origin, 1)}, {"a": {Dot(AUTHOR.origin, 1): pack(1)}})


ONE, TWO = Dot(b"o" * 16, 1), Dot(b"o" * 16, 2)


def record(births: set[Dot], fields: dict[str, dict[Dot, bytes]], restored: set[Dot]) -> Record:
    made = Record()
    made.births, made.fields = births, fields
    dots = births.union(*fields.values())
    made.stamps = {dot: Stamp(0, 2, dot in restored) for dot in dots}
    return made


@pytest.mark.parametrize(
    ("made", "flags"),
    [
        (record({ONE}, {"a": {ONE: b""}}, set()), 0),
        (record({ONE}, {"a": {TWO: b""}}, set()), 0),
        (record({ONE}, {}, {ONE}), RESTORED),
        (record({ONE}, {"a": {TWO: b""}}, {TWO}), 0),  # a restored value under a written birth
        (record({ONE}, {"a": {TWO: b""}}, {ONE}), RESTORED),
        (record({ONE}, {"a": {ONE: b"", TWO: b""}}, set()), SIBLINGS),
        (record({ONE, TWO}, {"a": {ONE: b"", TWO: b""}}, {TWO}), SIBLINGS | RESTORED),
        (record(set(), {"a": {ONE: b"", TWO: b""}}, set()), PARKED),
    ],
)
def test_flags_say_what_deserves_a_look(made: Record, flags: int) -> None:
    assert flags_of(made) == flags
