"""Entries that were decoded ahead: the same as those decoded in their turn, and never those of another run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import entry, plain_put
from peerd.core.chain import Run
from peerd.core.copy import CopyState, OriginState
from peerd.core.entry import FORMAT, Change, Entry, Kind
from peerd.core.limits import RUN_BYTES
from peerd.core.origin import Announcement
from peerd.engine.decoded import Decoded
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time

ORIGIN = b"o" * 16
NOTHING = CopyState(b"s" * 16)


def entry_of(key: str, value: bytes = b"\x01") -> bytes:
    return entry.encode(Entry(FORMAT, 1, 2, (), None, (Change(Kind.PUT, "notes", key, {"a": Raw(value)}),)))


def run_of(*entries: bytes, first: int = 1) -> Run:
    return Run(ORIGIN, first, entries, b"s" * 64)


async def test_what_is_decoded_ahead_is_not_decoded_again() -> None:
    run, decoded = run_of(entry_of("one"), entry_of("two")), Decoded()
    await decoded.decode([run], NOTHING)
    with patch.object(plain_put, "read", side_effect=AssertionError):
        assert [one.changes[0].key for one in decoded.entries(run)] == ["one", "two"]


async def test_what_was_not_decoded_ahead_is_decoded_when_it_is_wanted() -> None:
    assert [one.changes[0].key for one in Decoded().entries(run_of(entry_of("one")))] == ["one"]


async def test_another_run_that_claims_the_same_place_is_not_taken_for_it() -> None:
    one, forged, decoded = run_of(entry_of("one")), run_of(entry_of("two")), Decoded()
    await decoded.decode([forged], NOTHING)
    assert decoded.entries(one)[0].changes[0].key == "one"
    await decoded.decode([one, forged], NOTHING)
    assert decoded.entries(one)[0].changes[0].key == "one"
    assert decoded.entries(forged)[0].changes[0].key == "two"


async def test_what_cannot_be_decoded_is_refused_in_its_turn() -> None:
    broken, good, decoded = run_of(b"\xc1"), run_of(entry_of("one"), first=2), Decoded()
    await decoded.decode([broken, good], NOTHING)
    with pytest.raises(ValueError, match="decoded"):
        decoded.entries(broken)
    assert decoded.entries(good)[0].changes[0].key == "one"


@pytest.mark.parametrize(
    ("run", "copy"),
    [
        pytest.param(
            run_of(entry_of("one")),
            replace(NOTHING, origins={ORIGIN: OriginState(Announcement(b"", b"", b""), 1, b"", {})}),
            id="applied already",
        ),
        pytest.param(run_of(bytes(2 * RUN_BYTES)), NOTHING, id="large"),
    ],
)
async def test_what_would_be_for_nothing_or_hold_up_the_loop_is_left(run: Run, copy: CopyState) -> None:
    decoded = Decoded()
    with patch.object(plain_put, "read", side_effect=AssertionError):
        await decoded.decode([run], copy)


@in_virtual_time
async def test_the_next_runs_are_decoded_while_a_commit_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        took, go_on = asyncio.Event(), asyncio.Event()
        ahead: list[int] = []
        commits = scene.space(1).commits
        take, decode = commits.take, Decoded.decode

        async def slow_take(*what: Any) -> None:
            took.set()
            await go_on.wait()
            await take(*what)

        async def noted_decode(self: Decoded, runs: Sequence[Run], copy: CopyState) -> None:
            ahead.append(len(runs))
            await decode(self, runs, copy)

        monkeypatch.setattr(commits, "take", slow_take)
        monkeypatch.setattr(Decoded, "decode", noted_decode)
        await scene.put(0, "one", a=1)
        await asyncio.wait_for(took.wait(), 60)
        await scene.put(0, "two", a=1)
        await scene.until(lambda: len(ahead) == 2)
        assert scene.space(1).copy.clock() == {}
        go_on.set()
        await scene.until(lambda: scene.clocks_equal(0, 1))
