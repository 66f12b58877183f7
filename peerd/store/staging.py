"""Runs that wait for what they depend on: durable, bounded, not part of the clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from peerd.core.chain import Run
from peerd.core.stored import StagedRun
from peerd.store.failures import damaged
from peerd.store.log import decode_entries, encode_entries


def stage(connection: sqlite3.Connection, runs: Sequence[Run], max_bytes: int, age_ms: int) -> list[StagedRun]:
    """Keep runs while all that is staged stays within `max_bytes`; the first that does not fit ends it, since what
    follows is likely to depend on it. Gives what was kept.
    """
    size_bytes = connection.execute("SELECT coalesce(sum(size_bytes), 0) FROM staged").fetchone()[0]
    kept: list[StagedRun] = []
    for run in runs:
        size_bytes += run.size_bytes
        if size_bytes > max_bytes:
            break
        number = connection.execute(
            "INSERT INTO staged (origin, first, size_bytes, signature, entries, age_ms) VALUES (?, ?, ?, ?, ?, ?)",
            (run.origin, run.first, run.size_bytes, run.signature, encode_entries(run), age_ms),
        ).lastrowid
        kept.append(StagedRun(number or 0, run, age_ms))
    return kept


def unstage(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    connection.executemany("DELETE FROM staged WHERE number = ?", ((number,) for number in numbers))


def load(connection: sqlite3.Connection, path: Path) -> tuple[StagedRun, ...]:
    """Raises StoreDamaged."""
    rows = connection.execute("SELECT number, origin, first, signature, entries, age_ms FROM staged ORDER BY number")
    try:
        return tuple(
            StagedRun(number, Run(origin, first, decode_entries(entries), signature), age_ms)
            for number, origin, first, signature, entries, age_ms in rows
        )
    except ValueError as problem:
        raise damaged(path, f"a staged run cannot be read ({problem})") from problem
