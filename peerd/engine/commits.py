"""The only door to the data of a space: local writes, runs of others and restores all go through here.

Commit, then speak: nothing is answered, acknowledged or rung before its SQL transaction is durable. All of it
is work on one copy, in turn (`works`), so a long catch-up and local writers alternate; those that arrive while a commit
is syncing share the next one (`group_commit`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from peerd.core.batch import Author, Batch, Name
from peerd.core.chain import Run
from peerd.core.clocks import Dot, ReadClock
from peerd.core.copy import CopyState
from peerd.core.device_id import short_id
from peerd.core.intents import Intent
from peerd.core.origin import Announcement
from peerd.core.repair.scrub import ScrubState
from peerd.core.restore import portions
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement
from peerd.core.snapshots.intake import Standing, check_accepted
from peerd.core.snapshots.stored import Switched
from peerd.core.stored import Note, Opened
from peerd.core.writes import Writes, finish
from peerd.engine.arrival import Arrival
from peerd.engine.authorship import Authorship
from peerd.engine.collection_rules import CollectionRules
from peerd.engine.decoded import Decoded
from peerd.engine.group_commit import GroupCommit
from peerd.engine.ports import Keys, Times
from peerd.engine.restores import Restores
from peerd.engine.staging import Staging
from peerd.engine.store_ports import SpaceStore, Transaction
from peerd.engine.tables.bound_collections import BoundCollections
from peerd.engine.tail import Tail
from peerd.engine.works import Works
from peerd.engine.writing import Written
from peerd.errors import LinkLost
from peerd.logs import get

log = get(__name__)

RESTORES_AT_ONCE = 1_000


class Commit(Struct, frozen=True):
    """What the doorbell says: `own` if transactions of ours are among it; records that stand parked without an image
    here; `switched` if a snapshot took the place of the copy.
    """

    own: bool
    foreign: bool
    lacking: list[Name]
    switched: bool = False


KeepStatements = Callable[[Sequence[SignedStatement]], Awaitable[None]]


class Commits:
    """`ring` is called after each commit that moved the copy. `active` gives the devices of members seen lately."""

    def __init__(
        self,
        opened: Opened,
        store: SpaceStore,
        keys: Keys,
        times: Times,
        verify: Callable[[bytes, bytes, bytes], bool],
        roster: Roster,
    ) -> None:
        self.state: CopyState = opened.state
        self.roster = roster
        self.last_position = 0
        self.refused = 0  # runs that a removal kept out
        self.replaced = 0  # how often another history took the place of ours
        self.tail = Tail()
        self.rules = CollectionRules()
        self.bound = BoundCollections()
        self.staging = Staging(opened.staged)
        self.restores = Restores(keys.device, self.rules)
        self.ring: Callable[[Commit], None] = lambda _: None
        self.switched: Callable[[Switched], None] = lambda _: None  # before the ring
        self.active: Callable[[], set[bytes]] = set
        self.owing: Callable[[Mapping[Name, int]], ScrubState | None] = lambda _: None  # see `Damage`
        self.met: Callable[[Mapping[Name, int]], None] = lambda _: None
        self._store = store
        self._keys = keys
        self._times = times
        self._verify_with = verify
        self._works = Works()
        self._authorship = Authorship(opened.own_origin, keys, times)
        self._group = GroupCommit(self._works, self._transact, self._author, self.rules, times)

    async def open(self) -> None:
        """Read what is kept in memory: the settings of collections, what is said of tables, the end of the log."""
        self.last_position = await self._store.last_position()
        self.tail = Tail(self.last_position)
        await self.rules.load(self._store)
        await self.bound.load(self._store)

    async def close(self) -> None:
        """Let the commits in progress finish; what has not begun is refused. Idempotent."""
        self._group.close()
        await self._works.close()
        self.tail.close()

    @property
    def own_origin(self) -> bytes | None:
        """The origin under which we write; None: the next write takes a new one."""
        return self._authorship.origin

    def take_new_origin(self) -> None:
        """Our copy went back in time: what we write next belongs to a new origin."""
        self._authorship.origin = None

    def _author(self) -> Author:
        return self._authorship.author(self.state, self.roster)

    # ---- our own transactions

    async def write(self, intents: Sequence[Intent], note: Note | None = None) -> Written:
        """Apply all intents as one transaction, durably, or none. `note` is kept with it, unless there is nothing to
        say.

        Raises:
            UserError: a precondition does not hold, or this device is no member (any more).
            StoreError: nothing was written, and no sequence number is used up.
        """
        return await self._group.write(intents, note)

    async def write_so(self, decide: Callable[[Batch, Author], None]) -> None:
        """Let `decide` write transactions of ours, durable as a whole. Raises UserError "removed", or StoreError."""
        await self._works.do(lambda: self._transact(lambda _, batch: decide(batch, self._author())))

    # ---- runs of others

    async def take(
        self,
        announcements: Sequence[Announcement],
        runs: Sequence[Run],
        decoded: Decoded | None = None,
        bringers: Collection[bytes] = (),
    ) -> None:
        """Apply what can be applied, stage what must wait, durably. `decoded` has what was decoded ahead, and
        `bringers` are the devices that have brought them.

        Raises:
            RemoteProtocolError: a run is forged, or its author unknown; nothing of this call was applied.
            Fork, NeedsNewer: this space cannot go on with that peer.
            StoreError: nothing was written.
            LinkLost: the staging area is full; another link brings them again.
        """
        decoded = decoded or Decoded()
        arrival = Arrival(announcements, runs, decoded, bringers)
        await self._works.do(lambda: self._take(runs, arrival, decoded))

    async def _take(self, runs: Sequence[Run], arrival: Arrival, decoded: Decoded) -> None:
        decoded.judge(self.replaced)

        def decide(_: Transaction, batch: Batch) -> None:
            arrival.apply(batch, self.roster, self.staging)
            self._authorship.look_back(self.state, batch.state)

        if all(run.last <= self.state.seq(run.origin) for run in runs):
            return
        had = self.own_origin
        await self._transact(decide)
        if had is not None and self.own_origin is None:
            await self._store.end_own_origin()
        self.refused += len(arrival.refused) + len(arrival.worthless)
        await self.staging.drop(self._store, arrival.worthless)
        if arrival.waiting:
            await self.staging.keep(self._store, arrival.waiting)
        for device in arrival.surplus:
            log.warning("too many origins", device=short_id(device))
        if arrival.left_out:
            raise LinkLost("runs of too many new origins wait", code="staging-full")

    # ---- the roster

    async def grow_roster(self, grow: Callable[[Roster, CopyState], Roster], keep: KeepStatements) -> Roster:
        """Replace the roster by what `grow` makes of it and of the copy as it stands, durably, while nothing else
        moves: learning of a removal and vouching for what one has applied is one step.
        """
        befores: list[Roster] = []

        async def growing() -> None:
            before = self.roster
            larger = grow(before, self.state)
            await keep(larger.missing_from(frozenset(before.ids())))
            self.roster = larger
            befores.append(before)

        await self._works.do(growing)
        return befores[0]

    # ---- snapshots

    async def switch(self, standing: Standing, work: Callable[[], Awaitable[Switched]]) -> None:
        """Let `work` put a snapshot in the place of our rows. Our copy stays if this raises: RemoteProtocolError (the
        roster does not accept all of it), Fork, StoreError.
        """

        async def switching() -> None:
            check_accepted(standing, self.limit_of)
            switched = await work()
            if switched.own_origin_ended:
                self.take_new_origin()
            self.state = switched.state
            self.replaced += switched.replaced
            self.tail = Tail(self.last_position)
            self.switched(switched)
            try:
                await self.rules.load(self._store)
            finally:
                self.ring(Commit(own=False, foreign=True, lacking=[], switched=True))
            if self.staging.runs:
                staged = Arrival((), (), Decoded())
                await self._transact(lambda _, batch: staged.apply(batch, self.roster, self.staging))
                await self.staging.drop(self._store, staged.worthless)

        await self._works.do(switching)

    # ---- repairs

    async def put_right(self, work: Callable[[CopyState], Awaitable[CopyState]]) -> None:
        """Change rows that no transaction changes, because they are not what transactions made them. `work` is given
        the copy, writes durably, and gives what the copy is then; nothing else moves meanwhile, and nobody is rung.
        """

        async def putting() -> None:
            self.state = await work(self.state)
            await self.rules.load(self._store)
            await self.bound.load(self._store)

        await self._works.do(putting)

    # ---- the log becomes shorter

    async def tend(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, which is short, while nobody commits, and to its end. Raises what it raises, and StoreError."""
        await self._works.do(work)

    def trimmed(self, horizon: ReadClock) -> None:
        """The log of these origins begins there now. For whoever tends."""
        self.state = self.state.with_horizon(horizon)

    # ---- restores

    async def restore_parked(self) -> None:
        """Look again at all parked records: somebody said that they hold no image, or is active no more, or has not
        heard of which of them we hold none.
        """
        await self._works.whole(self._restore_parked())

    async def _restore_parked(self) -> None:
        parked: list[Name] = []

        def decide(_: Transaction, batch: Batch) -> None:
            batch.touched.update(dict.fromkeys(parked))
            batch.load(parked)

        after: Name | None = None
        while rows := await self._store.flagged(after, RESTORES_AT_ONCE):
            after = rows[-1][0]
            parked[:] = [name for name, record in rows if record.parked]
            if parked:
                async with self._works.alone():
                    await self._transact(decide)

    # ---- one SQL transaction

    async def _transact(
        self, decide: Callable[[Transaction, Batch], None], notes: Iterable[tuple[Note, Dot]] = ()
    ) -> None:
        """Run `decide`, add the restores that are ours, commit, and ring. Only for a work that is alone.
        `notes` is read after `decide`.
        """
        before = self.state
        lacking: list[Name] = []
        used_up: set[int] = set()
        unsound: dict[Name, int] = {}

        def inside(transaction: Transaction) -> tuple[Writes | None, Writes | None]:
            lacking.clear()
            batch = Batch(before, transaction, self.limit_of, self.verify, self.roster.forks)
            decide(transaction, batch)
            if batch.touched and self.roster.is_member(self._keys.device):
                changes, lacking[:] = self.restores.due(batch, self.active())
                batch.close_run()
                for portion in portions(changes):
                    batch.write(self._author(), portion, self._times.wall_ms(), self._times.quality())
            writes = finish(batch)
            used_up.clear()
            used_up.update(self.staging.used_up(writes.state))
            unsound.clear()
            unsound.update(batch.unsound_left() if batch.unsound else {})
            nothing = not writes.runs and writes.state.origins is before.origins
            return (None, None) if nothing else (writes, writes)

        writes = await self._store.transact(
            inside, lambda: self.own_origin, lambda: used_up, lambda: notes, lambda _: self.owing(unsound)
        )
        if writes is None:
            if lacking:
                self.ring(Commit(own=False, foreign=False, lacking=list(lacking)))
            return
        self.state = writes.state
        self.met(unsound)
        self.last_position += len(writes.runs)
        self.tail.committed(writes, self._times.wall_ms())
        self.staging.forget(used_up)
        self.rules.learn(writes)
        self.bound.learn(writes)
        own = any(applied.run.origin == self.own_origin for applied in writes.runs)
        foreign = any(applied.run.origin != self.own_origin for applied in writes.runs)
        self.ring(Commit(own, foreign, list(lacking)))

    def limit_of(self, origin: bytes, announcement: Announcement) -> int | None:
        return self.roster.limit_of(origin, announcement)

    def verify(self, device: bytes, signature: bytes, data: bytes) -> bool:
        key = self.roster.public_key(device)
        return key is not None and self._verify_with(key, signature, data)
