"""What a log proves: only what hangs together and is signed, and never that something stands which may be gone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from peerd.core.batch import Author, Batch, Stored
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.record_form import bucket_of
from peerd.core.repair.evidence import Gathering
from peerd.core.values import pack
from peerd.core.writes import finish

SPACE = b"S" * 16
NAME, OTHER = ("notes", "a"), ("notes", "b")


class Memory:
    """A copy without a disk; runs are signed by their own hash."""

    def __init__(self) -> None:
        self.state = CopyState(SPACE)
        self.rows: dict[Any, Any] = {}
        self.runs: list[Run] = []
        self.heads: list[bytes] = []

    def records(self, names: Any) -> dict[Any, Any]:
        return {name: self.rows[name] for name in names if name in self.rows}

    def images(self, _: Any) -> dict[Any, Any]:
        return {}

    def hash8(self, *_: Any) -> None:
        return None

    def passes(self, *_: Any) -> bool:
        return False

    def write(self, device: bytes, *changes: Change) -> Dot:

        announcement = Announcement(device, b"A" * 16, b"N" * 16)
        author = Author(origin_of(SPACE, announcement), announcement, lambda data: data[-32:] + data[-32:])
        batch = Batch(self.state, self, lambda *_: None, lambda *_: True)
        batch.load([change.record for change in changes])
        dot = batch.write(author, changes, 1000 + len(self.runs), 2)
        writes = finish(batch)
        for row in writes.rows:
            record = batch.records[row.name]
            assert record is not None
            self.rows[row.name] = Stored(record, row.share, record.visible)
        for name in writes.gone:
            del self.rows[name]
        self.state = writes.state
        self.runs += [applied.run for applied in writes.runs]
        self.heads += [applied.head for applied in writes.runs]
        return dot


def verify(_: bytes, signature: bytes, data: bytes) -> bool:
    return signature == data[-32:] + data[-32:]


def put(name: tuple[str, str] = NAME, **fields: Any) -> Change:
    return Change(Kind.PUT, *name, {field: Raw(pack(value)) for field, value in fields.items()})


def patch(name: tuple[str, str] = NAME, **fields: Any) -> Change:
    return Change(Kind.PATCH, *name, {field: Raw(pack(value)) for field, value in fields.items()})


def gathered(memory: Memory, runs: list[Run] | None = None, **more: Any) -> Gathering:
    gathering = Gathering(memory.state, verify, names=[NAME], **more)
    for run in memory.runs if runs is None else runs:
        gathering.take(run)
    return gathering


def one_and_another() -> tuple[Memory, list[Dot]]:
    memory = Memory()
    dots = [
        memory.write(b"D" * 32, put(x=1, y=1)),
        memory.write(b"E" * 32, patch(x=2)),
        memory.write(b"D" * 32, put(OTHER, x=1)),
        memory.write(b"D" * 32, patch(y=3)),
    ]
    return memory, dots


def test_a_whole_log_says_all_of_a_record() -> None:
    memory, dots = one_and_another()
    gathering = gathered(memory, dots=[dots[2]])
    assert gathering.whole
    evidence = gathering.of(NAME)
    assert evidence.record.fields == {"x": {dots[1]: pack(2)}, "y": {dots[3]: pack(3)}}
    assert evidence.record.births == {dots[0]}
    assert evidence.gone == {("x", dots[0]): dots[1], ("y", dots[0]): dots[3]}
    assert dots[2] in evidence.seen  # it is known to say nothing of this record
    replayed = gathering.replayed(NAME)
    assert replayed.fields == evidence.record.fields
    assert replayed.stamps == memory.rows[NAME].record.stamps


def test_records_can_be_chosen_by_their_buckets() -> None:
    memory, _ = one_and_another()
    gathering = Gathering(memory.state, verify, buckets=[bucket_of(*OTHER)])
    for run in memory.runs:
        gathering.take(run)
    assert set(gathering.traces) == {name for name in (NAME, OTHER) if bucket_of(*name) == bucket_of(*OTHER)}


@pytest.mark.parametrize("how", ["bytes", "signature"])
def test_a_run_that_is_not_what_was_signed_proves_nothing(how: str) -> None:
    """Nor does what follows it, since nobody knows what it follows."""
    memory, dots = one_and_another()
    run = memory.runs[0]
    bad = (
        Run(run.origin, run.first, (run.entries[0].replace(b"x\x01", b"x\x07"),), run.signature)
        if how == "bytes"
        else Run(run.origin, run.first, run.entries, bytes(64))
    )
    gathering = gathered(memory, [bad, *memory.runs[1:]])
    assert dots[0] not in {trace.dot for trace in gathering.traces.get(NAME, [])}
    if how == "bytes":
        assert {trace.dot for trace in gathering.traces[NAME]} == {dots[1]}
        assert not gathering.whole


def test_after_a_trimmed_beginning_the_log_knows_less_and_says_so() -> None:
    """The run behind the gap is known by its own end; nothing counts as seen by its author that is not said again."""
    memory, dots = one_and_another()
    seeds = {dots[2]: memory.heads[2]}
    gathering = gathered(memory, memory.runs[1:], seeds=seeds)
    assert not gathering.whole
    evidence = gathering.of(NAME)
    assert {trace.dot for trace in gathering.traces[NAME]} == {dots[1], dots[3]}
    assert evidence.record.fields == {"x": {dots[1]: pack(2)}, "y": {dots[3]: pack(3)}}
    assert not evidence.whole
    assert gathering.traces[NAME][1].context == {dots[3].origin: dots[3].seq - 1}
    assert not gathered(memory, memory.runs[1:], seeds={dots[2]: bytes(32)}).seen
