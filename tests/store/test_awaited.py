"""Devices that were named by their id survive a restart, and a database from before them is brought up to date."""

from __future__ import annotations

import sqlite3

from peerd.core.stored import Awaited
from peerd.store.migrate import migrate, migrations
from tests.store.copies import Copy

ONE, OTHER = Awaited(b"A" * 32, "admin", 5), Awaited(b"B" * 32, "member", 6)


async def test_who_is_awaited_is_kept_until_dropped(copy: Copy) -> None:
    """The last word on a device replaces the one before; dropping one that is not there is no mistake."""
    await copy.store.save_awaited(Awaited(ONE.device, "member", 1))
    await copy.store.save_awaited(OTHER)
    await copy.store.save_awaited(ONE)
    assert (await copy.reopen()).awaited == (ONE, OTHER)
    await copy.store.drop_awaited([ONE.device, b"C" * 32])
    assert (await copy.reopen()).awaited == (OTHER,)


async def test_a_database_of_the_format_before_gets_the_table(copy: Copy) -> None:
    before = next(number for number, text in migrations() if "CREATE TABLE awaited" in text) - 1
    await copy.store.close()
    copy.path.rename(copy.path.with_suffix(".new"))
    connection = sqlite3.connect(copy.path, isolation_level=None)
    migrate(connection, copy.path, migrations()[:before])
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert "peer" in tables
    assert "awaited" not in tables
    migrate(connection, copy.path)
    assert connection.execute("SELECT count(*) FROM awaited").fetchone() == (0,)
    connection.close()
    copy.path.with_suffix(".new").replace(copy.path)
    await copy.open()
