"""A light model of a copy: runs with contexts, applied in causal order or waiting for it. No records, no signatures."""

from __future__ import annotations

from dataclasses import dataclass, field

from peerd.core.chain import Run
from peerd.core.clocks import Clock, includes, join
from peerd.core.origin import Announcement
from peerd.core.stored import LogRow

STAGED = 40

RunName = tuple[bytes, int]  # origin, first


class Wrong(AssertionError):
    """The history did what must not happen."""


@dataclass
class Truth:
    """What was really written; known to the simulation alone."""

    contexts: dict[RunName, Clock] = field(default_factory=dict)
    runs: dict[RunName, Run] = field(default_factory=dict)
    announcements: dict[bytes, Announcement] = field(default_factory=dict)
    limits: Clock = field(default_factory=dict)  # of removed devices' origins: the last accepted seq
    snapshots: dict[bytes, tuple[Clock, frozenset[RunName]]] = field(default_factory=dict)


@dataclass
class Copy:
    """The durable state of a space, apart from what the courier keeps in it."""

    truth: Truth
    clock: Clock = field(default_factory=dict)
    names: set[RunName] = field(default_factory=set)
    log: list[LogRow] = field(default_factory=list)
    horizon: Clock = field(default_factory=dict)
    staged: list[Run] = field(default_factory=list)

    def saved(self) -> Copy:
        return Copy(
            self.truth, dict(self.clock), set(self.names), list(self.log), dict(self.horizon), list(self.staged)
        )  # fmt: skip

    def write(self, run: Run, context: Clock) -> None:
        name = run.origin, run.first
        self.truth.contexts[name] = context
        self.truth.runs[name] = run
        self._apply(run)

    def take(self, runs: list[Run], *, removed: frozenset[bytes]) -> list[str]:
        """Through the commit door: applied, staged, known or refused; as long as something moves."""
        verdicts = [self._attempt(run, removed) for run in runs]
        self.staged += [run for run, verdict in zip(runs, verdicts, strict=True) if verdict == "waiting"]
        moved = True
        while moved:
            moved = False
            for run in list(self.staged):
                verdict = self._attempt(run, removed)
                if verdict != "waiting":
                    self.staged.remove(run)
                    moved = moved or verdict == "applied"
        del self.staged[STAGED:]  # full: somebody brings them again
        return verdicts

    def _attempt(self, run: Run, removed: frozenset[bytes]) -> str:
        if run.last <= self.clock.get(run.origin, 0):
            return "known"
        announcement = self.truth.announcements[run.origin]
        if announcement.device in removed and run.last > self.truth.limits.get(run.origin, 0):
            return "refused"
        context = self.truth.contexts[run.origin, run.first]
        if self.clock.get(run.origin, 0) != run.first - 1 or not includes(self.clock, context):
            return "waiting"
        self._apply(run)
        return "applied"

    def _apply(self, run: Run) -> None:
        name = run.origin, run.first
        if name in self.names:
            raise Wrong(f"applied twice: {name}")
        if not includes(self.clock, self.truth.contexts[name]):
            raise Wrong(f"applied out of order: {name}")
        self.names.add(name)
        self.clock[run.origin] = run.last
        self.log.append(LogRow(len(self.log) + 1, run, 0))

    def merge_snapshot(self, clock: Clock, names: frozenset[RunName]) -> None:
        for origin, seq in clock.items():
            if seq > self.clock.get(origin, 0):
                self.horizon[origin] = seq
        self.clock = join(self.clock, clock)
        self.names |= names

    def read(self, position: int, covered: Clock, max_bytes: int) -> tuple[list[LogRow], int]:
        rows: list[LogRow] = []
        size = 0
        for row in self.log[position:]:
            position = row.position
            if row.run.last <= covered.get(row.run.origin, 0):
                continue
            size += row.run.size_bytes
            if rows and size > max_bytes:
                return rows, rows[-1].position
            rows.append(row)
        return rows, position

    def meet(self, other: Copy, removed: frozenset[bytes]) -> None:
        """Everything that the other copy's log has and we lack, as over a link."""
        if includes(self.clock, other.horizon):
            self.take([row.run for row in other.log if row.run.last > self.clock.get(row.run.origin, 0)],
                      removed=removed)  # fmt: skip
