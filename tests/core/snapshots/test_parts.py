"""The parts of a snapshot: what they say, how large they get, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core import digest
from peerd.core.batch import Author, Batch
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.record import Record, Stamp
from peerd.core.record_form import digest_of, encode_body, encode_stamps
from peerd.core.snapshots import parts as snapshot
from peerd.core.snapshots import rows
from peerd.core.snapshots.intake import Authority, Intake, Progress, SideWrites, Standing
from peerd.core.snapshots.parts import (
    PART_BYTES,
    Begin,
    End,
    Ends,
    EndsOf,
    Group,
    Joiner,
    OriginEnd,
    Origins,
    Part,
    Piece,
    Records,
    Runs,
    StoredRow,
    encode,
)
from peerd.core.snapshots.rows import LoneStamps, RowReader, ShortNames
from peerd.core.values import pack
from peerd.core.writes import PARKED, RESTORED, SIBLINGS, finish
from peerd.errors import LocalProtocolError, RemoteProtocolError
from tests.simulation.device import SPACE, signature, verify
from tests.simulation.memory import Disk, MemoryReader

DEVICE = b"d" * 32
ANNOUNCEMENT = Announcement(DEVICE, b"a" * 16, b"n" * 16)
ORIGIN = origin_of(SPACE, ANNOUNCEMENT)
AUTHOR = Author(ORIGIN, ANNOUNCEMENT, lambda data: signature(DEVICE, data))


class Beside:
    """What an intake writes, kept in memory."""

    def __init__(self, limit: int | None = None, *, admitted: bool = True) -> None:
        self.disk = Disk(CopyState(SPACE))
        self.standing = Standing()
        self.intake = Intake(SPACE, Authority(lambda _: admitted, lambda *_: limit, verify))

    def take(self, *parts: Part) -> None:
        for part in parts:
            done = self.intake.take(self.standing, part, MemoryReader(self.disk))
            self._write(done)

    def _write(self, done: SideWrites) -> None:
        self.disk.take(done)
        self.standing = self.standing.after(done)


class Maker:
    """A copy with three records, as parts."""

    def __init__(self) -> None:
        self.disk = Disk(CopyState(SPACE).with_origin(ORIGIN, ANNOUNCEMENT))
        for key in ("one", "two", "three"):
            self.write(Change(Kind.PUT, "notes", key, {"a": msgspec.Raw(pack(key))}))

    def write(self, *changes: Change) -> list[Run]:
        batch = Batch(self.disk.state, MemoryReader(self.disk), lambda *_: None, verify)
        batch.load(change.record for change in changes)
        batch.write(AUTHOR, changes, 1_000, 2)
        done = finish(batch)
        self.disk.commit(done)
        return [applied.run for applied in done.runs]

    def origins(self) -> Origins:
        at = self.disk.state.origins[ORIGIN]
        return Origins([OriginEnd(7, ANNOUNCEMENT, at.seq, at.head, self.disk.signatures[ORIGIN], at.context)])

    def records(self) -> Records:
        rows: list[StoredRow] = [
            (name[1], msgspec.msgpack.encode([[7, *stamp[1:]] for stamp in stamps]), body)
            for name, (stamps, body, _, _) in sorted(self.disk.rows.items())
        ]
        return Records([Group("notes", rows)])

    def end(self) -> End:
        return End(digest.summary(self.disk.state.digest), len(self.disk.rows))

    def parts(self) -> list[Part]:
        return [Begin(SPACE), self.origins(), Ends([]), self.records(), self.end()]


@pytest.fixture
def maker() -> Maker:
    return Maker()


def refused(beside: Beside, *parts: Part) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        beside.take(*parts)
    return caught.value.code


# ---- the form


def test_each_part_travels_and_comes_back_the_same(maker: Maker) -> None:
    (run,) = maker.write(Change(Kind.DELETE, "notes", "one"))
    others: list[Part] = [Ends([EndsOf(7, [(1, b"8 bytes.")])]), Runs([run], [(7, ANNOUNCEMENT)])]
    for part in [*maker.parts(), *others]:
        (data,) = encode(part)
        assert Joiner().take(data) == part


def test_what_is_too_large_for_a_part_travels_in_pieces() -> None:
    large = Records([Group("notes", [("key", b"\x90", bytes(3 * PART_BYTES))])])
    pieces = encode(large)
    assert len(pieces) == 4
    assert max(map(len, pieces)) <= PART_BYTES
    joiner = Joiner()
    assert [joiner.take(piece) for piece in pieces[:-1]] == [None] * 3
    assert joiner.pending == 3
    assert joiner.take(pieces[-1]) == large
    assert joiner.pending == 0


def test_what_nobody_may_take_in_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "ITEM_BYTES", PART_BYTES + 100)
    with pytest.raises(LocalProtocolError, match="take") as caught:
        encode(Records([Group("notes", [("key", b"\x90", bytes(2 * PART_BYTES))])]))
    assert caught.value.code == "snapshot-too-large"


def test_pieces_out_of_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = encode(Records([Group("notes", [("key", b"\x90", bytes(2 * PART_BYTES))])]))
    whole = encode(Begin(SPACE))[0]
    for order in ([pieces[1]], [pieces[0], pieces[0]], [pieces[0], whole]):
        joiner = Joiner()
        for data in order[:-1]:
            joiner.take(data)
        with pytest.raises(RemoteProtocolError, match="pieces"):
            joiner.take(order[-1])
    nested = msgspec.msgpack.encode(Piece(0, 2, b""))
    inner = [msgspec.msgpack.encode(Piece(number, 2, data)) for number, data in enumerate((nested, b""))]
    joiner = Joiner()
    joiner.take(inner[0])
    with pytest.raises(RemoteProtocolError, match="holds pieces"):
        joiner.take(inner[1])
    monkeypatch.setattr(snapshot, "ITEM_BYTES", PART_BYTES)
    joiner = Joiner()
    joiner.take(pieces[0])
    with pytest.raises(RemoteProtocolError) as caught:
        joiner.take(pieces[1])
    assert caught.value.code == "too-large"


def test_a_part_beyond_the_limit_is_refused() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Joiner().take(bytes(PART_BYTES + 1))
    assert caught.value.code == "too-large"


@given(st.binary(max_size=200))
def test_bytes_are_a_part_or_refused(data: bytes) -> None:
    try:
        Joiner().take(data)
    except RemoteProtocolError as refusal:
        assert refusal.code == "malformed"  # noqa: PT017 - there are two right outcomes


@given(st.integers(0, 60), st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_still_a_part(at: int, bit: int) -> None:
    (data,) = encode(Maker().origins())
    flipped = bytearray(data)
    flipped[at % len(data)] ^= 1 << bit
    try:
        Joiner().take(bytes(flipped))
    except RemoteProtocolError as refusal:
        assert refusal.code == "malformed"  # noqa: PT017 - the same


# ---- taking in


def test_what_comes_in_is_what_its_maker_had(maker: Maker) -> None:
    beside = Beside()
    beside.take(*maker.parts())
    assert beside.disk.rows == maker.disk.rows
    assert beside.standing.is_whole
    assert beside.standing.clock == {ORIGIN: 3}
    assert beside.standing.progress.digest == maker.disk.state.digest
    assert beside.standing.progress.visible == {"notes": 3}
    assert beside.standing.origins[ORIGIN].state() == maker.disk.state.origins[ORIGIN]


def test_what_was_written_while_records_were_read_is_applied_to_them(maker: Maker) -> None:
    """One row was read before its record was deleted, one after it was written."""
    begun: list[Part] = [Begin(SPACE), maker.origins()]
    early = maker.records()
    runs = maker.write(Change(Kind.DELETE, "notes", "one"))
    runs += maker.write(Change(Kind.PUT, "notes", "two", {"a": msgspec.Raw(pack("again"))}))
    late = [row for row in maker.records().groups[0].rows if row[0] == "two"]
    mixed = [row for row in early.groups[0].rows if row[0] != "two"] + late
    beside = Beside()
    beside.take(*begun, Records([Group("notes", mixed)]), Runs(runs), maker.end())
    assert beside.disk.rows == maker.disk.rows
    assert beside.standing.clock == {ORIGIN: 5}
    assert beside.standing.progress.visible == {"notes": 2}


def test_an_origin_that_began_meanwhile_comes_with_what_it_wrote() -> None:
    maker = Maker()
    runs = [applied.run for applied in maker.disk.log]
    beside = Beside()
    beside.take(Begin(SPACE), Records(maker.records().groups, [(7, ANNOUNCEMENT)]), Runs(runs), maker.end())
    assert beside.standing.clock == {ORIGIN: 3}
    beside = Beside()
    beside.take(Begin(SPACE), Runs(runs, [(7, ANNOUNCEMENT)]), maker.end())
    assert beside.disk.rows == maker.disk.rows


def test_the_end_must_agree_with_what_came(maker: Maker) -> None:
    begin, origins, ends, records, end = maker.parts()
    fewer = Records([Group("notes", records.groups[0].rows[:2])])  # type: ignore[union-attr] # they are records
    assert refused(Beside(), begin, origins, ends, fewer, end) == "snapshot-damaged"
    other = (*records.groups[0].rows[0][:2], records.groups[0].rows[1][2])  # type: ignore[union-attr] # they are records
    swapped = Records([Group("notes", [other, *records.groups[0].rows[1:]])])  # type: ignore[union-attr] # they are records
    assert refused(Beside(), begin, origins, ends, swapped, end) == "snapshot-damaged"


def test_a_record_beyond_the_clock_is_refused(maker: Maker) -> None:
    begun: list[Part] = [Begin(SPACE), maker.origins()]
    maker.write(Change(Kind.PUT, "notes", "four", {}))
    assert refused(Beside(), *begun, maker.records(), maker.end()) == "malformed"


def test_heads_must_be_signed_and_accepted(maker: Maker) -> None:
    (end,) = maker.origins().origins
    forged = Origins([msgspec.structs.replace(end, seq=4)])
    assert refused(Beside(), Begin(SPACE), forged) == "bad-signature"
    assert refused(Beside(limit=2), Begin(SPACE), maker.origins()) == "snapshot-refused"
    assert refused(Beside(admitted=False), Begin(SPACE), maker.origins()) == "unknown-author"
    Beside(limit=3).take(Begin(SPACE), maker.origins())


def test_runs_must_be_signed_and_accepted_and_in_their_place(maker: Maker) -> None:
    begun: list[Part] = [Begin(SPACE), maker.origins(), maker.records()]
    (run,) = maker.write(Change(Kind.DELETE, "notes", "one"))
    forged = msgspec.structs.replace(run, signature=bytes(64))
    assert refused(Beside(), *begun, Runs([forged])) == "bad-entry"
    assert refused(Beside(limit=3), *begun, Runs([run])) == "snapshot-refused"
    (later,) = maker.write(Change(Kind.DELETE, "notes", "two"))
    assert refused(Beside(), *begun, Runs([later])) == "malformed"
    assert refused(Beside(), *begun, Runs([msgspec.structs.replace(run, first=3)])) == "malformed"
    overlapping = msgspec.structs.replace(run, first=3, entries=run.entries * 2)
    assert refused(Beside(), *begun, Runs([overlapping])) == "snapshot-refused"


def test_parts_out_of_order_are_refused(maker: Maker) -> None:
    begin, origins, ends, records, end = maker.parts()
    for parts in (
        [origins],
        [begin, begin],
        [begin, records, origins],
        [begin, ends, origins],
        [begin, origins, ends, records, end, end],
        [begin, origins, ends, records, end, records],
    ):
        assert refused(Beside(), *parts) == "malformed"


def test_a_snapshot_of_another_space_or_of_a_later_version_is_refused() -> None:
    assert refused(Beside(), Begin(b"another space!!!")) == "snapshot-refused"
    assert refused(Beside(), Begin(SPACE, level=3)) == "needs-newer"


def test_an_origin_named_twice_is_refused(maker: Maker) -> None:
    again = Records([], [(8, ANNOUNCEMENT)])
    assert refused(Beside(), Begin(SPACE), maker.origins(), again) == "malformed"


def test_ends_are_of_what_it_holds(maker: Maker) -> None:
    for ends in ([EndsOf(7, [(4, b"8 bytes.")])], [EndsOf(6, [(1, b"8 bytes.")])]):
        assert refused(Beside(), Begin(SPACE), maker.origins(), Ends(ends)) == "malformed"


# ---- rows

NUMBERS = {0: b"o" * 16, 1: b"p" * 16}
ONE, TWO = Dot(NUMBERS[0], 1), Dot(NUMBERS[1], 2)


def stored(record: Record, key: str = "key") -> StoredRow:
    order, stamps = encode_stamps(record.stamps)
    number_of = {origin: number for number, origin in NUMBERS.items()}
    rows = [[number_of[row[0]], *row[1:]] for row in stamps]
    return key, msgspec.msgpack.encode(rows), encode_body(record.births, record.fields, order)


def read(*rows: StoredRow) -> tuple[RowReader, Disk]:
    """What is read, and the rows that are written of it."""
    reader, disk = RowReader(LoneStamps(NUMBERS), ShortNames()), Disk(CopyState(SPACE))
    reader.read("notes", rows)
    disk.take(SideWrites(Progress(), rows=reader.rows, plain=reader.plain))
    return reader, disk


def record_of(births: set[Dot], fields: dict[str, dict[Dot, bytes]], **stamps: Stamp) -> Record:
    record = Record()
    record.births, record.fields = births, fields
    known = {ONE: Stamp(5, 2), TWO: Stamp(6, 0)}
    record.stamps = {dot: known[dot] for dot in sorted(births.union(*fields.values()))}
    if "two" in stamps:
        record.stamps[TWO] = stamps["two"]
    return record


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        (record_of({ONE}, {"a": {ONE: b"\x01"}}), 0),
        (record_of({ONE}, {}), 0),
        (record_of(set(), {"a": {ONE: b"\x01"}}), PARKED),
        (record_of({ONE}, {"a": {ONE: b"\x01", TWO: b"\x02"}}), SIBLINGS),
        (record_of({TWO}, {"a": {ONE: b"\x01"}}, two=Stamp(6, 1, restored=True, answers=Dot(b"q" * 16, 3))), RESTORED),
        (record_of({TWO}, {"a": {TWO: b"\x01"}}, two=Stamp(6, 1, restored=True, answers=ONE)), RESTORED),
        (record_of({TWO}, {"a": {TWO: b"\x01"}}, two=Stamp(6, 1, restored=True)), RESTORED),
        (record_of({ONE}, {"n" * 70: {ONE: b"\x81\xa1x\x81\xa1y\xc0"}}), 0),
    ],
)
def test_a_row_is_read_as_it_was_stored(record: Record, flags: int) -> None:
    key, stamps, body = stored(record)
    reader, disk = read((key, stamps, body))
    order, expected = encode_stamps(record.stamps)
    bucket, share = digest_of("notes", key, expected, bytes(body))
    assert disk.rows == {("notes", key): (expected, body, share, flags)}
    assert reader.visible == ({"notes": 1} if record.visible else {})
    assert reader.highest == {dot.origin: dot.seq for dot in order}
    assert [(at, kept % digest.MODULUS) for at, kept in enumerate(reader.shares) if kept] == [(bucket, share)]


def test_records_of_one_transaction_are_read_like_others() -> None:
    """Their stamps are looked at once, whatever the records are."""
    plain = b"\x91\x94\x01\x09\x05\x02"
    born, parked, odd = b"\x92\x01\x81\xa1a\x01", b"\x92\x00\x81\xa1a\x01", b"\x92\x01\x81\xa1a\x91\x91\x01"
    rows = [("a", plain, born), ("b", plain, odd), ("c", plain, parked), ("d", plain, born)]
    reader, disk = read(*rows)
    apart = [read(row) for row in rows]
    assert disk.rows == {name: row for _, one in apart for name, row in one.rows.items()}
    assert [row[3] for _, row in sorted(disk.rows.items())] == [0, 0, PARKED, 0]
    assert reader.visible == {"notes": 3}
    assert reader.highest == {NUMBERS[1]: 9}


def test_stamps_are_kept_for_the_next_records_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_STAMPS_KEPT", 2)
    body, stamps = b"\x92\x01\x81\xa1a\x01", LoneStamps(NUMBERS)
    many = [(f"{seq:03}", msgspec.msgpack.encode([[1, seq, 5, 2]]), body) for seq in range(1, 6)]
    first, second = (RowReader(stamps, ShortNames()) for _ in range(2))
    first.read("notes", many)
    second.read("notes", many[3:])
    assert len(stamps) <= 2
    assert first.highest == second.highest == {NUMBERS[1]: 5}
    assert [list(one.shares) for one in second.plain] == [list(one.shares)[3:] for one in first.plain]


def test_a_stamp_in_a_longer_form_than_it_needs_is_the_same() -> None:
    """It is kept in the short one, of which the digest is made everywhere."""
    body = b"\x92\x01\x81\xa1a\x01"
    long, short = (
        read(("key", b"\x91\x94\x00\xcd\x00\x01\xcc\x05\x02", body)),
        read(("key", b"\x91\x94\x00\x01\x05\x02", body)),
    )
    assert long[1].rows == short[1].rows
    assert msgspec.to_builtins(long[0].plain) == msgspec.to_builtins(short[0].plain) != []


@pytest.mark.parametrize(
    "row",
    [
        ("", b"\x91\x94\x00\x01\x05\x02", b"\x92\x01\x80"),
        ("k" * 1025, b"\x91\x94\x00\x01\x05\x02", b"\x92\x01\x80"),
        ("key", b"\x91\x94\x09\x01\x05\x02", b"\x92\x01\x80"),  # a number that stands for nothing
        ("key", b"\x91\x94\x00\x00\x05\x02", b"\x92\x01\x80"),  # seq 0
        ("key", b"\x91\x94\x00\x01\x05\x03", b"\x92\x01\x80"),  # tq 3
        ("key", b"\x91\x94\x00\x01\xff\x02", b"\x92\x01\x80"),  # a time before 1970
        ("key", b"\x91\x94\x00\x01\x05\x02", b"\x92\x00\x80"),  # neither birth nor value
        ("key", b"\x90", b"\x92\x01\x80"),
        ("key", b"\x92\x94\x00\x01\x05\x02\x94\x00\x01\x05\x02", b"\x92\x90\x80"),  # a dot with two stamps
        ("key", b"\x92\x94\x00\x01\x05\x02\x94\x01\x01\x05\x02", b"\x92\x91\x00\x80"),  # a stamp of nothing
        ("key", b"\x91\x94\x00\x01\x05\x02", b"\x92\x91\x09\x80"),  # a birth without a stamp
        ("key", b"\x91\x94\x00\x01\x05\x02", b"\x92\x01\x81\xa1a\xd4\x07\x00"),  # a value that is none
        ("key", b"\x91\x94\x00\x01\x05\x02", b"\x92\x01\x81" + msgspec.msgpack.encode("f" * 256) + b"\x01"),
        ("key", b"\x91\x95\x00\x01\x05\x06\x92\x00\x00", b"\x92\x01\x80"),  # a delete at 0
        ("key", b"", b""),
        ("key", b"\x01", b"\x01"),
    ],
)
def test_a_row_that_nobody_could_have_written_is_refused(row: StoredRow) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read(row)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("collection", ["", "c" * 256])
def test_a_collection_without_a_possible_name_is_refused(collection: str, maker: Maker) -> None:
    rows = Records([Group(collection, maker.records().groups[0].rows)])
    assert refused(Beside(), Begin(SPACE), maker.origins(), rows) == "malformed"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_a_row_or_refused(stamps: bytes, body: bytes) -> None:
    try:
        read(("key", stamps, body))
    except RemoteProtocolError as refusal:
        assert refusal.code == "malformed"  # noqa: PT017 - there are two right outcomes


def test_names_of_fields_are_measured_once_each_and_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_NAMES_KEPT", 5)
    names = ShortNames()
    stamps = msgspec.msgpack.encode([[1, 9, 5, 2]])

    def taken(*fields: str) -> int:
        body = encode_body({ONE}, {name: {ONE: msgspec.msgpack.encode("x" * 300)} for name in fields}, [ONE])
        reader = RowReader(LoneStamps(NUMBERS), names)
        reader.read("notes", [("key", stamps, body)])
        return sum(len(some.keys) for some in reader.plain)

    assert [taken("a", "b"), taken("a", "b", "n" * 64), taken("b", "a")] == [1, 0, 1]
    assert names == {"a", "b"}
    with pytest.raises(RemoteProtocolError, match="name is too long"):
        taken("a", "n" * 256)
    assert [taken(f"{number}") for number in range(20)] == [1] * 20
    assert len(names) <= 5
