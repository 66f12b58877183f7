"""Files of applications, opened as the edge opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., apsw.Connection]]:
    """A connection to a new file with the given statements done."""
    opened: list[apsw.Connection] = []

    def make_one(*statements: str, name: str = "app.db") -> apsw.Connection:
        connection = apsw.Connection(str(tmp_path / name))
        opened.append(connection)
        for statement in statements:
            connection.execute(statement)
        return connection

    yield make_one
    for connection in opened:
        connection.close()
