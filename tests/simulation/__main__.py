"""Random histories of the pure core against the oracle.

python -m tests.simulation --runs 2000            fresh seeds; exit 1 if a history breaks a rule
python -m tests.simulation --runs 1 --seed 4711   that history again
python -m tests.simulation --snapshots            with snapshots on their way
python -m tests.simulation --break keep_ignored   a known-wrong variant: how many histories notice
python -m tests.simulation --self-test            every known-wrong variant must be noticed; exit 1 if one is not
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.simulation.check import STEPS, run
from tests.simulation.mutations import SNAPSHOT_VARIANTS, VARIANTS


def run_many(options: argparse.Namespace, *, snapshots: bool) -> tuple[dict[int, str], Counter[str]]:
    failures: dict[int, str] = {}
    totals: Counter[str] = Counter()
    for number in range(options.seed, options.seed + options.runs):
        try:
            totals += run(number, options.steps, options.devices, snapshots=snapshots)
        except Exception as problem:  # noqa: BLE001 - whatever a history raises is a finding, printed with its seed
            failures[number] = f"{type(problem).__name__}: {problem}"
    return failures, totals


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def self_test(options: argparse.Namespace) -> int:
    missed = 0
    for name, make in (VARIANTS | SNAPSHOT_VARIANTS).items():
        with make():
            failures, _ = run_many(options, snapshots=name in SNAPSHOT_VARIANTS)
        first = min(failures) - options.seed + 1 if failures else "none"
        say(f"{name:42} noticed in {len(failures):4} of {options.runs} histories, the first is number {first}")
        missed += not failures
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="seed of the first history (default: random)")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--devices", type=int, help="a fixed number of devices (default: 2 to 6)")
    parser.add_argument("--break", dest="variant", choices=sorted(VARIANTS | SNAPSHOT_VARIANTS))
    parser.add_argument("--snapshots", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = 1 if options.self_test else random.randrange(1 << 40)
    if options.self_test:
        return self_test(options)
    started = time.perf_counter()
    snapshots = options.snapshots or options.variant in SNAPSHOT_VARIANTS
    if options.variant:
        with (VARIANTS | SNAPSHOT_VARIANTS)[options.variant]():
            failures, totals = run_many(options, snapshots=snapshots)
    else:
        failures, totals = run_many(options, snapshots=snapshots)
    took_s = time.perf_counter() - started
    for seed, text in list(failures.items())[:10]:
        say(f"seed {seed}: {text}")
    say(f"{options.runs} histories from seed {options.seed}, {len(failures)} failed, {options.runs / took_s:.0f} /s")
    say(", ".join(f"{name} {count}" for name, count in sorted(totals.items())))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
