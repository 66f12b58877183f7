"""Every run that was ever committed anywhere: a copy that took in a snapshot, or trimmed, has no such log itself.

It listens where a commit has just become durable. Who crashes between that and its next breath is asked when it starts
again; nobody else can have heard of what it wrote.

A device that was set back, its marks with it, gives a number twice, and others go on from either. So a run is known by
the hash of the chain at its end, and the log of a copy is what its heads lead back to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from peerd.core import entry
from peerd.core.chain import Run, first_hash, hash_after
from peerd.core.clocks import Clock, ReadClock, includes, join
from peerd.core.copy import CopyState
from peerd.core.snapshots.intake import Standing
from peerd.core.stored import Recopy
from peerd.core.writes import Writes
from peerd.engine.space import Space
from peerd.protocol.relay.objects import Covers

_ENDS_OF_ALL = "SELECT id, seq FROM main.origin"


class Node(NamedTuple):
    """A run, and the hash of the chain before it."""

    run: Run
    before: bytes


class Ledger:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.forked = ""  # two different transactions were accepted under one name, of a device that was not set back
        self.set_back: set[bytes] = set()  # devices that may give a number twice
        self.nodes: dict[bytes, dict[bytes, Node]] = {}  # space, hash at the end
        self.in_doubt: set[bytes] = set()  # spaces in which somebody went over, and nobody could tell where they parted
        self.trimmed: Callable[[Space, Clock], None] = lambda _space, _gone: None  # so far the log of a copy has gone
        self.part_came: Callable[[Space], None] = lambda _space: None  # of a snapshot, and is kept
        self.newest: dict[tuple[bytes, bytes, int], bytes] = {}  # space, origin, seq: the end of the run written last
        self._runs: dict[bytes, dict[bytes, dict[int, Run]]] = {}  # space, origin, first

    def open(self, space: Space, replaced: list[CopyState]) -> None:
        """A copy was just opened: listen to it from now on. `replaced` gets each state that it leaves for another."""
        listening, tails = [space.copy], [space.commits.tail]

        def switched() -> None:
            if space.commits.tail is tails[0]:
                return  # rows were put right: it is called otherwise, and goes on
            tails[0] = space.commits.tail
            self.counts["snapshots taken"] += 1
            if space.was_replaced and not space.forks.falls:
                self.counts["gone over in doubt"] += 1
                self.in_doubt.add(space.id)
            replaced.append(listening[0])
            listening[0] = space.copy
            self._listen(space, listening)

        self._listen(space, listening)
        self._listen_to_snapshots(space)
        self._listen_to_recopies(space)
        space.on_switch.append(switched)
        space.on_trim.append(lambda before: self._trimmed(space, before))

    def _listen_to_snapshots(self, space: Space) -> None:
        real = space.snapshots._moved

        def moved(standing: Standing) -> None:
            real(standing)
            self.part_came(space)

        setattr(space.snapshots, "_moved", moved)  # noqa: B010 - a method of this one object

    def _listen_to_recopies(self, space: Space) -> None:
        """So little may be kept of a log that has gone that a copy with a variant which no close names cannot be
        compared as far back as the parting.
        """
        real = space.recopying._write_all

        async def write_all(beside: Any, pending: Recopy) -> tuple[int, int]:
            if pending.forked and (forks := space.roster.closed_forks):
                shared = await beside.shared(forks, forked=True)
                was = dict(await beside._read(lambda connection: connection.execute(_ENDS_OF_ALL).fetchall()))
                both = {fork: min(fork.seq, was.get(fork.origin, 0), space.copy.seq(fork.origin)) for fork in forks}
                if any(shared.get(fork.origin, 0) < seq for fork, seq in both.items()):
                    self.counts["gone over, parting not known"] += 1
                    self.in_doubt.add(space.id)
            return await real(beside, pending)

        setattr(space.recopying, "_write_all", write_all)  # noqa: B010 - a method of this one object

    def _trimmed(self, space: Space, before: ReadClock) -> None:
        """What lies before a snapshot that was taken in is another matter."""
        self.counts["trims"] += 1
        self.trimmed(
            space, {origin: seq for origin, seq in space.copy.horizon().items() if seq > before.get(origin, 0)}
        )

    def _listen(self, space: Space, state: list[CopyState]) -> None:
        tail = space.commits.tail
        real = tail.committed

        def committed(writes: Writes, arrived_ms: int) -> None:
            runs = [applied.run for applied in writes.runs]
            self.take(writes.state, runs, {origin: one.head for origin, one in state[0].origins.items()})
            state[0] = writes.state
            real(writes, arrived_ms)

        setattr(tail, "committed", committed)  # noqa: B010 - a method of this one object

    def take(self, copy: CopyState, runs: Iterable[Run], heads: Mapping[bytes, bytes]) -> None:
        """Runs that led a copy to this state; `heads` are those from which they went on, where that is known."""
        nodes = self.nodes.setdefault(copy.space, {})
        firsts = self._runs.setdefault(copy.space, {})
        for origin, some in groupby(sorted(runs, key=lambda run: (run.origin, run.first)), lambda run: run.origin):
            following = list(some)
            device = copy.origins[origin].announcement.device
            before = heads.get(origin) or self._head_before(copy, following, first_hash(copy.space, device, origin))
            for run in following:
                end = hash_after(before, run.entries)
                if end not in nodes:  # whoever commits it first wrote it
                    nodes[end] = Node(run, before)
                    self.newest.update({(copy.space, origin, seq): end for seq in range(run.first, run.last + 1)})
                before = end
                known = firsts.setdefault(origin, {}).setdefault(run.first, run)
                if known.entries != run.entries:
                    self.counts["forked runs"] += 1
                    if device not in self.set_back:
                        self.forked = f"{origin.hex()}:{run.first} was written twice"
            if before != copy.origins[origin].head:
                raise AssertionError("the runs of a copy do not lead to its head")

    def _head_before(self, copy: CopyState, runs: Sequence[Run], first: bytes) -> bytes:
        """From which of those that are known these runs lead to the head."""
        origin, seq = runs[0].origin, runs[0].first - 1
        if not seq:
            return first
        known = (
            end for end, node in self.nodes[copy.space].items() if (node.run.origin, node.run.last) == (origin, seq)
        )
        entries = [entry for run in runs for entry in run.entries]
        return next(end for end in known if hash_after(end, entries) == copy.origins[origin].head)

    async def read(self, space: Space) -> None:
        """What the log of a copy that was just opened holds."""
        position = 0
        runs: list[Run] = []
        while (found := await space.store.runs_after(position, 8 << 20, 10_000)).rows:
            runs += (row.run for row in found.rows)
            position = found.read_up_to
        self.take(space.copy, runs, {})

    def ends(self, copy: CopyState) -> Iterator[bytes]:
        """Of all that a copy in this state has applied, from the heads back, origin by origin."""
        nodes = self.nodes.get(copy.space, {})
        for state in copy.origins.values():
            end, seq = state.head, state.seq
            while seq:
                if end not in nodes:
                    raise AssertionError(f"a copy has applied a run up to {seq}, which nobody committed")
                yield end
                seq, end = nodes[end].run.first - 1, nodes[end].before

    def story(self, copy: CopyState) -> list[Run]:
        """What a copy in this state has applied, in an order that is causal."""
        todo: dict[bytes, list[Run]] = {}
        for end in self.ends(copy):
            run = self.nodes[copy.space][end].run
            todo.setdefault(run.origin, []).append(run)
        reached: Clock = {}
        ordered: list[Run] = []
        moved = True
        while moved:
            moved = False
            for origin, runs in sorted(todo.items()):
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


def _is_left(run: Run, left: Sequence[Covers]) -> bool:
    return any(first <= run.first and run.last <= last for one in left for first, last in one.get(run.origin, ()))


def context_of(run: Run) -> Clock:
    """What has to be applied before it."""
    found: dict[bytes, int] = {}
    for data in run.entries:
        found.update({head.origin: head.seq for head in entry.decode(data).delta})
    return found
