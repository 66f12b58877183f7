"""What one SQL transaction does to a copy: runs, order, heads, signatures, limits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import chain, entry, limits, writes
from peerd.core.batch import Author, Batch, Doubt, Forged, Fork, Verdict
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.roster.statements import Final
from peerd.core.values import pack
from tests.simulation.device import SPACE, signature, verify
from tests.simulation.memory import Disk, MemoryReader


class Copy:
    """A copy that accepts everything of everybody whose origin it knows."""

    def __init__(self, letter: str) -> None:
        device = letter.encode() * 32
        self.announcement = Announcement(device, b"a" * 16, b"n" * 16)
        self.origin = origin_of(SPACE, self.announcement)
        self.author = Author(self.origin, self.announcement, lambda data: signature(device, data))
        self.disk = Disk(CopyState(SPACE))
        self.limit: int | None = None
        self.forks: Mapping[bytes, tuple[ClosedFork, ...]] = {}

    def batch(self) -> Batch:
        return Batch(
            self.disk.state,
            MemoryReader(self.disk),
            lambda _origin, _announcement: self.limit,
            verify,
            lambda origin: self.forks.get(origin, ()),
        )

    def write(self, *changes: Change) -> Run:
        """One committed transaction. Gives its run."""
        batch = self.batch()
        self.write_in(batch, *changes)
        return self.commit(batch)[0]

    def write_in(self, batch: Batch, *changes: Change) -> Dot:
        batch.load(change.record for change in changes)
        return batch.write(self.author, changes, 1_000, 2)

    def commit(self, batch: Batch) -> list[Run]:
        done = writes.finish(batch)
        self.disk.commit(done)
        return [applied.run for applied in done.runs]

    def know(self, *others: Copy) -> None:
        for other in others:
            self.disk.state = self.disk.state.with_origin(other.origin, other.announcement)

    def take(self, run: Run) -> Verdict:
        batch = self.batch()
        verdict = take(batch, run)
        self.commit(batch)
        return verdict

    def sign(self, run: Run, previous: bytes) -> Run:
        """The run as this copy's device signs it."""
        head = chain.hash_after(previous, run.entries)
        return replace(run, signature=self.author.sign(chain.signed_bytes(SPACE, self.origin, run.last, head)))


def take(batch: Batch, run: Run) -> Verdict:
    return batch.take(run, [entry.decode(data) for data in run.entries])


def put(key: str, value: object = 1) -> Change:
    return Change(Kind.PUT, "notes", key, {"a": Raw(pack(value))})


@pytest.fixture
def ours() -> Copy:
    return Copy("o")


@pytest.fixture
def theirs() -> Copy:
    return Copy("t")


def test_nothing_foreign_stands_inside_a_run(ours: Copy, theirs: Copy) -> None:
    """What is written after a foreign run is a run of its own, and says that it has seen the other one."""
    ours.know(theirs)
    batch = ours.batch()
    ours.write_in(batch, put("before"))
    assert take(batch, theirs.write(put("theirs"))) is Verdict.APPLIED
    ours.write_in(batch, put("after"))
    first, foreign, second = ours.commit(batch)
    assert (first.origin, foreign.origin, second.origin) == (ours.origin, theirs.origin, ours.origin)
    assert (first.first, first.last, second.first, second.last) == (1, 1, 2, 2)
    assert [(head.origin, head.seq) for head in entry.decode(second.entries[0]).delta] == [(theirs.origin, 1)]


def test_one_group_commit_is_one_run_that_names_heads_once(ours: Copy, theirs: Copy) -> None:
    ours.know(theirs)
    ours.take(theirs.write(put("theirs")))
    batch = ours.batch()
    for number in range(3):
        ours.write_in(batch, put(str(number)))
    (run,) = ours.commit(batch)
    assert (run.first, run.last) == (1, 3)
    deltas = [entry.decode(data).delta for data in run.entries]
    assert [len(delta) for delta in deltas] == [1, 0, 0]
    again = entry.decode(ours.write(put("later")).entries[0])
    assert again.delta == ()  # against the previous entry, which had seen it


def test_a_run_that_is_full_is_closed(ours: Copy) -> None:
    batch = ours.batch()
    for number in range(limits.RUN_ENTRIES + 1):
        ours.write_in(batch, put(str(number)))
    first, second = ours.commit(batch)
    assert (len(first.entries), len(second.entries)) == (limits.RUN_ENTRIES, 1)


def test_a_run_holds_256_kib_unless_one_entry_alone_is_larger(ours: Copy, theirs: Copy) -> None:
    batch = ours.batch()
    for number, size in enumerate((100_000, 100_000, 100_000, 300_000, 10)):
        ours.write_in(batch, put(str(number), "x" * size))
    runs = ours.commit(batch)
    assert [len(run.entries) for run in runs] == [2, 1, 1, 1]
    theirs.know(ours)
    assert [theirs.take(run) for run in runs] == [Verdict.APPLIED] * 4


def test_a_run_is_signed_over_its_chain(ours: Copy, theirs: Copy) -> None:
    run = ours.write(put("one"))
    theirs.know(ours)
    with pytest.raises(Forged, match="signature"):
        theirs.take(replace(run, signature=bytes(64)))
    other = ours.write(put("two"))
    with pytest.raises(Forged, match="signature"):
        theirs.take(replace(run, entries=other.entries))
    assert theirs.take(run) is Verdict.APPLIED


def test_no_run_ends_beyond_the_last_seq(ours: Copy, theirs: Copy) -> None:
    """However early it comes: it could be kept nowhere until its turn."""
    run = ours.write(put("one"))
    theirs.know(ours)
    with pytest.raises(Forged, match="last seq"):
        theirs.take(replace(run, first=limits.INT64_MAX, entries=run.entries * 2))
    assert theirs.take(replace(run, first=limits.INT64_MAX)) is Verdict.WAITING


def test_a_refused_run_leaves_no_trace(ours: Copy, theirs: Copy) -> None:
    run = ours.write(put("one"))
    theirs.know(ours)
    batch = theirs.batch()
    with pytest.raises(Forged):
        take(batch, replace(run, signature=bytes(64)))
    done = writes.finish(batch)
    assert done.state == theirs.disk.state
    assert (done.rows, done.runs, done.origins) == ([], [], {})


def test_the_second_run_cannot_come_first(ours: Copy, theirs: Copy) -> None:
    first, second = ours.write(put("one")), ours.write(put("two"))
    theirs.know(ours)
    assert theirs.take(second) is Verdict.WAITING
    assert theirs.take(first) is Verdict.APPLIED
    assert theirs.take(second) is Verdict.APPLIED
    assert theirs.take(first) is Verdict.KNOWN


def test_a_run_waits_for_what_its_author_had_seen(ours: Copy, theirs: Copy) -> None:
    third = Copy("3")
    ours.know(theirs)
    seen = theirs.write(put("theirs"))
    ours.take(seen)
    run = ours.write(put("ours"))
    third.know(ours)
    assert third.take(run) is Verdict.WAITING  # not even the origin is known
    third.know(theirs)
    assert third.take(run) is Verdict.WAITING
    third.take(seen)
    assert third.take(run) is Verdict.APPLIED


def test_a_forged_run_is_refused_before_it_waits(ours: Copy, theirs: Copy) -> None:
    """Kept until its time comes, it would be blamed on whoever brings what it waits for."""
    third = Copy("3")
    ours.know(theirs)
    ours.take(theirs.write(put("theirs")))
    run = ours.write(put("ours"))
    third.know(ours, theirs)
    with pytest.raises(Forged, match="signature"):
        third.take(replace(run, signature=bytes(64)))


def test_a_run_of_an_origin_nobody_announced_is_not_judged(ours: Copy, theirs: Copy) -> None:
    assert theirs.take(ours.write(put("one"))) is Verdict.UNKNOWN_ORIGIN


def test_what_a_removed_author_wrote_beyond_the_limit_is_refused(ours: Copy, theirs: Copy) -> None:
    first, second = ours.write(put("one")), ours.write(put("two"))
    theirs.know(ours)
    theirs.limit = 1
    assert theirs.take(first) is Verdict.APPLIED
    assert theirs.take(second) is Verdict.REFUSED
    assert theirs.disk.state.clock() == {ours.origin: 1}


def test_a_run_that_overlaps_what_we_have_is_a_fork(ours: Copy, theirs: Copy) -> None:
    run = ours.write(put("one"))
    theirs.know(ours)
    theirs.take(run)
    batch = ours.batch()
    ours.write_in(batch, put("two"))
    ours.write_in(batch, put("three"))
    (later,) = ours.commit(batch)
    with pytest.raises(Fork) as fork:
        theirs.take(replace(later, first=1))
    assert (fork.value.origin, fork.value.seq) == (ours.origin, 1)


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_entry_that_had_seen_another_history_is_a_fork(ours: Copy, theirs: Copy, ahead: int) -> None:
    """At the head of the origin, and at an earlier run end whose hash is kept."""
    third, twin = Copy("3"), Copy("3")
    ours.know(third)
    theirs.know(third, ours)
    theirs.take(third.write(put("one side")))
    for number in range(ahead):
        theirs.take(third.write(put(str(number))))
    ours.take(twin.write(put("other side")))
    run = ours.write(put("x"))
    with pytest.raises(Fork) as fork:
        theirs.take(run)
    assert (fork.value.origin, fork.value.seq) == (third.origin, 1)


def test_an_entry_that_had_seen_a_part_of_a_run_is_a_fork(ours: Copy, theirs: Copy) -> None:
    """Runs travel whole, so it was another run, though there is no hash to compare."""
    third, twin = Copy("3"), Copy("3")
    ours.know(third)
    theirs.know(third, ours)
    batch = third.batch()
    for number in range(3):
        third.write_in(batch, put(f"{number}"))
    (whole,) = third.commit(batch)
    ours.take(twin.write(put("other side")))
    run = ours.write(put("x"))
    beside = theirs.batch()
    take(beside, whole)
    with pytest.raises(Fork):
        take(beside, run)
    theirs.take(whole)
    with pytest.raises(Fork) as fork:
        theirs.take(run)
    assert not isinstance(fork.value, Doubt)
    assert (fork.value.origin, fork.value.seq) == (third.origin, 1)


def test_an_entry_that_had_seen_what_our_log_no_longer_tells_counts_only_from_who_holds_our_history(
    ours: Copy, theirs: Copy
) -> None:
    """Otherwise it would hide what its author perhaps never saw."""
    third = Copy("3")
    ours.know(third)
    theirs.know(third, ours)
    first = third.write(put("a"))
    theirs.take(first)
    theirs.take(third.write(put("b")))
    ours.take(first)
    run = ours.write(put("x"))
    entries = [entry.decode(data) for data in run.entries]
    del theirs.disk.hashes[third.origin, 1]
    theirs.disk.log.clear()
    theirs.disk.state = theirs.disk.state.with_horizon({third.origin: 2})
    with pytest.raises(Doubt) as doubt:
        theirs.batch().take(run, entries, {})
    assert (doubt.value.origin, doubt.value.seq) == (third.origin, 1)
    assert "perhaps" in str(doubt.value)
    assert theirs.batch().take(run, entries, {third.origin: 1}) is Verdict.APPLIED
    assert theirs.batch().take(run, entries) is Verdict.APPLIED


def test_a_fork_inside_one_batch_is_seen(ours: Copy, theirs: Copy) -> None:
    third, twin = Copy("3"), Copy("3")
    ours.know(third)
    theirs.know(third, ours)
    ours.take(twin.write(put("other side")))
    batch = theirs.batch()
    take(batch, third.write(put("one side")))
    take(batch, third.write(put("and on")))
    with pytest.raises(Fork):
        take(batch, ours.write(put("x")))


def test_of_a_closed_fork_only_the_variant_that_stands_is_accepted(ours: Copy, theirs: Copy) -> None:
    """By whoever has neither; and whoever has one goes no further with the other, without a word of a fork. What was
    written on the other variant is not accepted either.
    """
    third, twin, friend = Copy("3"), Copy("3"), Copy("f")
    common, other_common = third.write(put("both")), twin.write(put("both"))
    stays, falls = third.write(put("one side")), twin.write(put("other side"))
    heads = [Final(2, copy.disk.state.origins[copy.origin].head[:8]) for copy in (third, twin)]
    on, off = third.write(put("and on")), twin.write(put("and on"))
    friend.know(third)
    for run in (other_common, falls):
        friend.take(run)
    written = friend.write(put("x"))
    forks = {third.origin: (ClosedFork(third.origin, 1, b"1" * 8, heads[0], (heads[1],)),)}
    for copy in (ours, theirs):
        copy.forks = forks
        copy.know(third, friend)
        copy.take(common)
    assert [ours.take(run) for run in (falls, stays, on, off)] == [
        Verdict.REFUSED, Verdict.APPLIED, Verdict.APPLIED, Verdict.KNOWN,
    ]  # fmt: skip
    assert theirs.take(stays) is Verdict.APPLIED
    batch = twin.batch()
    twin.write_in(batch, put("two"))
    twin.write_in(batch, put("three"))
    (both_sides,) = twin.commit(batch)
    assert theirs.take(replace(both_sides, first=2)) is Verdict.REFUSED
    assert theirs.take(written) is Verdict.REFUSED


def forged_runs(ours: Copy, theirs: Copy) -> list[tuple[str, Run]]:
    """Runs with a good signature that no honest author makes."""
    head = entry.Head(theirs.origin, 1, theirs.disk.state.origins[theirs.origin].head[:8])
    own = entry.Head(ours.origin, 1, bytes(8))
    plain = entry.encode(entry.Entry(entry.FORMAT, 1, 2, (), None, (put("a"),)))
    naming = entry.encode(entry.Entry(entry.FORMAT, 1, 2, (head,), None, (put("b"),)))
    of_itself = entry.encode(entry.Entry(entry.FORMAT, 1, 2, (own,), None, (put("c"),)))
    half = entry.encode(entry.Entry(entry.FORMAT, 1, 2, (), None, (put("d", "x" * (150 << 10)),)))
    return [
        ("heads in the middle", Run(ours.origin, 1, (plain, naming), b"")),
        ("itself as seen", Run(ours.origin, 1, (of_itself,), b"")),
        ("no entries", Run(ours.origin, 1, (), b"")),
        ("sequence zero", Run(ours.origin, 0, (plain, plain), b"")),
        ("too many entries", Run(ours.origin, 1, (plain,) * (limits.RUN_ENTRIES + 1), b"")),
        ("too many bytes", Run(ours.origin, 1, (half, half), b"")),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_run_that_no_honest_author_makes_is_refused(ours: Copy, theirs: Copy, number: int) -> None:
    theirs.write(put("theirs"))
    theirs.know(ours)
    _, run = forged_runs(ours, theirs)[number]
    signed = ours.sign(run, theirs.disk.state.origins[ours.origin].head)
    with pytest.raises(Forged):
        theirs.take(signed)
    assert theirs.disk.state.seq(ours.origin) == 0


def test_a_context_never_goes_back(ours: Copy, theirs: Copy) -> None:
    theirs.know(ours)
    ours.know(theirs)
    ours.take(theirs.write(put("1")))
    ours.take(theirs.write(put("2")))
    theirs.take(ours.write(put("having seen both")))
    early = entry.Head(theirs.origin, 1, theirs.disk.hashes[theirs.origin, 1])
    back = entry.encode(entry.Entry(entry.FORMAT, 1, 2, (early,), None, (put("x"),)))
    signed = ours.sign(Run(ours.origin, 2, (back,), b""), theirs.disk.state.origins[ours.origin].head)
    with pytest.raises(Forged, match="back"):
        theirs.take(signed)


def test_a_transaction_that_breaks_a_limit_is_not_written(ours: Copy) -> None:
    batch = ours.batch()
    for changes in ([put("")], [put("a"), put("a")], [], [put("a", "x" * limits.ENTRY_BYTES)]):
        with pytest.raises(ValueError, match=r"\w"):
            ours.write_in(batch, *changes)
    assert not batch.touched
    assert ours.write_in(batch, put("a")) == Dot(ours.origin, 1)


def test_a_commit_that_fails_has_not_happened(ours: Copy) -> None:
    ours.write(put("kept"))
    before, rows = ours.disk.state, dict(ours.disk.rows)
    batch = ours.batch()
    ours.write_in(batch, put("lost"), put("kept", 2))
    writes.finish(batch)
    assert (ours.disk.state, ours.disk.rows) == (before, rows)
    assert ours.disk.state.seq(ours.origin) == 1


def test_what_a_change_drops_goes_to_the_local_history(ours: Copy) -> None:
    ours.write(put("one", 1))
    batch = ours.batch()
    dot = ours.write_in(batch, Change(Kind.PATCH, "notes", "one", {"a": Raw(pack(2))}))
    (row,) = batch.history
    assert (row.name, row.by) == (("notes", "one"), dot)
    assert row.dropped.fields == {"a": {Dot(ours.origin, 1): pack(1)}}


def test_what_this_batch_dropped_counts_for_the_writers_after(ours: Copy) -> None:
    """In one group commit a stale writer may follow one that has just overwritten what it had looked at."""
    ours.write(put("one", 1))
    batch = ours.batch()
    ours.write_in(batch, put("one", 2))
    ours.write_in(batch, put("one", 3))
    before = {"a": {Dot(b"o" * 16, 9): pack(0)}}
    first, second = Dot(ours.origin, 1), Dot(ours.origin, 2)
    past = batch.past(("notes", "one"), before)
    assert list(past["a"].items()) == [(Dot(b"o" * 16, 9), pack(0)), (first, pack(1)), (second, pack(2))]
    assert before == {"a": {Dot(b"o" * 16, 9): pack(0)}}
    assert batch.past(("notes", "two"), {}) == {}


def test_a_deleted_record_leaves_an_image_and_nothing_else(ours: Copy) -> None:
    ours.write(put("one", 1))
    ours.write(Change(Kind.DELETE, "notes", "one"))
    assert not ours.disk.rows
    image = ours.disk.images["notes", "one"]
    assert (image.values, image.removed_by) == ({"a": pack(1)}, Dot(ours.origin, 2))
    assert ours.disk.state.visible == 0


def test_an_image_made_in_this_batch_counts_before_an_older_one(ours: Copy) -> None:
    ours.write(put("one", 1))
    ours.write(Change(Kind.DELETE, "notes", "one"))
    batch = ours.batch()
    ours.write_in(batch, put("one", 2))
    ours.write_in(batch, Change(Kind.DELETE, "notes", "one"))
    image = batch.image(("notes", "one"))
    assert image is not None
    assert image.values == {"a": pack(2)}


def test_a_change_of_an_absent_record_parks_it(ours: Copy, theirs: Copy) -> None:
    ours.know(theirs)
    theirs.know(ours)
    theirs.take(ours.write(put("one")))
    ours.write(Change(Kind.DELETE, "notes", "one"))
    edit = theirs.write(Change(Kind.PATCH, "notes", "one", {"b": Raw(pack(2))}))
    batch = ours.batch()
    take(batch, edit)
    assert batch.parked() == [("notes", "one")]
