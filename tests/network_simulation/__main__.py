"""Random histories of whole devices over a simulated network, in virtual time.

python -m tests.network_simulation --runs 200                         fresh seeds; exit 1 if a history breaks a rule
python -m tests.network_simulation --mix forks --seed 4711 --runs 1   that history again
python -m tests.network_simulation --runs 100000 --jobs 8             so many in eight processes

Without --mix all kinds take their turns. README.md says what they are.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator

from peerd import logs
from tests.network_simulation.campaign import Tally, Told, play, play_all
from tests.network_simulation.history import ACTIONS
from tests.network_simulation.mixes import MIXES, in_turn

PROGRESS_S = 10.0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, help="seed of the first history (default: random)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="", help="one kind of histories only")
    parser.add_argument("--actions", type=int, default=ACTIONS)
    parser.add_argument("--devices", type=int, help="a fixed number of devices (default: 2 to 5)")
    parser.add_argument("--log", action="store_true", help="show what the devices log")
    parser.add_argument("--trace", action="store_true", help="show where a failure comes from")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the histories")
    options = parser.parse_args()
    seed = random.randrange(1 << 40) if options.seed is None else options.seed
    histories = in_turn(seed, options.runs, options.mix)
    stories: Iterator[Told]
    if options.log or options.trace or options.runs == 1:
        logs.configure("debug" if options.log else "critical", "console", stream=sys.stderr)
        stories = (play(mix, one, options.actions, options.devices, trace=options.trace) for mix, one in histories)
    else:
        stories = play_all(histories, options.actions, options.devices, options.jobs)
    tally = Tally()
    began_s = told_s = time.monotonic()
    for told in stories:
        tally.add(told)
        if told.wrong:
            say(f"{told.mix}, seed {told.seed}: {told.wrong}\n   again: {told.replay()}")
        now_s = time.monotonic()
        if now_s - told_s >= PROGRESS_S:
            told_s, played = now_s, tally.played.total()
            rate = played / (now_s - began_s)
            left_s = (options.runs - played) / rate
            say(
                f"{played:,} of {options.runs:,} histories, {tally.failed.total()} failed, {rate:.1f} a second, "
                f"{left_s / 60:.0f} minutes left"
            )
    say(f"from seed {seed}, in {time.monotonic() - began_s:.0f} s:")
    for sentence in tally.sentences():
        say(sentence)
    return 1 if tally.failed.total() else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of bytes are walked in an order that depends on it; with it, a seed is a history.
        os.execve(  # noqa: S606 - ourselves again
            sys.executable,
            [sys.executable, "-m", "tests.network_simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
