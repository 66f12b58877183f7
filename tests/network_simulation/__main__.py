"""Random histories of whole devices over a simulated network, in virtual time.

python -m tests.network_simulation --runs 200            fresh seeds; exit 1 if a history breaks a rule
python -m tests.network_simulation --runs 1 --seed 4711  that history again
python -m tests.network_simulation --runs 100000 --jobs 8  so many in eight processes
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from itertools import pairwise

from peerd import logs
from tests.network_simulation.history import ACTIONS, FORKS, run_history

TOO_LONG_S = 30


class TooLong(KeyboardInterrupt):
    """The only kind of exception that nobody on the way catches."""


def _too_long(_number: int, _frame: object) -> None:
    raise TooLong(f"a history took longer than {TOO_LONG_S} s: something goes round in circles")


def share(options: argparse.Namespace, seed: int) -> int:
    """Each process with seeds of its own. Gives the worst of their exit codes."""
    jobs = min(options.jobs, options.runs)
    firsts = [seed + options.runs * number // jobs for number in range(jobs + 1)]
    command = [sys.executable, "-m", "tests.network_simulation", "--actions", str(options.actions)]
    command += ["--ways", options.ways] if options.ways else []
    command += ["--forks"] if options.forks else []
    command += ["--devices", str(options.devices)] if options.devices else []
    processes = [
        subprocess.Popen([*command, "--seed", str(first), "--runs", str(following - first)])
        for first, following in pairwise(firsts)
    ]
    return max(process.wait() for process in processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, help="seed of the first history (default: random)")
    parser.add_argument("--actions", type=int, default=ACTIONS)
    parser.add_argument("--devices", type=int, help="a fixed number of devices (default: 2 to 5)")
    parser.add_argument("--ways", choices=("links", "both", "relays"), help="how devices hear of each other")
    parser.add_argument("--forks", action="store_true", help="machines are set back, their marks with them")
    parser.add_argument("--log", action="store_true", help="show what the devices log")
    parser.add_argument("--trace", action="store_true", help="show where a failure comes from")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the histories")
    options = parser.parse_args()
    seed = random.randrange(1 << 40) if options.seed is None else options.seed
    if options.jobs > 1:
        return share(options, seed)
    logs.configure("debug" if options.log else "critical", "console", stream=sys.stderr)
    signal.signal(signal.SIGALRM, _too_long)
    failures = 0
    totals: Counter[str] = Counter()
    started = time.perf_counter()
    for number in range(seed, seed + options.runs):
        signal.alarm(TOO_LONG_S)
        try:
            totals += run_history(
                number, options.actions, options.devices, options.ways, FORKS if options.forks else None
            )
        except (Exception, TooLong) as problem:  # noqa: BLE001 - whatever a history raises is a finding, printed with its seed
            failures += 1
            notes = getattr(problem, "__notes__", [""])
            sys.stdout.write(f"seed {number}: {type(problem).__name__}: {str(problem)[:600]}\n   {notes[0]}\n")
            if options.trace:
                traceback.print_exception(problem)
            sys.stdout.flush()
    took_s = time.perf_counter() - started
    sys.stdout.write(
        f"{options.runs} histories from seed {seed}, {failures} failed, {took_s / options.runs:.2f} s each\n"
    )
    sys.stdout.write(", ".join(f"{name} {count}" for name, count in sorted(totals.items())) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of bytes are walked in an order that depends on it; with it, a seed is a history.
        os.execve(  # noqa: S606 - ourselves again
            sys.executable,
            [sys.executable, "-m", "tests.network_simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
