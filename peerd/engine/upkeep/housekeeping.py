"""What has to be done now and then: let go of what is old and of memory, save what is known of peers, judge our own
clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from peerd.core.daemon_time import SYNCHRONISED, Passed, older
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.upkeep.holding import Holders
from peerd.engine.upkeep.resting import Resting
from peerd.engine.upkeep.trimming import Trimming
from peerd.errors import StoreClosed, StoreError
from peerd.logs import get

log = get(__name__)

LOOK_S = 60.0
MANY = 1_000  # runs that came, or transactions that everybody has
EVERY_S = 3600.0
SAVE_PEERS_S = 2.0
AGREEMENT_MS = 120_000
AGREEMENT_LASTS_S = 7 * 24 * 3600.0
DAY_MS = 24 * 3600 * 1000


class _Extent(NamedTuple):
    """How far a log goes, and how many of its transactions may go as far as others are concerned."""

    position: int
    may_go: int


class Housekeeping:
    """`history_days(name)` is the setting of a space; `set_agreed` tells our clock whether a peer's agrees."""

    def __init__(self, spaces: Spaces, switchboard: Switchboard, times: Times) -> None:
        self.history_days: Callable[[str], int] = lambda _: 30
        self.set_agreed: Callable[[bool], None] = lambda _: None
        self._spaces = spaces
        self._switchboard = switchboard
        self._times = times
        self.holders = Holders()
        self._trimming = Trimming(self.holders, times)
        self._resting = Resting(spaces)
        self._before_s = times.monotonic_s()
        self._tidied: dict[bytes, _Extent] | None = None  # of each space, when that was done last
        self._synced_s: dict[bytes, float] = {}  # when the age of a space last stood on a synchronised clock
        self._agreed_s: float | None = None
        self._members_changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._unsaved: set[tuple[bytes, bytes]] = set()  # space and device
        self._peers_known = asyncio.Event()

    def roster_changed(self) -> None:
        self._members_changed.set()

    async def tend_secrets(self) -> None:
        """Some seconds after members have changed: is there a secret that exactly the members know? Until cancelled.
        The wait is random, so that of several admins mostly one does it.
        """
        while True:
            await self._members_changed.wait()
            await asyncio.sleep(self._times.uniform(3.0, 15.0))
            self._members_changed.clear()
            for space in self._live():
                await self._tend_secret(space)

    async def _tend_secret(self, space: Space) -> None:
        """What keeps one space from it keeps no other; an hour later it is tried again."""
        try:
            await self._spaces.renew_epoch(space)
        except StoreClosed:
            pass
        except StoreError as problem:
            log.warning("secret not renewed", space=space.name, code=problem.code, cause=str(problem))

    def peer_known(self, space: Space, device: bytes) -> None:
        """Something was learnt of a peer that the next life of this daemon has to know."""
        self._unsaved.add((space.id, device))
        self._peers_known.set()

    async def save_peers(self) -> None:
        """Soon after it was learnt, so that a crash does not forget where a peer was found. Until cancelled."""
        while True:
            await self._peers_known.wait()
            await asyncio.sleep(SAVE_PEERS_S)  # a device is met in all its spaces at once
            self._peers_known.clear()
            unsaved, self._unsaved = self._unsaved, set()
            for space_id, device in unsaved:
                space = self._spaces.by_id.get(space_id)
                if space is None or device not in space.presence.peers:
                    continue
                try:
                    await space.store.save_peer(space.presence.peers[device])
                except StoreError as problem:
                    log.warning("peers not saved", space=space.name, code=problem.code, cause=str(problem))

    async def run(self) -> None:
        """Soon after the start, then once an hour, when it is asked for, and when a log that nothing is kept in for its
        age has grown much. Until cancelled.
        """
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), LOOK_S)
            except TimeoutError:
                await self._resting.look()
            if self.is_due():
                self._wanted.clear()
                await self.tidy(self._elapsed_ms())

    def is_due(self) -> bool:
        """Has the hour passed, or is there anything that should not wait for its end?"""
        has_passed = self._tidied is None or self._times.monotonic_s() - self._before_s >= EVERY_S
        return has_passed or self._wanted.is_set() or any(map(self._has_grown, self._live()))

    def _live(self) -> list[Space]:
        return list(self._spaces.by_id.values())

    def _has_grown(self, space: Space) -> bool:
        """Much that may go is there since the last time, as far as its age tells: it came, or who lacked it has it."""
        if self.history_days(space.name):
            return False
        now, before = self._extent(space), (self._tidied or {}).get(space.id, _Extent(0, 0))
        return now.position - before.position >= MANY or now.may_go - before.may_go >= MANY

    def _extent(self, space: Space) -> _Extent:
        return _Extent(space.commits.last_position, self._trimming.may_go(space))

    def soon(self) -> None:
        """What is kept for how long has changed."""
        self._wanted.set()

    def _elapsed_ms(self) -> int:
        """What has passed while running, since this was asked last."""
        before_s, self._before_s = self._before_s, self._times.monotonic_s()
        return round((self._before_s - before_s) * 1000)

    async def tidy(self, elapsed_ms: int) -> None:
        """Do all of it. `elapsed_ms` of daemon time pass: age counts what passed while running, by no clock."""
        self.judge_clock()
        for link in self._switchboard.links.values():
            link.ping()
        positions = {space.id: space.commits.last_position for space in self._live()}
        for space in self._live():
            try:
                await self._grow_older(space, elapsed_ms)
                for session in self._switchboard.sessions(space):  # a link may last for months
                    space.presence.note_seen(session.theirs)
                gone = await self._trimming.trim(space, self.history_days(space.name) * DAY_MS)
                await space.save_peers()
                await self._spaces.renew_epoch(space)
                await space.snapshots.forget_abandoned()
            except StoreClosed:
                continue
            except StoreError as problem:
                log.warning("housekeeping failed", space=space.name, code=problem.code, cause=str(problem))
                continue
            if gone.history:
                log.info("history forgotten", space=space.name, count=gone.history)
            if gone.runs:
                log.info("log trimmed", space=space.name, count=gone.runs, size_bytes=gone.log_bytes)
            if gone.staged:
                log.info("staged runs dropped", space=space.name, count=gone.staged)
            space.look_at_parked()
        self._tidied = {
            space.id: _Extent(positions.get(space.id, 0), self._trimming.may_go(space)) for space in self._live()
        }

    async def note_time(self) -> None:
        """The daemon stops: what passed since the last time counts."""
        elapsed_ms = self._elapsed_ms()
        for space in list(self._spaces.by_id.values()):
            try:
                await self._grow_older(space, elapsed_ms)
            except StoreError as problem:
                log.warning("age not noted", space=space.name, code=problem.code, cause=str(problem))

    async def _grow_older(self, space: Space, elapsed_ms: int) -> None:
        times = self._times
        synced_s = self._synced_s.get(space.id)
        since_ms = None if synced_s is None else round((times.boottime_s() - synced_s) * 1000)
        passed = Passed(elapsed_ms, times.wall_ms(), times.quality(), since_ms)
        age = older(space.age, passed)
        await space.store.upkeep.note_age(age)
        if passed.quality == SYNCHRONISED:
            self._synced_s[space.id] = times.boottime_s()
        space.grew_older(age, age.ms - space.age.ms - max(0, elapsed_ms))

    def judge_clock(self) -> None:
        """Some peer's clock within two minutes of ours, during the last seven days of ours: then it counts for more."""
        now_s = self._times.monotonic_s()
        offsets = [link.offset_ms for link in self._switchboard.links.values() if link.offset_ms is not None]
        if any(abs(offset) < AGREEMENT_MS for offset in offsets):
            self._agreed_s = now_s
        self.set_agreed(self._agreed_s is not None and now_s - self._agreed_s < AGREEMENT_LASTS_S)
