"""Where functions over a connection run."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from peerd.store import runners


async def test_a_connection_that_cannot_be_opened_leaves_no_thread_behind() -> None:
    """It would speak to the loop of its caller, which may be closed by then."""

    def connect() -> sqlite3.Connection:
        raise sqlite3.DatabaseError("file is not a database")

    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(sqlite3.DatabaseError):
            await runners.start(connect, threaded=True)
        assert threading.active_count() == before
