"""Two sessions of real copies and rosters that meet over a wire, with anything happening at any moment."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peerd.core import limits
from peerd.protocol import inflow, outflow, roster_exchange, wanting
from peerd.protocol.effects import Compared
from peerd.protocol.session import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

Factory = Any  # the fixtures of conftest


@pytest.fixture(scope="module")
def small_sizes() -> Iterator[None]:
    """Frames, parts and credit so small that a few records fill them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "RUN_BYTES", 1_000)
        patch.setattr(outflow, "WHOLE_RUN_BYTES", 2_000)
        patch.setattr(outflow, "PART_BYTES", 900)
        patch.setattr(outflow, "BULK_BYTES", 1_500)
        patch.setattr(outflow, "EXPRESS_LAG", 4)
        patch.setattr(outflow, "EXPRESS_BYTES", 600)
        patch.setattr(outflow, "EXPRESS_RESERVE_BYTES", 400)
        patch.setattr(wanting, "NEARLY", 5)
        patch.setattr(roster_exchange, "_STATEMENTS_BYTES", 1_000)
        patch.setattr(inflow, "FRAME_BYTES", 2_000)  # the largest frame that goes below zero
        yield


class Story:
    """What happens to two members while their sessions meet: chosen by one number."""

    def __init__(self, seed: int, copies: Factory, wire: Factory) -> None:
        self.draw = Random(seed)
        self.copies = copies("desk", "laptop", "phone")
        self.here = self.copies[:2]
        self.phone = self.copies[2]
        self.wire = wire(*self.here)
        self.strangers = list("abcd")
        self.removes = self.draw.random() < 0.3
        self.written = 0
        self.credit_bytes = self.draw.choice([1, 300, 3_000, 4 << 20])
        self.lowest_credit = [0, 0]

    def change(self, put: Factory) -> Any:
        self.written += 1
        size = self.draw.choice([1, 1, 1, 30, 300, 3_000, 12_000])
        return put(self.draw.choice("kmnop"), "x" * size + str(self.written))

    def happen(self, put: Factory) -> None:
        """One thing from outside."""
        copy = self.draw.choice(self.here)
        match self.draw.randrange(10):
            case 0 | 1 | 2:
                copy.write(*[self.change(put) for _ in range(self.draw.choice([1, 1, 2, 5]))])
            case 3 | 4:
                self.phone.write(*[self.change(put) for _ in range(self.draw.choice([1, 3]))])
            case 5:
                copy.runs_of(self.phone)
            case 6:
                self.phone.learn(copy.roster.statements)
                copy.learn(self.phone.roster.statements)
                self.phone.runs_of(copy)
            case 7 if self.strangers:
                copy.admit(type(self.phone.device)(self.strangers.pop()))
            case 8:
                self.wire.pass_time(self.draw.choice([0.01, 0.1]))
            case 9 if self.removes and copy.roster.is_member(self.phone.device.id):
                copy.remove(self.phone.device)

    def play(self, put: Factory) -> None:
        events = self.draw.randrange(40)
        for _ in range(self.draw.randrange(10)):
            self.happen(put)
        self.wire.open()
        while events:
            steps = self.wire.possible()
            if steps and self.draw.random() < 0.85:
                step, end = self.draw.choice(steps)
                step(end)
                self.check_credit()
            else:
                self.happen(put)
                events -= 1
        self.wire.run(self.draw.choice)

    def check_credit(self) -> None:
        """Sending needs credit above zero and goes below it with one frame at most."""
        for end in self.wire.ends:
            flow = end.session._outflow
            assert flow.credit_bytes > -max(2_000, 900 + 100)
            assert flow._unsent <= outflow.FRAMES_AHEAD
            assert len(end.bulk) <= outflow.FRAMES_AHEAD


@given(seed=st.integers(0, 1 << 32))
@example(seed=717)  # transactions reach the other by the third device before their author has sent them
@example(seed=5_415)
def test_whatever_happens_both_end_with_the_same(
    seed: int, copies: Factory, wire: Factory, put: Factory, small_sizes: None
) -> None:
    """Local writes, runs of a third device, statements and a removal in every phase, in any order of the steps: at
    rest both have equal clocks, digests and rosters, nothing waits and no credit is lost; nothing was sent twice that
    was not refused.
    """
    story = Story(seed, copies, wire)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wanting, "CREDIT_BYTES", story.credit_bytes)
        patch.setattr(inflow, "CREDIT_BYTES", story.credit_bytes)
        story.play(put)
    one, other = story.here
    assert one.roster == other.roster
    assert one.state.clock() == other.state.clock()
    assert one.state.digest == other.state.digest == one.disk.recomputed_digest()
    for end in story.wire.ends:
        ours = end.copy.ours()
        assert end.session.phase is Phase.STREAMING
        assert end.session.behind(ours) == end.session.ahead(ours) == 0
        assert end.session._inflow._owed_bytes == 0
        assert end.session._outflow.credit_bytes == story.credit_bytes
        assert end.session._outflow._unsent == 0
        assert end.session._outflow.caught_up
        assert not end.copy.staged
        if not (one.refused or other.refused):
            assert [times for times in Counter(end.sent_runs).values() if times > 1] == []
        assert all(compared.equal for compared in end.of_kind(Compared))
