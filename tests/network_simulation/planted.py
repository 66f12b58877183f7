"""Mistakes that the engine, or what it is built of, might make. The histories must notice each of them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from sqlite3 import Connection
from typing import TypeVar
from unittest.mock import patch

from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import Doubt, Fork
from peerd.core.clocks import ReadClock
from peerd.core.record import Record
from peerd.core.slowness import Slowness
from peerd.core.snapshots import merge as snapshot_merge
from peerd.engine.forks import recopying
from peerd.engine.snapshots import making
from peerd.engine.upkeep import trimming
from peerd.protocol.relay.courier_steps import Moment, SeenHead
from peerd.protocol.relay.own_head import OwnHead
from peerd.store import database, incoming, log, opening
from peerd.store.database import Outcome
from peerd.store.refs import Refs
from tests.relay_simulation import planted as of_couriers

T = TypeVar("T")

LATE_S = 0.005
Planted = Callable[[], AbstractContextManager[None]]


@contextmanager
def older_head_taken_for_ours() -> Iterator[None]:
    """A head of ours that a relay was set back to counts as the newest that we wrote."""
    real = OwnHead.seen

    def seen(self: OwnHead, seen: SeenHead, moment: Moment) -> str:
        memory, head = self._memory, seen.head
        if head is None or memory.put is None or head.counter >= memory.put.counter:
            return real(self, seen, moment)
        self.tag = seen.tag
        memory.put = replace(memory.put, tag=seen.tag)
        return ""

    with patch.object(OwnHead, "seen", seen):
        yield


@contextmanager
def origin_kept_after_a_restore() -> Iterator[None]:
    """A copy that went back goes on with the origin that it had."""
    with patch.object(opening, "objection", lambda _mark, _standing: ""):
        yield


@contextmanager
def trimmed_before_acknowledged() -> Iterator[None]:
    """The log goes by its age alone."""
    with patch.object(trimming, "held_by_all", lambda clock, _holders: dict(clock)):
        yield


@contextmanager
def snapshot_without_covered_dots() -> Iterator[None]:
    """What one side of a snapshot lacks is never taken for removed there."""
    real = snapshot_merge.merge

    def merge(ours: Record | None, theirs: Record | None, _ours: ReadClock, _theirs: ReadClock) -> Record | None:
        return real(ours, theirs, {}, {})

    with patch.object(snapshot_merge, "merge", merge):
        yield


@contextmanager
def snapshot_that_names_nothing_owed() -> Iterator[None]:
    """What the maker of a snapshot lost counts as removed for whoever takes it in."""
    real = making._end
    with patch.object(making, "_end", lambda last, _owed: real(last, digest.EMPTY)):
        yield


@contextmanager
def acknowledged_before_committed() -> Iterator[None]:
    """Whoever waits is answered, and others hear of it, some milliseconds before it is durable."""
    real = database.committed

    def committed(
        connection: Connection, work: Callable[[Connection], Outcome[T]], slowness: Slowness | None = None
    ) -> Outcome[T]:
        def commit() -> None:
            with suppress(sqlite3.Error):  # closed, or committed by now
                connection.execute("COMMIT")

        commit()
        if work.__qualname__ != "SpaceStore.transact.<locals>.work":
            return real(connection, work, slowness)
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcome = work(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if outcome.keep:
            asyncio.get_running_loop().call_later(LATE_S, commit)
        else:
            connection.execute("ROLLBACK")
        return outcome

    with patch.object(database, "committed", committed):
        yield


@contextmanager
def not_written_again() -> Iterator[None]:
    """Who held the history that falls takes the other copy, and that is all."""
    with patch.object(recopying, "steps", lambda *_args, **_options: []):
        yield


@contextmanager
def doubt_taken_for_agreement() -> Iterator[None]:
    """Where the log is gone that would tell whether two histories are the same, they count as the same."""
    real = incoming.ends_of_fork

    def ends_of_fork(connection: Connection, refs: Refs) -> Fork | None:
        fork = real(connection, refs)
        return None if isinstance(fork, Doubt) else fork

    with (
        patch.object(incoming, "ends_of_fork", ends_of_fork),
        patch.object(log, "reaches", lambda *_: True),
    ):
        yield


@contextmanager
def refused_head_written_at_once() -> Iterator[None]:
    """Whoever is not shown yet what stands in the place of its head tries to replace it without a pause."""
    with patch.object(OwnHead, "refused", lambda *_: None):
        yield


OF_COPIES: dict[str, Planted] = {
    mistake.__name__: mistake
    for mistake in (
        origin_kept_after_a_restore,
        trimmed_before_acknowledged,
        snapshot_without_covered_dots,
        snapshot_that_names_nothing_owed,
        acknowledged_before_committed,
        not_written_again,
        doubt_taken_for_agreement,
    )
}
OF_RELAYS: dict[str, Planted] = {
    mistake.__name__: mistake
    for mistake in (
        of_couriers.collected_before_acknowledged,
        older_head_taken_for_ours,
        refused_head_written_at_once,
    )
}
