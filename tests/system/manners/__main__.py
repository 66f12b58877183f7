"""What peerd's presence costs the applications whose files it keeps alike, measured with real daemons and processes.

python -m tests.system.manners busy [--seconds 20]            how often a program without a busy timeout is refused
python -m tests.system.manners hammer [--seconds 600]         two programs that write with hardly a rest
python -m tests.system.manners bulk [--rows 1000000]          very many rows in one transaction, then all of them again

Each takes --journal wal or --journal delete; busy and hammer do both otherwise. It ends with 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.system.manners import bulk, busy, hammer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.manners")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, default, what in (("busy", 20.0, "of each measurement"), ("hammer", 600.0, "of each journal mode")):
        command = commands.add_parser(name)
        command.add_argument("--seconds", type=float, default=default, help=what)
        command.add_argument("--journal", choices=busy.JOURNALS, action="append", help="this mode alone")
    command = commands.add_parser("bulk")
    command.add_argument("--rows", type=int, default=1_000_000)
    command.add_argument("--journal", choices=busy.JOURNALS, default="wal")
    return parser.parse_args()


def lines(given: argparse.Namespace, folder: Path) -> Iterator[object]:
    if given.command == "bulk":
        yield from bulk.bulk(folder, given.rows, given.journal)
    elif given.command == "busy":
        yield from busy.measure(folder, given.seconds, given.journal or busy.JOURNALS)
    else:
        for journal in given.journal or busy.JOURNALS:
            yield hammer.hammer(folder, given.seconds, journal)


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory(prefix="peerd-manners-") as folder:
        for line in lines(arguments(), Path(folder)):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            failed |= isinstance(line, hammer.Hammered) and bool(line.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
