"""Many histories, one after the other or in several processes, and what they came to."""

from __future__ import annotations

import gc
import io
import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from typing import NamedTuple

from peerd import logs
from tests.network_simulation.history import ACTIONS, run_history
from tests.network_simulation.mixes import MIXES

TOO_LONG_S = 60  # of a processor; a busy machine is no failure
PORTION = 10  # histories that a process plays before it tells
PORTIONS = 50  # after which another process goes on, so that memory in shreds is no matter


class TooLong(KeyboardInterrupt):
    """The only kind of exception that nobody on the way catches."""


class Told(NamedTuple):
    """Of one history: `happened` if it ended well, else `wrong`."""

    mix: str
    seed: int
    happened: Counter[str]
    wrong: str
    took_s: float  # of a processor

    def replay(self) -> str:
        return f"python -m tests.network_simulation --mix {self.mix} --seed {self.seed} --runs 1 --trace"


def play(mix: str, seed: int, actions: int = ACTIONS, devices: int | None = None, *, trace: bool = False) -> Told:
    """One history. A process that plays must be in its main thread."""
    began_s = time.process_time()
    happened: Counter[str] = Counter()
    wrong = ""
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, TOO_LONG_S)
    try:
        happened = run_history(seed, actions, devices, MIXES[mix].ways, MIXES[mix].more)
    except (Exception, TooLong) as problem:  # noqa: BLE001 - whatever a history raises is a finding
        notes = "".join(f"\n   {note[:2_000]}" for note in getattr(problem, "__notes__", [])[:1])
        wrong = f"{type(problem).__name__}: {str(problem)[:600]}{notes}"
        if trace:
            wrong += "\n" + "".join(traceback.format_exception(problem))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return Told(mix, seed, happened, wrong, time.process_time() - began_s)


def _too_long(_number: int, _frame: object) -> None:
    raise TooLong(f"a history took more than {TOO_LONG_S} s of a processor: something goes round in circles")


def play_all(histories: Iterable[tuple[str, int]], actions: int, devices: int | None, jobs: int) -> Iterator[Told]:
    """In so many processes; as they end, whatever their order."""
    todo = iter(histories)
    portions = iter(lambda: list(islice(todo, PORTION)), [])
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, fresh, _prepare, max_tasks_per_child=PORTIONS) as pool:
        running = {pool.submit(_play_some, one, actions, devices) for one in islice(portions, 2 * jobs)}
        while running:
            done = next(as_completed(running))
            running.remove(done)
            running.update(pool.submit(_play_some, one, actions, devices) for one in islice(portions, 1))
            yield from done.result()


def _play_some(histories: Sequence[tuple[str, int]], actions: int, devices: int | None) -> list[Told]:
    return [play(mix, seed, actions, devices) for mix, seed in histories]


def _prepare() -> None:
    logs.configure("critical", "json", stream=io.StringIO(), strict=True)  # a line per link would be most of the work
    gc.collect()
    gc.freeze()  # nobody need look among what is imported


class Tally:
    """What all that were told of came to."""

    def __init__(self) -> None:
        self.played: Counter[str] = Counter()  # by mix
        self.failed: Counter[str] = Counter()
        self.happened_in: dict[str, Counter[str]] = {}  # by mix
        self.took_s = 0.0

    def add(self, told: Told) -> None:
        self.played[told.mix] += 1
        self.failed[told.mix] += bool(told.wrong)
        self.happened_in.setdefault(told.mix, Counter()).update(told.happened)
        self.took_s += told.took_s

    def sentences(self) -> Iterator[str]:
        played, failed = self.played.total(), self.failed.total()
        yield f"{played:,} histories, {failed} failed; {self.took_s / max(1, played):.2f} s of a processor each"
        for mix, count in sorted(self.played.items()):
            yield f"   {mix:<10} {count:>9,}" + (f", {self.failed[mix]} failed" if self.failed[mix] else "")
        yield "in them:"
        happened: Counter[str] = Counter()
        for counts in self.happened_in.values():
            happened.update(counts)
        for name, count in sorted(happened.items()):
            yield f"   {name:<40} {count:>12,}"
