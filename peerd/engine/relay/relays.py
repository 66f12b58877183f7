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
from peerd.engine.members.petitioning import Petitioning
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.ports import RelayStore, Sealing
from peerd.engine.relay.relaying import CourierRunner, RelayPlan
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.relay.views import hindrance_in, trouble_in, view_of, view_without_courier
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import RelayTrouble, UserError
from peerd.protocol.control.relays import (
    RelayCheck,
    RelayCheckList,
    RelayList,
    RelayProbe,
    RelaySync,
    RelayView,
)

T = TypeVar("T")

LEAVE_S = 2.0  # of a stop that has to be over in 5 s
SYNC_S = 45.0  # whoever asks waits for a minute, and asks again


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
        views = [view_of(runner) for runner in self._runners.values()]
        told = {(view.relay, view.space) for view in views}
        here = {space.name: space for space in self._spaces.by_id.values()}
        for plan in self._plans.values():
            names = here if "*" in plan.spaces else plan.spaces
            views += [self._idle(plan.name, name, here.get(name)) for name in names if (plan.name, name) not in told]
        return RelayList(relays=sorted(views, key=lambda view: (view.relay, view.space)))

    def _idle(self, relay: str, name: str, space: Space | None) -> RelayView:
        petitioning = None if space is None else self._petitioning.get((relay, space.id))
        return view_without_courier(relay, name, space, petitioning, self._times.wall_ms())

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
        return trouble_in(self._views_of(space))

    def hindrance(self, space: Space, device: bytes) -> tuple[str, str] | None:
        """Why no relay of this space brings anything from or to a member: cause and next step. None if one works."""
        return hindrance_in(self._views_of(space), device)

    def _views_of(self, space: Space) -> list[RelayView]:
        return [view_of(runner) for (_, of), runner in self._runners.items() if of == space.id]

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


def _goes_through(space: Space, plan: RelayPlan) -> bool:
    return space.name in plan.spaces or "*" in plan.spaces


def _not_found(relay: str) -> UserError:
    return UserError(
        f"no relay {relay!r} is configured here",
        code="relay-not-found",
        status=404,
        next_step="`peerctl relay status` shows those there are; they are configured under [relay].",
    )
