"""What the file of a space takes, and giving back what it does not need any more.

What is deleted leaves pages that hold nothing; what is written next goes there. Where there are many, the file is made
smaller, some pages at a time: a page from its end moves into an empty one. That needs a file that was made for it
(`auto_vacuum = INCREMENTAL`), which cannot be said of a file later but by writing all of it anew.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

PAGE_BYTES = 4096
SPARE_PAGES = 64
SPARE_SHARE = 8  # one of so many pages may hold nothing, for what is written next
_INCREMENTAL = 2


class Contents(NamedTuple):
    """What stands in the file, in bytes."""

    free: int
    log: int
    history: int


def give_back(connection: sqlite3.Connection, pages: int) -> int:
    """Make the file smaller by up to `pages`, once what is committed is in it. Gives by how many."""
    spare = _number(connection, "freelist_count") - max(SPARE_PAGES, _number(connection, "page_count") // SPARE_SHARE)
    if spare <= 0 or _number(connection, "auto_vacuum") != _INCREMENTAL:
        return 0
    before = _number(connection, "page_count")
    for _ in range(min(pages, spare)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # of more, Python would let it do only the first
    return before - _number(connection, "page_count")


def sizes(connection: sqlite3.Connection) -> Contents:
    log_bytes, history_bytes = connection.execute("SELECT log_bytes, history_bytes FROM space").fetchone()
    return Contents(_number(connection, "freelist_count") * PAGE_BYTES, log_bytes, history_bytes)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
