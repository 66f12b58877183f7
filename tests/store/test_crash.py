"""Killed at any point, a copy holds everything that was acknowledged, nothing half, and goes on under its origin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from peerd.core import digest
from peerd.core.record_form import digest_of
from peerd.core.values import unpack
from tests.store.copies import Copy, MakeCopy, delete, put, write_number

SCRIPT = Path(__file__).with_name("crashing.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
ONE_RUNNER = pytest.mark.parametrize("threaded", [True])  # the process that dies is threaded


def run(copy: Copy, *arguments: str, kill_after: int | None = None) -> tuple[int, int]:
    """Let a process write until it dies; gives its exit code and how much it has acknowledged."""
    command = [sys.executable, str(SCRIPT), str(copy.path.parent), *(arguments or ["write"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        output = cast("Any", process.stdout)
        lines = [] if kill_after is None else [output.readline() for _ in range(kill_after)]
        if kill_after is not None:
            process.send_signal(signal.SIGKILL)
        lines += output.readlines()
        return process.wait(), len([line for line in lines if line.endswith(b"\n")])


async def whole(copy: Copy, acknowledged: int) -> int:
    """Open what the dead process left and check it against what it had said; gives what is there."""
    before = copy.origin
    opened = await copy.open()
    assert opened.origin_note == ""
    if before is not None:
        assert opened.own_origin == before
    page = await copy.store.page("todo", "", None, 10_000)
    numbers = [int(key) for key, _ in page.records]
    assert numbers == list(range(len(numbers)))
    assert acknowledged <= len(numbers) <= acknowledged + 1
    assert opened.state.visible == len(numbers)
    assert opened.state.clock() == ({opened.own_origin: len(numbers)} if numbers else {})
    rows = (await copy.store.runs_after(0, 1 << 30, max_runs=10_000)).rows
    assert [row.position for row in rows] == list(range(1, len(numbers) + 1))
    assert unpack((await copy.record("todo", "last")).record.winner("n")) == numbers[-1]

    def recomputed(transaction: Any) -> bytes:
        connection, refs = transaction._connection, transaction._refs
        rows = connection.execute("SELECT key, stamps, body FROM record")
        steps = [digest_of("todo", key, refs.decode_stamps(stamps), body) for key, stamps, body in rows]
        return digest.moved(digest.EMPTY, steps)

    assert await copy.store.read(recomputed) == opened.state.digest
    await copy.store.close()
    return len(numbers)


@ONE_RUNNER
async def test_a_killed_process_loses_nothing_that_it_acknowledged(make_copy: MakeCopy) -> None:
    """SIGKILL in the middle of writing, several times over: the page cache has it all, the origin goes on."""
    copy = await make_copy()
    await copy.store.close()
    held = 0
    for _ in range(3):
        code, acknowledged = run(copy, kill_after=25)
        assert code == -signal.SIGKILL
        assert acknowledged >= 25
        held = await whole(copy, held + acknowledged)
    await copy.open()


@ONE_RUNNER
@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("-BEGIN IMMEDIATE", 4),
        ("+BEGIN IMMEDIATE", 4),
        ("+INSERT INTO record", 3),
        ("-INSERT INTO run", 3),
        ("+UPDATE space SET position", 3),
        ("-COMMIT", 4),
        ("+COMMIT", 4),
        ("-mark", 4),
        ("+mark", 4),
        ("-UPDATE space SET token", 1),
        ("-COMMIT", 1),
        ("+COMMIT", 1),
        ("-mark", 1),
        ("+mark", 1),
        ("-mark", 2),
        ("+mark", 2),
    ],
)
async def test_dying_between_two_steps_leaves_a_whole_copy(make_copy: MakeCopy, point: str, number: int) -> None:
    """Before and after each step of a commit and of the opening; what is there then goes on."""
    copy = await make_copy()
    for written in range(3):
        await write_number(copy, written)
    await copy.store.close()
    code, acknowledged = run(copy, "write", point, str(number))
    assert code == 9
    held = await whole(copy, 3 + acknowledged)
    await copy.open()
    await write_number(copy, held)
    assert copy.state.seq(copy.origin) == held + 1


# --- while it lets go of what is old --------------------------------------------------------------------

RUNS = 60


async def old(copy: Copy) -> Copy:
    """A copy with a log, history and images to let go of, and a file that is larger than it needs then."""
    for number in range(RUNS):
        await copy.write([put("todo", str(number % 20), n=number, text="x" * 200_000)])
    for number in range(5):
        await copy.write([delete("todo", str(number))])
    await copy.store.close()
    return copy


async def consistent(copy: Copy) -> None:
    """Open what the dead process left: the records are all there, and log, horizon, ends and sizes fit each other."""
    opened = await copy.open()
    assert opened.origin_note == ""
    page = await copy.store.page("todo", "", None, 100)
    assert {key: unpack(record.winner("n")) for key, record in page.records} == {
        str(number): number + 40 for number in range(5, 20)
    }
    (horizon,) = opened.state.horizon().values() or (0,)
    slice_ = await copy.store.runs_after(0, 1 << 30)
    assert [row.position for row in slice_.rows] == list(range(horizon + 1, RUNS + 6))
    assert slice_.trimmed == horizon
    sizes = await copy.store.upkeep.sizes()
    assert sizes.log_bytes == sum(row.run.size_bytes for row in slice_.rows)

    def looked(transaction: Any) -> tuple[Any, ...]:
        connection = transaction._connection
        (history,) = connection.execute("SELECT coalesce(sum(length(body)), 0) FROM history").fetchone()
        ends = connection.execute("SELECT seq, hash8 FROM run_end ORDER BY seq").fetchall()
        return history, ends, connection.execute("PRAGMA integrity_check").fetchall()

    history, ends, integrity = await copy.store.read(looked)
    assert sizes.history_bytes == history
    assert [seq for seq, _ in ends] == list(range(1, horizon + 1))
    assert integrity == [("ok",)]


@ONE_RUNNER
@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("-UPDATE space SET age_ms", 1),
        ("+UPDATE space SET age_ms", 1),
        ("-DELETE FROM history", 3),
        ("+DELETE FROM history", 3),
        ("-UPDATE space SET log_bytes", 2),
        ("-DELETE FROM image", 1),
        ("+DELETE FROM image", 1),
        ("-INSERT OR REPLACE INTO run_end", 2),
        ("+INSERT OR REPLACE INTO run_end", 2),
        ("-DELETE FROM run WHERE", 2),
        ("+DELETE FROM run WHERE", 2),
        ("+UPDATE origin SET horizon", 2),
        ("-UPDATE space SET trimmed", 2),
        ("+UPDATE space SET trimmed", 2),
        ("+UPDATE space SET log_bytes", 9),
        ("-PRAGMA incremental_vacuum", 70),
        ("+PRAGMA incremental_vacuum", 70),
        *[(f"{when}COMMIT", number) for when in "-+" for number in (2, 5, 20, 40)],
    ],
)
async def test_dying_while_it_lets_go_of_what_is_old(make_copy: MakeCopy, point: str, number: int) -> None:
    """Before and after each step; whoever comes next goes on with it."""
    copy = await old(await make_copy())
    code, _ = run(copy, "tidy", point, str(number))
    assert code == 9
    await consistent(copy)
    await copy.store.close()
    assert run(copy, "tidy")[0] == 0
    await consistent(copy)
    assert copy.state.horizon() == {copy.origin: RUNS + 5}
    await copy.write([put("todo", "more", n=1)])
