"""The relays of this device: which spaces travel through which, and how each of them stands.

A back end is opened once and serves several spaces; each space has a courier of its own on it. What the configuration
says is followed at once: a relay that is taken out of it stops, and what it held stays there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from peerd.core.clocks import Clock
from peerd.core.device_id import format_device_id, short_id
from peerd.engine.forks.forks import PAST_STEP, step_of
from peerd.engine.members.petitioning import Petitioning
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.ports import RelayStore, Sealing
from peerd.engine.relay.relaying import CourierRunner, RelayPlan
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import PeerdError, RelayTrouble, UserError
from peerd.logs import get
from peerd.protocol.control.relays import (
    RelayCheck,
    RelayCheckList,
    RelayFinding,
    RelayList,
    RelayProbe,
    RelaySync,
    RelayView,
)
from peerd.protocol.relay.reports import Report

T = TypeVar("T")

log = get(__name__)

LEAVE_S = 2.0  # of a stop that has to be over in 5 s
SYNC_S = 45.0  # whoever asks waits for a minute, and asks again
ASKED_STEP = (
    "The device of an admin that uses the relay answers by itself. A file is good for one device: if another one has "
    "used it, have a member make a new one with `peerctl invite SPACE --file PATH`."
)
_LEFT_ANEW = "what this device left there is not there any more as it was; all of it is left anew, at most now and then"
_HOLDS_PAST = "this device was set back, and what it left there before does not go with what it has written since"
_LEFT_ANEW_STEP = "Nothing; if it happens again and again, find out what deletes there or puts back an earlier state."
_CLONED, _SEALED_FOR_OTHERS = "relay-cloned", "relay-unknown-key"
_IN_THE_WAY = {  # of what is found there: nothing comes from that device, or goes to it
    _CLONED: 'If so, make the copy a device of its own: see docs/recovery.md, "A cloned machine".',
    "relay-damaged": "Whoever made it is asked to leave it again when this device has run for an hour in all.",
    "relay-lost": "Nothing: whoever has it leaves it again when it sees that it is missed.",
    _SEALED_FOR_OTHERS: "Ask a member whether this device was removed. If so, what is written here stays here alone.",
}
_STEPS = {
    **_IN_THE_WAY,
    "relay-rolled-back": _LEFT_ANEW_STEP,
    "relay-swapped": "Nothing: what is missing because of it is asked for again.",
}


class SeenThere(NamedTuple):
    """What a member's head on a relay says: which relay, when by its own clock, and what its copy had applied."""

    relay: str
    t_ms: int
    clock: Clock


class Holding(NamedTuple):
    """What a relay holds of a space without a gap, and for how long it has failed instead: of the time for which this
    device ran, 0 if it works.
    """

    relay: str
    clock: Clock
    failing_s: float


class Relays:
    def __init__(self, spaces: Spaces, sealing: Sealing, keys: Keys, times: Times) -> None:
        self._spaces = spaces
        self._sealing = sealing
        self._keys = keys
        self._times = times
        self._plans: dict[str, RelayPlan] = {}
        self._stores: dict[str, RelayStore] = {}
        self._runners: dict[tuple[str, bytes], CourierRunner] = {}
        self._petitioning: dict[tuple[str, bytes], Petitioning] = {}
        self._again: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    # ---- which there are

    async def follow(self, plans: Sequence[RelayPlan]) -> None:
        """Do as the configuration says now."""
        async with self._turn:
            wanted = {plan.name: plan for plan in plans}
            for name in list(self._plans):
                if name not in wanted or wanted[name].settings != self._plans[name].settings:
                    await self._end(name)
            for name, plan in wanted.items():
                if name not in self._stores:
                    self._stores[name] = plan.open(partial(self._noticed, name))
                self._plans[name] = plan
            await self._fit()

    async def look_again(self) -> None:
        """Spaces were opened, or we have become a member of one, or are one no longer."""
        async with self._turn:
            await self._fit()

    def look_again_soon(self) -> None:
        task = asyncio.create_task(self.look_again(), name="look at relays again")
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def leave_now(self) -> None:
        """What waits to be left is, as far as that is soon done: nobody may be here for long. Raises nothing."""
        waiting = [one for one in self._runners.values() if one.has_to_leave()]
        for runner in waiting:
            runner.sync_now()
        if waiting:
            await self._settled([runner.settled for runner in waiting], LEAVE_S)

    def woke(self) -> None:
        """Time has passed of which nobody here knows anything."""
        for name in self._stores:
            self._noticed(name)

    async def stop(self) -> None:
        async with self._turn:
            for name in list(self._plans):
                await self._end(name)

    async def _fit(self) -> None:
        """Couriers for exactly the spaces that the plans name and of which we are a member here; petitions are seen to
        in those too, and who is none looks there whether it is.
        """
        named = {
            (plan.name, space.id): (plan, space)
            for plan in self._plans.values()
            for space in self._spaces.by_id.values()
            if _goes_through(space, plan)
        }
        ours = self._keys.device
        await self._stop(lambda key: key not in named or not named[key][1].roster.is_member(ours), couriers_only=True)
        await self._stop(lambda key: key not in named or named[key][1] is not self._space_of(key))
        for key, (plan, space) in named.items():
            store, member = self._stores[plan.name], space.roster.is_member(ours)
            if member and key not in self._runners:
                sealed = SealedRelay(space, self._spaces, store, self._sealing, self._keys)
                runner = CourierRunner(space, plan, sealed, store, self._keys, self._times)
                self._runners[key] = runner
                runner.start()
            if (petitioning := self._petitioning.get(key)) is None:
                petitioning = Petitioning(
                    space, self._spaces, store, self._sealing, self._keys, self._times, self.look_again_soon
                )
                self._petitioning[key] = petitioning
                petitioning.start()
            elif space.petition is not None:
                petitioning.look()  # it may have been asked only now

    def _space_of(self, key: tuple[str, bytes]) -> Space | None:
        """Whom what runs there is for: a copy may have been replaced by a new one."""
        runner = self._runners.get(key) or self._petitioning.get(key)
        return None if runner is None else runner.space

    async def _stop(self, chosen: Callable[[tuple[str, bytes]], bool], *, couriers_only: bool = False) -> None:
        for key in [key for key in self._runners if chosen(key)]:
            await self._runners.pop(key).stop()
        for key in [key for key in self._petitioning if chosen(key) and not couriers_only]:
            await self._petitioning.pop(key).stop()

    async def _end(self, name: str) -> None:
        await self._stop(lambda key: key[0] == name)
        self._plans.pop(name, None)
        store = self._stores.pop(name, None)
        if store is not None:
            await store.close()

    def _noticed(self, name: str) -> None:
        for (relay, _), runner in self._runners.items():
            if relay == name:
                runner.noticed()
        for (relay, _), petitioning in self._petitioning.items():
            if relay == name:
                petitioning.look()

    # ---- for people

    def views(self) -> RelayList:
        views = [self._view(runner) for runner in self._runners.values()]
        told = {(view.relay, view.space) for view in views}
        here = {space.name: space for space in self._spaces.by_id.values()}
        for plan in self._plans.values():
            names = here if "*" in plan.spaces else plan.spaces
            views += [self._idle(plan, name, here.get(name)) for name in names if (plan.name, name) not in told]
        return RelayList(relays=sorted(views, key=lambda view: (view.relay, view.space)))

    def _idle(self, plan: RelayPlan, name: str, space: Space | None) -> RelayView:
        """Of a space that has no courier."""
        view = RelayView(relay=plan.name, space=name, state="trouble")
        if space is None:
            view.code, view.reason = "space-not-found", f"there is no space {name!r} on this device"
            view.next_step = f"Create or join it, or take it out of [relay.{plan.name}]."
        elif space.roster.is_member(self._keys.device):  # its courier is about to start
            view.state = "working"
        elif space.petition is not None:
            view.state, view.reason = "waiting", "this device has asked to be let in, and no member has answered yet"
            view.next_step = ASKED_STEP
            petitioning = self._petitioning.get((plan.name, space.id))
            if petitioning is not None and petitioning.trouble is not None:
                _tell(view, petitioning.trouble)
        else:
            view.code, view.reason = "removed", self._why_outside(space)
            view.next_step = "Ask a member to invite it again."
        return view

    def _why_outside(self, space: Space) -> str:
        removal = space.roster.removed.get(self._keys.device)
        if removal is None:
            return "this device is no member of the space"
        by = space.name_of(removal.by)
        return f"this device was removed from the space{' by ' + by if by else ''}"

    def names_of(self, space: Space) -> list[str]:
        """The relays here that this space goes through."""
        return sorted(plan.name for plan in self._plans.values() if _goes_through(space, plan))

    def holdings(self, space: Space) -> list[Holding]:
        """Of every relay that this space goes through. One that was not looked at since we started holds nothing yet,
        as far as is known; whoever drops what it does not hold must not take that for a failure.
        """
        runners = {name: self._runners.get((name, space.id)) for name in self.names_of(space)}
        return [
            Holding(name, {}, 0.0) if runner is None else Holding(name, runner.holds(), runner.failing_s())
            for name, runner in runners.items()
        ]

    def last_seen(self, space: Space, device: bytes) -> SeenThere | None:
        """Where a member last said on a relay how far its copy is."""
        seen = [
            SeenThere(runner.relay, head.t_ms, head.clock)
            for (_, of), runner in self._runners.items()
            if of == space.id and (head := runner.heads().get(device)) is not None
        ]
        return max(seen, key=lambda one: one.t_ms, default=None)

    def trouble_of(self, space: Space) -> tuple[str, str] | None:
        """What a person has to see to before a relay of this space works: cause and next step."""
        for view in self._views_of(space):
            if view.state == "trouble":
                return f"{view.relay} relay: {view.reason}", view.next_step
            for finding in view.findings:
                if finding.code in {_CLONED, _SEALED_FOR_OTHERS}:
                    called = finding.name or finding.device
                    return f"{view.relay} relay: {called}: {finding.text}", _IN_THE_WAY[finding.code]
        return None

    def hindrance(self, space: Space, device: bytes) -> tuple[str, str] | None:
        """Why no relay of this space brings anything from or to a member: cause and next step. None if one works."""
        called, found = format_device_id(device), None
        for view in self._views_of(space):
            of_it = (one for one in view.findings if one.device == called and one.code in _IN_THE_WAY)
            if view.reason:
                found = f"{view.relay} relay: {view.reason}", view.next_step
            elif (finding := next(of_it, None)) is not None:
                found = f"{view.relay} relay: {finding.text}", _IN_THE_WAY[finding.code]
            else:
                return None
        return found

    def _views_of(self, space: Space) -> list[RelayView]:
        return [self._view(runner) for (_, of), runner in self._runners.items() if of == space.id]

    async def sync(self, wish: RelaySync) -> RelayList:
        """Look now, and answer when there is nothing left to do or it has failed; of what was asked for. Raises
        UserError.
        """
        chosen, petitions = self._chosen(wish, self._runners), self._chosen(wish, self._petitioning)
        for runner in chosen:
            runner.sync_now()
        for one in petitions:
            one.look()
        await self._settled([runner.settled for runner in chosen] + [one.settled for one in petitions], SYNC_S)
        asked = [
            view
            for view in self.views().relays
            if wish.relay in {None, view.relay} and wish.space in {None, view.space}
        ]
        return RelayList(relays=asked)

    async def _settled(self, events: Sequence[asyncio.Event], for_s: float) -> None:
        waits = [asyncio.create_task(event.wait()) for event in events]
        if waits:
            try:
                await asyncio.wait(waits, timeout=for_s)
            finally:
                for task in waits:
                    task.cancel()

    async def check(self, relay: str | None) -> RelayCheckList:
        """Try on each relay what is needed of it. Raises UserError."""
        if relay is not None and relay not in self._stores:
            raise _not_found(relay)
        return RelayCheckList(
            relays=[
                RelayCheck(relay=name, probes=await self._probes(store))
                for name, store in self._stores.items()
                if relay in {None, name}
            ]
        )

    async def _probes(self, store: RelayStore) -> list[RelayProbe]:
        try:
            return [
                RelayProbe(check=check, ok=ok, text=text, next_step=next_step)
                for check, ok, text, next_step in await store.check(self._times.random_bytes(32).hex())
            ]
        except RelayTrouble as trouble:
            return [RelayProbe(check="reached", ok=False, text=str(trouble), next_step=trouble.next_step)]

    def _chosen(self, wish: RelaySync, among: Mapping[tuple[str, bytes], T]) -> list[T]:
        if wish.relay is not None and wish.relay not in self._plans:
            raise _not_found(wish.relay)
        space = None if wish.space is None else self._spaces.named(wish.space).id
        return [one for (relay, of), one in among.items() if wish.relay in {None, relay} and space in {None, of}]

    def _view(self, runner: CourierRunner) -> RelayView:
        status, trouble = runner.status(), runner.trouble
        view = RelayView(relay=runner.relay, space=runner.space.name, state="working")
        if status is not None:
            view.state = "idle" if runner.settled.is_set() else "working"
            view.last_success_ms = status.last_success_ms
            view.to_send, view.to_send_since_ms = status.to_leave.transactions, status.to_leave.since_ms
            view.to_fetch, view.to_fetch_since_ms = status.to_fetch.transactions, status.to_fetch.since_ms
            view.held_bytes, view.limit_bytes = status.held_bytes, runner.settings.max_bytes
            view.waits_until_ms, view.next_poll_ms = status.paused_until_ms, status.next_poll_ms
            if status.renews_at_ms is not None:
                view.state, view.waits_until_ms = "waiting", status.renews_at_ms
                view.code, view.reason, view.next_step = "relay-rolled-back", _LEFT_ANEW, _LEFT_ANEW_STEP
            view.findings = _findings(runner.space, runner.relay, status.reports)
        if runner.holds_past:
            view.state, view.code, view.reason, view.next_step = "trouble", "fork", _HOLDS_PAST, PAST_STEP
        elif (not_taken := runner.not_taken()) is not None:
            maker = runner.space.name_of(not_taken.maker) or short_id(not_taken.maker)
            view.state, view.code = "trouble" if not_taken.lasting else "waiting", not_taken.code
            view.reason = f"the snapshot that {maker} left there could not be taken in: {not_taken.cause}"
            view.next_step = not_taken.next_step
        elif trouble is not None:
            _tell(view, trouble)
        return view


def _findings(space: Space, relay: str, reports: Sequence[Report]) -> list[RelayFinding]:
    """What was left on another history than ours is not damaged, though none of it is taken."""
    forks = space.forks.seen_on(relay)
    forked = {fork.peer for fork in forks}
    told = [(fork.peer, "fork", space.forks.in_words(fork), step_of(fork)) for fork in forks]
    told += [
        (one.device, one.code, one.text, _STEPS.get(one.code, ""))
        for one in reports
        if one.device not in forked or one.code != "relay-damaged"
    ]
    return [
        RelayFinding(
            device=format_device_id(device) if device else "",
            name=space.name_of(device) if device else "",
            code=code,
            text=text,
            next_step=next_step,
        )
        for device, code, text, next_step in told
    ]


def _tell(view: RelayView, trouble: PeerdError) -> None:
    lasting = isinstance(trouble, RelayTrouble) and trouble.lasting
    view.state = "trouble" if lasting or view.waits_until_ms is None else "waiting"
    view.code, view.reason, view.next_step = trouble.code, str(trouble), trouble.next_step


def _goes_through(space: Space, plan: RelayPlan) -> bool:
    return space.name in plan.spaces or "*" in plan.spaces


def _not_found(relay: str) -> UserError:
    return UserError(
        f"no relay {relay!r} is configured here",
        code="relay-not-found",
        status=404,
        next_step="`peerctl relay status` shows those there are; they are configured under [relay].",
    )
