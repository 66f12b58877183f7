"""Random histories of couriers that share a relay.

python -m tests.relay_simulation --runs 2000             fresh seeds; exit 1 if a history breaks a rule
python -m tests.relay_simulation --runs 1 --seed 4711    that history again, told step by step
python -m tests.relay_simulation --break NAME            a planted mistake: how many histories notice
python -m tests.relay_simulation --self-test             every planted mistake must be noticed; exit 1 if one is not
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.relay_simulation.history import Options, run
from tests.relay_simulation.planted import PLANTED


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run_many(runs: int, seed: int) -> tuple[dict[int, str], Counter[str]]:
    failures: dict[int, str] = {}
    totals: Counter[str] = Counter()
    tell = say if runs == 1 else None
    for number in range(seed, seed + runs):
        try:
            totals += run(number, Options(tell))
        except Exception as problem:  # noqa: BLE001 - whatever a history raises is a finding, printed with its seed
            failures[number] = f"{type(problem).__name__}: {problem}"
    return failures, totals


def self_test(runs: int, seed: int) -> int:
    missed = 0
    for name, plant in PLANTED.items():
        with plant():
            failures, _ = run_many(runs, seed)
        first = min(failures) - seed + 1 if failures else "none"
        say(f"{name:32} noticed in {len(failures):4} of {runs} histories, the first is number {first}")
        missed += not failures
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="seed of the first history (default: random)")
    parser.add_argument("--break", dest="planted", choices=sorted(PLANTED))
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = 1 if options.self_test else random.randrange(1 << 40)
    if options.self_test:
        return self_test(options.runs, options.seed)
    started = time.perf_counter()
    if options.planted:
        with PLANTED[options.planted]():
            failures, totals = run_many(options.runs, options.seed)
    else:
        failures, totals = run_many(options.runs, options.seed)
    took_s = time.perf_counter() - started
    for seed, text in list(failures.items())[:10]:
        say(f"seed {seed}: {text}")
    say(f"{options.runs} histories from seed {options.seed}, {len(failures)} failed, {options.runs / took_s:.1f} /s")
    say(", ".join(f"{name} {count}" for name, count in sorted(totals.items())))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
