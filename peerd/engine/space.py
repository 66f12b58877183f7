"""One open space: its store, its commit door, its roster, and who listens for the doorbell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from peerd.core.clocks import Clock, ReadClock, join
from peerd.core.copy import CopyState
from peerd.core.daemon_time import Age
from peerd.core.device_id import short_id
from peerd.core.roster import compose
from peerd.core.roster.acceptance import vouches_due
from peerd.core.roster.roster import Refusal, Roster
from peerd.core.roster.statements import SignedStatement
from peerd.core.snapshots.stored import Switched
from peerd.core.stored import Awaited, Opened, StoredPeer, StoredPetition
from peerd.core.trimming import ACTIVE_MS, is_active
from peerd.engine.commits import Commit, Commits
from peerd.engine.forks.forks import Forks
from peerd.engine.forks.recopying import Recopying
from peerd.engine.ports import Keys, Times
from peerd.engine.repair.damage import Damage
from peerd.engine.repair.scrubbing import Scrubbing
from peerd.engine.snapshots.snapshots import Snapshots
from peerd.engine.staging import Staging
from peerd.engine.store_ports import SpaceStore
from peerd.errors import DiskFull, StoreDamaged, StoreError
from peerd.logs import get
from peerd.protocol.session import Ours

log = get(__name__)

FLOOR_BYTES = 64 << 20
DAY_MS = 24 * 3600 * 1000


class Space:
    """`on_commit` and `on_roster` are called after the fact, in the order in which they were added."""

    def __init__(
        self,
        opened: Opened,
        store: SpaceStore,
        keys: Keys,
        times: Times,
        verify: Callable[[bytes, bytes, bytes], bool],
    ) -> None:
        roster, _ = Roster(opened.space, verify).with_statements(opened.statements)
        self.id = opened.space
        self.name = opened.name
        self.copy_id = opened.copy_id
        self.store = store
        self.commits = Commits(opened, store, keys, times, verify, roster)
        self.peers = {peer.device: peer for peer in opened.peers}
        self.awaited = {one.device: one for one in opened.awaited}  # named by their ids, and not here yet
        self.age = opened.age  # see `core.daemon_time`
        self.petition = opened.petition  # that we ask to be let in, by an invitation file
        self.taken = opened.taken  # the snapshot whose place this copy took
        self.on_commit: list[Callable[[Commit], None]] = []
        self.on_roster: list[Callable[[Roster], None]] = []  # called with the roster before
        self.trouble: tuple[str, str] | None = None  # code and sentence of what stops this space
        self.peer_known: Callable[[Space, bytes], None] = lambda _space, _device: None  # its name or addresses are new
        self._parked_task: asyncio.Task[None] | None = None
        self._parked_again = False
        self._learning: set[asyncio.Task[bool]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._keys = keys
        self._times = times
        self.times = times
        self.snapshots = Snapshots(self, store.snapshots, times)
        self.damage = Damage(self.name, self.commits, store, times)
        self.damage.renamed = self._put_right
        self.damage.others = lambda: set(self.roster.members) - {self.device}
        self.scrub = Scrubbing(self.name, self.commits, store, times, lambda: self.copy_id, self.damage)
        self.commits.restores.doubts = self.damage.doubts
        self.commits.owing, self.commits.met = self.damage.owing, self.damage.met
        self.recopying = Recopying(self, opened.recopy, times)
        self.forks = Forks(self)
        self.keys = keys
        self.is_filled = False  # since we started, it had all that another member or a relay has
        self.makes_way = False  # it closes for another copy of the same space
        self.was_replaced = False  # by the last switch: nothing of what we had was merged
        self.on_switch: list[Callable[[], None]] = []  # a snapshot took the place of the copy
        self.on_trim: list[Callable[[Clock], None]] = []  # the log begins later now; called with where it began
        self.commits.ring = self._ring
        self.commits.switched = self._switched
        self.commits.active = self.active
        self._note_admitted(self.peers)
        if opened.origin_note:
            log.info("new origin needed", space=self.name, cause=opened.origin_note)

    async def open(self) -> None:
        self.is_filled = not self.others()
        await self.commits.open()
        await self.damage.open()
        self.store.on_unreadable(self.scrub.alarm)
        await self.snapshots.open()
        await self.forks.look()
        self.recopying.open()

    async def close(self) -> None:
        await self.recopying.close()
        await self.scrub.close()
        await self.damage.close()
        await self.commits.close()
        await self.snapshots.close()
        if self._learning or self._keeping:
            await asyncio.wait(self._learning | self._keeping)
        if self._parked_task is not None:
            await asyncio.wait([self._parked_task])
        try:
            for peer in self.peers.values():
                await self.store.save_peer(peer)
        except StoreError as problem:
            log.warning("peers not saved", space=self.name, code=problem.code, cause=str(problem))
        finally:
            await self.store.close()

    @property
    def roster(self) -> Roster:
        return self.commits.roster

    @property
    def copy(self) -> CopyState:
        return self.commits.state

    @property
    def is_damaged(self) -> bool:
        """Is its database known to be damaged? Then nothing is exchanged: what it says may be wrong."""
        return isinstance(self.store.failure, StoreDamaged)

    def ours(self) -> Ours:
        """Our side as it stands now, for a session."""
        commits = self.commits
        return Ours(commits.state, commits.roster, commits.own_origin, commits.last_position, commits.refused)

    def _ring(self, commit: Commit) -> None:
        for listener in self.on_commit:
            listener(commit)

    @property
    def device(self) -> bytes:
        """This one."""
        return self._keys.device

    def _switched(self, switched: Switched) -> None:
        self.taken = switched.taken
        self.snapshots.coming = None
        self.damage.switched(switched.scrub)
        self.was_replaced = switched.replaced
        if switched.replaced:
            self.commits.staging = Staging(())  # what waited here waited for another history
        self._renamed(switched.copy_id)
        self.filled()
        self.look_at_parked()

    def filled(self) -> None:
        """There is nothing that another member or a relay has and we lack, or there is no other member."""
        if not self.is_filled:
            self.is_filled = True
            self._ring(Commit(own=False, foreign=False, lacking=[]))

    def _renamed(self, copy_id: bytes) -> None:
        """Positions in the copy mean nothing any more."""
        self.copy_id = copy_id
        for listener in self.on_switch:
            listener()

    def _put_right(self, copy_id: bytes) -> None:
        """Rows were put right: whoever follows the copy looks at all of it."""
        self.was_replaced = False
        self._renamed(copy_id)
        self._ring(Commit(own=False, foreign=False, lacking=[]))
        self.look_at_parked()

    def grew_older(self, age: Age, off_ms: int) -> None:
        """The database is so old now; for `off_ms` of that no daemon ran. That counts like all time, but nobody becomes
        silent by it alone: a day is left to hear of whoever was about before.
        """
        before_ms, self.age = self.age.ms, age
        for device, peer in self.peers.items():
            if is_active(before_ms, peer.heard_ms):
                at_least_ms = min(peer.heard_ms + max(0, off_ms), age.ms - ACTIVE_MS + DAY_MS)
                if peer.heard_ms < at_least_ms:
                    self.peers[device] = replace(peer, heard_ms=at_least_ms)

    def trimmed(self, horizon: ReadClock) -> None:
        """The log of these origins begins there now."""
        before = self.copy.horizon()
        self.commits.trimmed(horizon)
        for listener in self.on_trim:
            listener(before)

    def check_room(self) -> None:
        """Raises DiskFull."""
        if self.room_bytes() < 0:
            free_bytes, _ = self.store.room_bytes()
            raise DiskFull(f"only {free_bytes >> 20} MiB are free on the disk", next_step="Make room on this device.")

    def room_bytes(self) -> int:
        """What others may fill of our disk. Not to the last byte: what is left is for our own writes."""
        free_bytes, all_bytes = self.store.room_bytes()
        return free_bytes - min(FLOOR_BYTES, all_bytes // 50)

    def name_of(self, device: bytes) -> str:
        """What people call a device, as far as anybody said: "" if nobody did."""
        member = self.roster.members.get(device)
        if member is not None:
            return member.name
        removal = self.roster.removed.get(device)
        return removal.name if removal is not None else ""

    def look_at_parked(self) -> None:
        """Somebody said that they cannot restore; perhaps we can."""
        self._parked_again = True
        if self._parked_task is None or self._parked_task.done():
            self._parked_task = asyncio.create_task(self._restore_parked(), name="restore parked")

    async def _restore_parked(self) -> None:
        while self._parked_again:
            self._parked_again = False
            try:
                await self.commits.restore_parked()
            except StoreError as problem:
                log.warning("records not restored", space=self.name, code=problem.code, cause=str(problem))

    def went_back(self) -> None:
        """Somebody knows more of our own origin than we do: what we write next belongs to a new one. In the next life
        too, though by then we may have all that this one knows: another may know more.
        """
        self.commits.take_new_origin()
        task = asyncio.create_task(self._end_own_origin(), name="end own origin")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _end_own_origin(self) -> None:
        async def end() -> None:
            if self.commits.own_origin is None:
                await self.store.end_own_origin()

        try:
            await self.commits.tend(end)
        except StoreError as problem:  # whoever knows more says so again
            log.warning("end of the own origin not kept", space=self.name, code=problem.code, cause=str(problem))

    def agrees_with(self, device: bytes) -> None:
        """Our copy has had the same digest as that of a member: what a third one's snapshot brought is confirmed."""
        if self.taken is None or self.taken.agreed or self.taken.device == device:
            return
        self.taken = replace(self.taken, agreed=True)
        task = asyncio.create_task(self._keep_agreement(), name="keep agreement")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    def doubt(self, other: bytes) -> str:
        """What is to be said of where our copy came from, if it differs from another member's; "" if nothing is."""
        if self.taken is None or self.taken.agreed or self.taken.device == other:
            return ""
        maker = self.name_of(self.taken.device) or short_id(self.taken.device)
        return f"the copy here came as a snapshot of {maker}, with which no other member has agreed since"

    async def _keep_agreement(self) -> None:
        try:
            await self.store.snapshots.agreed()
        except StoreError as problem:  # it will agree again
            log.warning("agreement not kept", space=self.name, code=problem.code, cause=str(problem))

    # ---- members

    def active(self) -> set[bytes]:
        """The devices of members seen within 60 days of the age of this database, and ours."""
        seen = {device for device, peer in self.peers.items() if peer.seen_ms and is_active(self.age.ms, peer.heard_ms)}
        return {device for device in self.roster.members if device in seen or device == self._keys.device}

    def others(self) -> set[bytes]:
        """The devices of all members but this one."""
        return set(self.roster.members) - {self._keys.device}

    def was_here(self, device: bytes) -> bool:
        """Is there any sign that this member ever had a copy: it was linked with us, wrote, or let others in?"""
        peer = self.peers.get(device)
        return (
            (peer is not None and peer.seen_ms > 0)
            or any(origin.announcement.device == device for origin in self.copy.origins.values())
            or any(member.admitted_by == device for member in self.roster.members.values())
        )

    async def ask(self, petition: StoredPetition | None) -> None:
        """Have a petition lie on the relays; None: no longer."""
        await self.store.save_petition(petition)
        self.petition = petition

    def note_seen_on_relay(self, device: bytes, t_ms: int) -> None:
        """A member says on a relay that it was there at this time, by its own clock."""
        peer = self._peer(device)
        seen_ms = min(t_ms, self._times.wall_ms())
        if seen_ms > peer.seen_ms:
            self.peers[device] = replace(peer, seen_ms=seen_ms, heard_ms=self.age.ms)

    def note_seen(self, device: bytes, **changed: object) -> None:
        """Remember that a member was here, and what else is known of it."""
        before = self._peer(device)
        now = {"seen_ms": self._times.wall_ms(), "heard_ms": self.age.ms}
        peer = self.peers[device] = replace(before, **now, **changed)
        if (peer.name, peer.addresses) != (before.name, before.addresses):
            self.peer_known(self, device)

    def note_acks(self, device: bytes, clock: Clock, *, whole: bool = False) -> None:
        """What a member has applied, of what there is: whatever else it claims is not worth keeping. `whole`: it has no
        more than that; a copy that went back in time no longer has what its former life acknowledged.
        """
        known = {origin: seq for origin, seq in clock.items() if origin in self.copy.origins}
        peer = self._peer(device)
        self.peers[device] = replace(peer, acks=known if whole else join(peer.acks, known))

    def _note_admitted(self, before: Collection[bytes]) -> None:
        """Members that are new here: until they are seen, their time counts from now on."""
        for device in self.roster.members.keys() - {self._keys.device, *before}:
            self.peers[device] = replace(self._peer(device), heard_ms=self.age.ms, acks={})

    def _peer(self, device: bytes) -> StoredPeer:
        return self.peers.get(device, StoredPeer(device, heard_ms=self.age.ms))

    async def await_device(self, one: Awaited) -> None:
        """Remember, durably, that a device may join. Raises DiskFull, StoreError."""
        await self.store.save_awaited(one)
        self.awaited[one.device] = one

    async def stop_awaiting(self, devices: Iterable[bytes]) -> None:
        """They came, or may not come any more."""
        gone = [device for device in devices if self.awaited.pop(device, None) is not None]
        try:
            if gone:
                await self.store.drop_awaited(gone)
        except StoreError as problem:
            log.warning("awaited devices not dropped", space=self.name, code=problem.code, cause=str(problem))

    def _not_awaited(self, before: Roster) -> set[bytes]:
        """Whom a change of members keeps out: those removed by it, or all if we may not let in anybody any more."""
        if not self.roster.is_admin(self._keys.device):
            return set(self.awaited)
        return self.awaited.keys() & (self.roster.removed.keys() - before.removed.keys())

    async def learn(self, statements: Iterable[SignedStatement]) -> bool:
        """Take in statements of a peer, or of our own; vouch where that is due. True if the roster grew.

        Whoever asked may go away meanwhile, a link that ends for instance: what was learnt is told all the same.
        """
        return await asyncio.shield(self.begin_to_learn(statements))

    def begin_to_learn(self, statements: Iterable[SignedStatement]) -> asyncio.Task[bool]:
        """As `learn`, for those who do not wait."""
        task = asyncio.create_task(self._learn(tuple(statements)), name="learn statements")
        self._learning.add(task)
        task.add_done_callback(self._learnt)
        return task

    def _learnt(self, task: asyncio.Task[bool]) -> None:
        self._learning.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has heard of it, or is gone

    async def _learn(self, offered: tuple[SignedStatement, ...]) -> bool:
        refusals: list[Refusal] = []

        def grow(roster: Roster, copy: CopyState) -> Roster:
            larger, _ = roster.with_statements(offered)
            refusals[:] = larger.refused
            return self._with_vouches(larger, copy)

        before = await self.commits.grow_roster(grow, self.store.add_statements)
        for refusal in refusals:
            log.warning("statement refused", space=self.name, code=refusal.code, cause=refusal.message)
        if self.roster == before:
            return False
        if self.roster.closed_forks != before.closed_forks:
            await self.forks.look()
        self._note_admitted(before.members.keys())
        self.forks.forget_who_left()
        for listener in self.on_roster:
            listener(before)
        if not self.others():
            self.filled()
        await self.stop_awaiting(self._not_awaited(before))
        return True

    def _with_vouches(self, roster: Roster, copy: CopyState) -> Roster:
        """The roster with our word for what we have applied of those who left; a statement holds only so much."""
        applied = {origin: (at.seq, at.head[:8]) for origin, at in copy.origins.items()}
        announced = {origin: at.announcement for origin, at in copy.origins.items()}
        while due := vouches_due(roster, self._keys.device, applied, announced):
            vouch = compose.signed(compose.vouch(roster, self._keys.device, due), self._keys.sign)
            roster, added = roster.with_statements([vouch])
            if not added:
                break
        return roster
