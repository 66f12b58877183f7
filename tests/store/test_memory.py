"""A database that rests takes little memory, and works as before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peerd.errors import StoreClosed
from peerd.store.database import open_database
from tests.store.copies import Copy, put

MIB = 1 << 20
WRITTEN = 30


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


async def _live(folder: Path) -> None:
    """Say what this process takes with a database that was written to, and with the same at rest."""
    copy = await Copy(folder, threaded=True).create()
    await copy.open()
    for number in range(WRITTEN):
        await copy.write([put("files", f"k{number}", data="x" * MIB)])
    busy_mib = _rss_mib()
    await copy.store.upkeep.rest()
    sys.stdout.write(f"{busy_mib} {_rss_mib()}")
    await copy.store.close()


@pytest.mark.skipif(os.confstr("CS_GNU_LIBC_VERSION") is None, reason="only glibc can be asked to give memory back")
def test_what_was_written_is_not_kept_in_memory(tmp_path: Path) -> None:
    """In a process of its own, where nothing else can be given back."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.test_memory", str(tmp_path)], check=True, capture_output=True, text=True
    )
    busy_mib, rested_mib = map(float, done.stdout.split())
    assert busy_mib - rested_mib > WRITTEN / 2


async def test_it_goes_on_as_before(copy: Copy) -> None:
    await copy.write([put("todo", "a", n=1)])
    await copy.store.upkeep.rest()
    await copy.write([put("todo", "b", n=2)])
    await copy.store.upkeep.rest()
    found = await copy.store.read(lambda transaction: transaction.records([("todo", "a"), ("todo", "b")]))
    assert len(found) == 2


async def test_a_database_that_is_closed_meanwhile_says_so(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.touch()
    database = await open_database(path, threaded=True)
    resting = asyncio.create_task(database.rest())
    await asyncio.sleep(0)
    await database.close()
    with pytest.raises(StoreClosed):
        await resting


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1])))
