"""Every run that was ever committed anywhere: a copy that took in a snapshot, or trimmed, has no such log itself.

It listens where a commit has just become durable. Who crashes between that and its next breath is asked when it starts
again; nobody else can have heard of what it wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from peerd.core import entry
from peerd.core.chain import Run
from peerd.core.clocks import Clock, ReadClock, includes, join
from peerd.core.writes import Writes
from peerd.engine.space import Space
from peerd.protocol.relay_objects import Covers


class Ledger:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.forked = ""  # two different transactions were accepted under one name
        self.trimmed: Callable[[Space, Clock], None] = lambda _space, _gone: None  # so far the log of a copy has gone
        self._runs: dict[bytes, dict[bytes, dict[int, Run]]] = {}  # space, origin, first

    def open(self, space: Space) -> None:
        """A copy was just opened: listen to it from now on."""
        self._listen(space)
        space.on_switch.append(lambda: self._switched(space))
        space.on_trim.append(lambda before: self._trimmed(space, before))

    def _switched(self, space: Space) -> None:
        self.counts["snapshots taken"] += 1
        self._listen(space)

    def _trimmed(self, space: Space, before: ReadClock) -> None:
        """What lies before a snapshot that was taken in is another matter."""
        self.counts["trims"] += 1
        self.trimmed(
            space, {origin: seq for origin, seq in space.copy.horizon().items() if seq > before.get(origin, 0)}
        )

    def _listen(self, space: Space) -> None:
        tail = space.commits.tail
        real = tail.committed

        def committed(writes: Writes, arrived_ms: int) -> None:
            self.take(space.id, (applied.run for applied in writes.runs))
            real(writes, arrived_ms)

        setattr(tail, "committed", committed)  # noqa: B010 - a method of this one object

    def take(self, space: bytes, runs: Iterable[Run]) -> None:
        origins = self._runs.setdefault(space, {})
        for run in runs:
            known = origins.setdefault(run.origin, {}).setdefault(run.first, run)
            if known.entries != run.entries:
                self.forked = f"{run.origin.hex()}:{run.first} was written twice"

    async def read(self, space: Space) -> None:
        """What the log of a copy that was just opened holds."""
        position = 0
        while (found := await space.store.runs_after(position, 8 << 20, 10_000)).rows:
            self.take(space.id, (row.run for row in found.rows))
            position = found.read_up_to

    def story(self, space: bytes, clock: ReadClock) -> list[Run]:
        """What a copy at `clock` has applied, in an order that is causal."""
        todo = {origin: self._until(space, origin, seq) for origin, seq in sorted(clock.items()) if seq}
        reached: Clock = {}
        ordered: list[Run] = []
        moved = True
        while moved:
            moved = False
            for origin, runs in todo.items():
                while runs and includes(reached, context_of(runs[-1])):
                    run = runs.pop()
                    reached[origin] = run.last
                    ordered.append(run)
                    moved = True
        if any(todo.values()):
            raise AssertionError("a copy has applied what its context does not allow")
        return ordered

    def reach(self, space: bytes, clocks: Iterable[ReadClock], left: Sequence[Covers]) -> Clock:
        """How far a copy gets that has what these copies have, and what is left elsewhere as far as it follows."""
        reached: Clock = {}
        for clock in clocks:
            reached = join(reached, clock)
        moved = bool(left)
        while moved:
            moved = False
            for origin, runs in self._runs.get(space, {}).items():
                run = runs.get(reached.get(origin, 0) + 1)
                if run is not None and _is_left(run, left) and includes(reached, context_of(run)):
                    reached[origin] = run.last
                    moved = True
        return reached

    def _until(self, space: bytes, origin: bytes, seq: int) -> list[Run]:
        """The runs of an origin up to there, the last one first."""
        runs = self._runs.get(space, {}).get(origin, {})
        found, following = [], 1
        while following <= seq:
            run = runs.get(following)
            if run is None:
                raise AssertionError(f"a copy has applied {origin.hex()}:{following}, which nobody committed")
            found.append(run)
            following = run.last + 1
        return found[::-1]


def _is_left(run: Run, left: Sequence[Covers]) -> bool:
    return any(first <= run.first and run.last <= last for one in left for first, last in one.get(run.origin, ()))


def context_of(run: Run) -> Clock:
    """What has to be applied before it."""
    found: dict[bytes, int] = {}
    for data in run.entries:
        found.update({head.origin: head.seq for head in entry.decode(data).delta})
    return found
