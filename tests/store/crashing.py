"""A process that works on a copy and dies: `crashing.py FOLDER write|tidy [FAILPOINT NUMBER]`.

`write` prints the number of each transaction when the store has said that it is durable; `tidy` lets go of everything
old, in small steps. A fail point is a word that a
statement begins with, or "mark": before (`-`) or after (`+`) its NUMBER-th time the process ends on the spot.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from peerd.core.daemon_time import Age
from peerd.core.trimming import Plan
from peerd.store.mark import MarkFile
from tests.store import copies


def die_at(point: str, number: int) -> None:
    """End this process at the fail point."""
    when, word = point[0], point[1:]
    times = 0

    def pass_through(name: str, function: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal times
        hit = name.startswith(word)
        times += hit
        if hit and times == number and when == "-":
            os._exit(9)
        result = function(*arguments, **named)
        if hit and times == number and when == "+":
            os._exit(9)
        return result

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return pass_through(sql, super().execute, sql, *parameters)

        def executemany(self, sql: str, *parameters: Any) -> Any:
            return pass_through(sql, super().executemany, sql, *parameters)

    connect, write = sqlite3.connect, MarkFile.write
    mock.patch.object(
        sqlite3, "connect", lambda *arguments, **named: connect(*arguments, **named, factory=Connection)
    ).start()
    mock.patch.object(
        MarkFile, "write", lambda *arguments, **named: pass_through("mark", write, *arguments, **named)
    ).start()


async def main(folder: Path, work: str, *fail_point: str) -> None:
    copy = copies.Copy(folder, threaded=True)
    copy.chance.seed(os.getpid())
    if fail_point:
        die_at(fail_point[0], int(fail_point[1]))
    await copy.open()
    await (write(copy) if work == "write" else tidy(copy))
    await copy.store.close()


async def write(copy: copies.Copy) -> None:
    begun = copy.state.visible
    for number in range(begun, begun + 200):
        await copies.write_number(copy, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


async def tidy(copy: copies.Copy) -> None:
    upkeep, plan = copy.store.upkeep, Plan(copy.state.clock(), 1, 1 << 62)
    await upkeep.note_age(Age(1))
    while await upkeep.forget(1, 7):
        pass
    while (await upkeep.trim(plan, 7)).runs:
        pass
    while await upkeep.give_back(50):
        pass


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
