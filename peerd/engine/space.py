"""One open space: its store, its commit door, its roster, and who listens for the doorbell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from peerd.core.clocks import Clock, ReadClock
from peerd.core.copy import CopyState
from peerd.core.daemon_time import Age
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement
from peerd.core.snapshots.stored import Switched
from peerd.core.stored import Awaited, Opened, StoredPetition
from peerd.engine.commits import Commit, Commits
from peerd.engine.forks.forks import Forks
from peerd.engine.forks.recopying import Recopying
from peerd.engine.learning import Learning
from peerd.engine.ports import Keys, Times
from peerd.engine.presence import Presence
from peerd.engine.provenance import Provenance
from peerd.engine.repair.damage import Damage
from peerd.engine.repair.scrubbing import Scrubbing
from peerd.engine.snapshots.snapshots import Snapshots
from peerd.engine.staging import Staging
from peerd.engine.store_ports import SpaceStore
from peerd.errors import MAKE_ROOM, DiskFull, StoreDamaged, StoreError
from peerd.logs import get
from peerd.protocol.session import Ours

log = get(__name__)

FLOOR_BYTES = 64 << 20


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
        self.awaited = {one.device: one for one in opened.awaited}  # named by their ids, and not here yet
        self.age = opened.age  # see `core.daemon_time`
        self.petition = opened.petition  # that we ask to be let in, by an invitation file
        self.presence = Presence(keys.device, opened.peers, self.commits, times, lambda: self.age.ms)
        self.learning = Learning(self.name, self.commits, store, keys, self._grown)
        self.provenance = Provenance(self.name, opened.taken, store.snapshots, self.name_of)
        self.on_commit: list[Callable[[Commit], None]] = []
        self.on_roster: list[Callable[[Roster], None]] = []  # called with the roster before
        self.trouble: tuple[str, str] | None = None  # code and sentence of what stops this space
        self._parked_task: asyncio.Task[None] | None = None
        self._parked_again = False
        self._ending: set[asyncio.Task[None]] = set()
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
        self.commits.active = self.presence.active
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
        await self.learning.close()
        await self.provenance.close()
        if self._ending:
            await asyncio.wait(self._ending)
        if self._parked_task is not None:
            await asyncio.wait([self._parked_task])
        try:
            await self.save_peers()
        except StoreError as problem:
            log.warning("peers not saved", space=self.name, code=problem.code, cause=str(problem))
        finally:
            await self.store.close()

    async def save_peers(self) -> None:
        """What is known of the others, durably. Raises StoreError."""
        for peer in list(self.presence.peers.values()):
            await self.store.save_peer(peer)

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
        self.provenance.taken = switched.taken
        self.snapshots.coming = None
        self.damage.switched(switched.scrub)
        self.was_replaced = switched.replaced
        if switched.replaced:
            self.commits.staging = Staging(())  # what waited here waited for another history
            self.presence.begin_anew()
        self._renamed(switched.copy_id)
        self.filled()
        self.look_at_parked()

    def filled(self) -> None:
        """There is nothing that another member or a relay has and we lack, or there is no other member."""
        if not self.is_filled:
            self.is_filled = True
            self.recopying.count_anew()
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
        """The database is so old now; for `off_ms` of that no daemon ran."""
        before, self.age = self.age, age
        self.presence.grew_older(before.ms, off_ms)

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
            raise DiskFull(f"only {free_bytes >> 20} MiB are free on the disk", next_step=f"{MAKE_ROOM}.")

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
        """Somebody said that they cannot restore; perhaps we can. Or somebody has not heard yet what we cannot."""
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
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_own_origin(self) -> None:
        async def end() -> None:
            if self.commits.own_origin is None:
                await self.store.end_own_origin()

        try:
            await self.commits.tend(end)
        except StoreError as problem:  # whoever knows more says so again
            log.warning("end of the own origin not kept", space=self.name, code=problem.code, cause=str(problem))

    # ---- members

    def others(self) -> set[bytes]:
        """The devices of all members but this one."""
        return set(self.roster.members) - {self._keys.device}

    @property
    def is_ours(self) -> bool:
        """Is this device a member?"""
        return self.roster.is_member(self._keys.device)

    async def ask(self, petition: StoredPetition | None) -> None:
        """Have a petition lie on the relays; None: no longer."""
        await self.store.save_petition(petition)
        self.petition = petition

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
        """Who may not come any more after a change of members: those removed by it, perhaps not for the first time, and
        those let in by another member; or all, if we may not let in anybody any more.
        """
        if not self.roster.is_admin(self._keys.device):
            return set(self.awaited)
        removed, members = self.roster.removed, self.roster.members
        known = {device: one.admission for device, one in before.removed.items()}
        gone = {one for one in self.awaited.keys() & removed.keys() if removed[one].admission != known.get(one)}
        come = self.awaited.keys() & members.keys() - before.members.keys()
        return gone | {one for one in come if members[one].admitted_by != self.device}

    async def learn(self, statements: Iterable[SignedStatement], bringer: bytes | None = None) -> bool:
        """Take in statements of a peer (`bringer`), or of our own; see `learning`. True if the roster grew."""
        return await self.learning.learn(statements, bringer)

    async def _grown(self, before: Roster) -> None:
        if self.roster.closed_forks != before.closed_forks:
            await self.forks.look()
        staying = [device for device, member in before.members.items() if self.roster.goes_on(member)]
        self.presence.note_admitted(staying)
        self.forks.forget_who_left()
        for listener in self.on_roster:
            listener(before)
        if not self.others():
            self.filled()
        await self.stop_awaiting(self._not_awaited(before))
