"""Opens a database of an earlier format again and again, each time in a process that dies at one statement later:
`upgrade_crashing.py DATABASE FOLDER`. It prints how many there are; FOLDER/N is what the Nth left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.store.copies import Copy


def die_at(number: int) -> None:
    """End this process before its `number`-th statement, whichever that is."""
    left = [number]
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return super().execute(sql, *parameters)

    sqlite3.connect = lambda *given, **named: connect(*given, **{**named, "factory": Connection})


def attempt(folder: Path, number: int) -> bool:
    """True if it came to its end."""
    pid = os.fork()
    if pid == 0:
        copy = Copy(folder, threaded=False)
        copy.backups = folder / "backups"
        die_at(number)
        asyncio.run(copy.open())
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main(database: Path, folder: Path) -> None:
    number = 0
    while True:
        there = folder / str(number)
        there.mkdir(parents=True)
        shutil.copy(database, there / "space.db")
        if attempt(there, number):
            break
        number += 1
    sys.stdout.write(f"{number}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
