"""Months of life in minutes, or a day as it is.

    python -m tests.soak [--days 90] [--minutes 10] [--seed N]     devices leave for weeks; invariants at the end
    python -m tests.soak --hours 24                                a day in real time: what daemons use, busy and idle

The first needs root and iproute2. Both print what every daemon uses: memory, file descriptors, database, WAL, wake-ups.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.soak import day
from tests.soak.life import Life
from tests.support.namespaces import Network, missing

_BEGAN_S = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=90.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, default=0.0, help="in real time, instead of months in minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="peerd-soak-") as name:
        if options.hours:
            day.live(Path(name), options.hours * 3600, options.seed, say)
        else:
            if (reason := missing()) is not None:
                sys.exit(reason)
            _months(Path(name), options)
    say("all is well")


def _months(folder: Path, options: argparse.Namespace) -> None:
    with Network() as network:
        life = Life(folder, network, days=options.days, real_s=options.minutes * 60, seed=options.seed, tell=say)
        with life.house:
            life.live(pause_s=0.1)


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN_S:7.1f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
