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
from tests.store.copies import Copy, MakeCopy, write_number

SCRIPT = Path(__file__).with_name("crashing.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
ONE_RUNNER = pytest.mark.parametrize("threaded", [True])  # the process that dies is threaded


def run(copy: Copy, *arguments: str, kill_after: int | None = None) -> tuple[int, int]:
    """Let a process write until it dies; gives its exit code and how much it has acknowledged."""
    command = [sys.executable, str(SCRIPT), str(copy.path.parent), *arguments]
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
    code, acknowledged = run(copy, point, str(number))
    assert code == 9
    held = await whole(copy, 3 + acknowledged)
    await copy.open()
    await write_number(copy, held)
    assert copy.state.seq(copy.origin) == held + 1
