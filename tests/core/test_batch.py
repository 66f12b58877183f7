"""What one SQL transaction does to a copy: runs, order, heads, signatures, limits."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import chain, entry, writes
from peerd.core.batch import Author, Batch, Verdict
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
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

    def batch(self) -> Batch:
        return Batch(self.disk.state, MemoryReader(self.disk), lambda _origin, _announcement: self.limit, verify)

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
