"""Applications that never stop writing: they are not refused anything, and the space has what they wrote."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tests.tables.harvests import Bound, surrogate
from tests.tables.race import SCHEMA

HARVESTS = 50


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_two_processes_write_while_a_third_harvests(tmp_path: Path, journal: str) -> None:
    path = str(tmp_path / "app.db")
    connection = apsw.Connection(path)
    connection.set_busy_timeout(30_000)
    connection.execute(f"PRAGMA journal_mode = {journal}; PRAGMA synchronous = OFF")
    connection.execute(SCHEMA)
    bound = Bound(connection, surrogate(0, "person"), surrogate(1, "pet", person="person"))
    command = [sys.executable, "-m", "tests.tables.race", path]
    programs = [
        subprocess.Popen([*command, seed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        for seed in ("1", "2")
    ]
    harvests = 0
    while harvests < HARVESTS and all(program.poll() is None for program in programs):
        harvests += bool(bound.step())
    told = [ast.literal_eval(program.communicate()[0].decode()) for program in programs]
    bound.drain()
    bound.check()
    connection.close()
    assert harvests == HARVESTS
    assert [refused for _, refused in told] == [0, 0]
    assert all(made for made, _ in told)
