"""The long form: python -m tests.hostile --frames 100000 [--seed N]."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.hostile.scene import Scene, assault
from tests.support.daemons import House


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--growth-mib", type=float, default=160.0)
    options = parser.parse_args()
    print(f"{options.frames} frames, seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="peerd-hostile-") as folder, House(Path(folder)) as house:
        scene = Scene(house)
        started_s = time.monotonic()
        taken = asyncio.run(assault(scene.attacker(), options.frames, options.seed))
        took_s = time.monotonic() - started_s
        print(f"{taken} were taken before the victim hung up, within {took_s:.0f} s")
        scene.check(options.growth_mib)
    print("no crash, no change, no growth")
    return 0


if __name__ == "__main__":
    sys.exit(main())
