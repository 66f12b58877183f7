"""Two machines for every test. The programs themselves run with `make recipes` only; `test_short.py` always does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recipes.pairs import PROGRAMS, Two
from tests.support.daemons import House

collect_ignore = [] if os.environ.get("PEERD_RECIPES") else [f"test_{name}.py" for name in PROGRAMS]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Callable[[str], Two]]:
    """Makes the two machines; the argument is the program's file below its home folder."""
    with House(tmp_path / "house") as house:
        yield lambda file: Two(house, tmp_path / "homes", file)
