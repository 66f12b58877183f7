"""One space on one relay: has done what its courier asks for, one step at a time, and sleeps when it says so.

Trouble with the relay stops this courier alone, is shown, and is tried again as the courier says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from peerd.core.clocks import Clock, includes
from peerd.core.device_id import short_id
from peerd.core.roster.roster import Roster
from peerd.core.stored import RelayKept
from peerd.engine.commits import Commit
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.fork_talk import RelayForkTalk
from peerd.engine.relay.keys import NoKey
from peerd.engine.relay.ports import RelayStore
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.relay.snapshots import NotTaken, RelaySnapshots
from peerd.engine.relay.steps import RelaySteps
from peerd.engine.space import Space
from peerd.engine.tail import TAIL_BYTES
from peerd.errors import LinkLost, PeerdError, RelayTrouble, StoreError
from peerd.logs import get
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_status import CourierStatus
from peerd.protocol.relay.courier_steps import HEEDED, Moment, Sleep, Standing
from peerd.protocol.relay.objects import Head
from peerd.protocol.relay.reports import Report

log = get(__name__)

NO_KEY_S = STORE_AGAIN_S = 30.0
BUNCH_S = 0.2
_REPORT = "Look into the log of the daemon; please report it. It is tried again."


class RelayPlan(Struct, frozen=True):
    """What the configuration says of one relay. `place` says where it is: what is remembered belongs to that. `open`
    makes the back end; its argument is called when somebody may have written there. Plans with the same `settings` are
    the same. `spaces` are names; "*" is every space.
    """

    name: str
    place: str
    settings: object
    spaces: tuple[str, ...]
    courier: CourierSettings
    open: Callable[[Callable[[], None]], RelayStore]


class CourierRunner:
    """`settled` is set whenever there is nothing to do at the moment."""

    def __init__(
        self, space: Space, plan: RelayPlan, sealed: SealedRelay, store: RelayStore, keys: Keys, times: Times
    ) -> None:
        self.space = space
        self.relay = plan.name
        self.trouble: PeerdError | None = None
        self._troubles: dict[str, PeerdError] = {}  # the last of each code, while the courier has any
        self.settled = asyncio.Event()
        self._sealed = sealed
        self.settings = plan.courier
        self._place = plan.place
        self._store = store
        self._keys = keys
        self._times = times
        self._courier: Courier | None = None
        self._snapshots: RelaySnapshots | None = None
        self._forks = RelayForkTalk(space, plan.name)
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()  # somebody waits
        self._task: asyncio.Task[None] | None = None
        self._logged: set[tuple[str, bytes]] = set()
        self._heard = 0  # the position in the log up to which the courier knows how much there is

    # ---- from start to end

    def start(self) -> None:
        self._heard = self.space.commits.last_position
        self.space.on_commit.append(self._on_commit)
        self.space.on_roster.append(self._on_roster)
        self.space.on_switch.append(self._on_switch)
        self._task = asyncio.create_task(self._run(), name=f"courier {self.relay} {self.space.name}")

    async def stop(self) -> None:
        """What was begun on the relay may be done there or not: it is safe to repeat."""
        if self._task is None:
            return
        self.space.on_commit.remove(self._on_commit)
        self.space.on_roster.remove(self._on_roster)
        self.space.on_switch.remove(self._on_switch)
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    # ---- hints

    def noticed(self) -> None:
        """Somebody may have written to the relay."""
        self._hint(lambda courier: courier.noticed(self._moment()))

    def has_to_leave(self) -> bool:
        """Does something wait to be left that not all members have, and does nothing stand in the way?"""
        return self._courier is not None and self.trouble is None and self._courier.has_to_leave(self._standing())

    def sync_now(self) -> None:
        self._urgent.set()
        self._hint(lambda courier: courier.sync_now(self._moment()))

    def _on_commit(self, commit: Commit) -> None:
        commits, before = self.space.commits, self._heard
        self._heard = commits.last_position
        fresh = commits.tail.runs_after(before, TAIL_BYTES)  # None: more than the tail holds
        size_bytes = TAIL_BYTES if fresh is None else sum(row.run.size_bytes for row in fresh.rows)
        self._hint(lambda courier: courier.committed(self._moment(), own=commit.own, size_bytes=size_bytes))

    def _on_roster(self, before: Roster) -> None:
        ended = [device for device, member in before.members.items() if not self.space.roster.goes_on(member)]
        self._hint(lambda courier: courier.roster_changed(self._moment(), ended))

    def _on_switch(self) -> None:
        space = self.space
        self._hint(lambda courier: courier.copy_switched(space.copy_id, self._moment(), replaced=space.was_replaced))

    def _hint(self, tell: Callable[[Courier], None]) -> None:
        if self._courier is not None:
            tell(self._courier)
            self.settled.clear()
            self._wake.set()

    def status(self) -> CourierStatus | None:
        """None until what is remembered has been read."""
        return None if self._courier is None else self._courier.status(self._standing(), self._moment())

    def not_taken(self) -> NotTaken | None:
        """A snapshot there that this copy needs and could not take in."""
        one = self._snapshots.not_taken if self._snapshots is not None else None
        if one is None or includes(self.space.copy.clock(), one.clock):
            return None
        head = self.heads().get(one.maker)
        stands = head is not None and head.snapshot is not None and head.snapshot.id == one.snapshot
        is_settled = one.code == "fork" and self.space.forks.with_peer(one.maker) is None
        return one if stands and not is_settled else None

    def holds(self) -> Clock:
        """What the relay holds, as far as it was seen there since we started."""
        return {} if self._courier is None else self._courier.held(self._standing())

    @property
    def holds_past(self) -> bool:
        """Is nothing left there because of what an earlier life of this device did?"""
        return self._forks.holds_past

    def failing_s(self) -> float:
        """For how long it has failed, of the time for which this device ran, over restarts; 0 if it works."""
        return 0.0 if self._courier is None else self._courier.failing_s(self._moment())

    def heads(self) -> dict[bytes, Head]:
        """Of other members, as they were fetched last."""
        return {} if self._courier is None else self._courier.heads()

    # ---- the loop

    async def _run(self) -> None:
        kept = await self._remembered()
        steps = RelaySteps(self.space, self._forks, self._place, self._sealed, self._times, self._moment, kept)
        self._snapshots = steps.snapshots
        self._courier = Courier(self.space.id, self._keys.device, self.settings, kept.memory)
        log.info("relay opened", space=self.space.name, relay=self.relay)
        if kept.memory is None:
            await self._prepare()
        while True:
            await self._turn(self._courier, steps)

    async def _remembered(self) -> RelayKept:
        while True:
            try:
                return await self.space.store.relays.load(self._place)
            except StoreError as trouble:
                log.warning(
                    "relay failed", space=self.space.name, relay=self.relay, code=trouble.code, cause=str(trouble)
                )
                self.trouble = trouble
                self.settled.set()
            await asyncio.sleep(STORE_AGAIN_S)

    async def _prepare(self) -> None:
        try:
            await self._store.prepare()
        except RelayTrouble as trouble:
            log.warning("relay not prepared", space=self.space.name, relay=self.relay, cause=str(trouble))

    async def _turn(self, courier: Courier, steps: RelaySteps) -> None:
        self._wake.clear()
        self._urgent.clear()
        step = courier.next(self._standing(), self._moment())
        if isinstance(step, Sleep):
            await self._rest(courier, steps, step.until_s)
            return
        try:
            await steps.perform(courier, step)
            await steps.save(courier)
        except NoKey as trouble:  # the relay is well; the step is asked for again when the roster has grown
            self.trouble = trouble
            self.settled.set()
            await self._sleep(self._times.monotonic_s() + NO_KEY_S)
        except (RelayTrouble, StoreError, LinkLost) as trouble:
            self._failed(courier, trouble)
        except Exception as fault:  # a fault of ours must neither end the courier nor be hidden
            log.exception("courier failed", space=self.space.name, relay=self.relay)
            self._failed(courier, PeerdError(f"a fault of peerd: {fault!r}", next_step=_REPORT))
        else:
            self._went_well(courier)

    async def _rest(self, courier: Courier, steps: RelaySteps, until_s: float) -> None:
        """There is nothing to do until then. What our own disk did not take is offered to it again before."""
        self._log_reports(courier.reports(self._standing()))
        try:
            await steps.save(courier)
        except StoreError as trouble:
            self._failed(courier, trouble)
            until_s = min(until_s, self._times.monotonic_s() + STORE_AGAIN_S)
        self.settled.set()
        if courier.heads() and not courier.status(self._standing(), self._moment()).to_fetch.transactions:
            self.space.filled()
        await self._sleep(until_s)

    def _went_well(self, courier: Courier) -> None:
        """A full relay can be looked at, and still is full; and so for whatever else keeps us from leaving anything."""
        standing = self._troubles.get(courier.trouble)
        if self.trouble is not None and standing is None:
            log.info("relay works again", space=self.space.name, relay=self.relay)
        self.trouble = standing
        if standing is None:
            self._troubles.clear()

    def _failed(self, courier: Courier, trouble: PeerdError) -> None:
        if self.trouble is None or self.trouble.code != trouble.code:
            log.warning("relay failed", space=self.space.name, relay=self.relay, code=trouble.code, cause=str(trouble))
        self.trouble = trouble
        self._troubles[trouble.code] = trouble
        retry_s = trouble.retry_s if isinstance(trouble, RelayTrouble) else None
        lasting = isinstance(trouble, RelayTrouble) and trouble.lasting
        courier.failed(trouble.code, retry_s, self._moment(), lasting=lasting)

    def _log_reports(self, reports: Sequence[Report]) -> None:
        """Once each, as long as it stands."""
        apart = self._forks.strangers  # what they left is not damaged, though none of it is taken
        reports = [one for one in reports if one.device not in apart or one.code != "relay-damaged"]
        for one in reports:
            if (one.code, one.device) not in self._logged:
                device = short_id(one.device) if one.device else ""
                names = {"space": self.space.name, "relay": self.relay, "device": device}
                log.warning("relay holds what is of no use", code=one.code, cause=one.text, **names)
        self._logged = {(one.code, one.device) for one in reports}

    async def _sleep(self, until_s: float) -> None:
        """Until then, or soon after a hint: what comes in a bunch is looked at once."""
        delay_s = until_s - self._times.monotonic_s()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, delay_s)):
                await self._wake.wait()
            async with asyncio.timeout(BUNCH_S):
                await self._urgent.wait()

    # ---- what the courier has to know

    def _moment(self) -> Moment:
        times = self._times
        return Moment(times.monotonic_s(), times.wall_ms(), times.uniform(0.0, 1.0), times.random_bytes(32))

    def _standing(self) -> Standing:
        space, ours = self.space, self._keys.device
        copy = space.copy
        active = space.presence.active() - {ours}
        return Standing(
            clock=copy.clock(),
            positions=copy.positions(),
            own_origins=frozenset(
                origin for origin, state in copy.origins.items() if state.announcement.device == ours
            ),
            members=frozenset(space.roster.members.keys() - {ours}),
            active=frozenset(active),
            linked_clock=self._linked_clock(active),
            roster_digest=space.roster.digest(),
            copy_id=space.copy_id,
            horizon=copy.horizon(),
            removed=space.roster.removed_last(HEEDED),
            apart=space.forks.apart_on(self.relay),
            talk=self._forks.talk,
            falls=self._forks.falls,
            wanted=self._forks.wanted,
            strangers=self._forks.strangers,
            admissions=space.roster.admissions,
        )

    def _linked_clock(self, active: set[bytes]) -> Clock:
        """What every active member is known to have, by what it acknowledged on links."""
        acks = [
            self.space.presence.peers[device].acks if device in self.space.presence.peers else {} for device in active
        ]
        if not acks:
            return {}
        return {origin: least for origin in acks[0] if (least := min(one.get(origin, 0) for one in acks)) > 0}
