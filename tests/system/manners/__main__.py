"""What peerd's presence costs the applications whose files it keeps alike, measured with real daemons and processes.

python -m tests.system.manners busy [--seconds 30]     how often a program without a busy timeout is refused
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.system.manners import busy


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.manners")
    commands = parser.add_subparsers(dest="command", required=True)
    refused = commands.add_parser("busy", help="how often a program without a busy timeout is refused")
    refused.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    refused.add_argument("--journal", choices=busy.JOURNALS, action="append", help="measure only this mode")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerd-manners-") as folder:
        for one in busy.measure(Path(folder), given.seconds, given.journal or busy.JOURNALS):
            sys.stdout.write(f"{one}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
