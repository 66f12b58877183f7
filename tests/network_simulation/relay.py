"""A relay of simulated devices, in memory: objects by name, and all that storage does to those who trust it.

A request takes time, and the answer may get lost before or after it was done; what got lost may still be done later.
What one device left may be invisible to others for a while, one thing before the other. The relay may send everybody
away for hours, be set back to an earlier state in whole or in part, lose things, and damage them.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from peerd.engine.relay.relaying import RelayPlan
from peerd.errors import RelayTrouble
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.objects import RelayObject
from tests.network_simulation.virtual_loop import loop_here

T = TypeVar("T")

HOUR_S = 3_600.0
MINUTE_S = 60.0
MANY_A_MINUTE = 600  # requests of one device; the busiest have about 80
QUICK = CourierSettings(
    poll_min_s=2.0, poll_max_s=600.0, quiet_s=(0.0, 2.0), gather_s=10.0, foreign_s=(5.0, 15.0), lan_s=(20.0, 60.0)
)


@dataclass
class Kept:
    """What stands under a name; `before` is what others still see until `seen_from_s`."""

    tag: str
    data: bytes
    by: int  # the device that wrote it
    seen_from_s: float
    before: Kept | None = None


@dataclass
class RelayWeather:
    delay_s: float = 0.05
    lost_before: float = 0.0  # share of requests that never arrive
    lost_after: float = 0.0  # share of answers that never arrive
    late: float = 0.0  # share of lost requests that are done after all, later
    lag_s: float = 0.0  # until others see what one wrote, at most
    away_until_s: float = 0.0
    full: bool = False


@dataclass
class SimRelay:
    """`context`: that of the simulation itself, in which what is done late is done. `wrong`: what a device did that
    none may do to a relay that counts requests.
    """

    name: str
    chance: random.Random
    context: Context
    settings: CourierSettings
    weather: RelayWeather = field(default_factory=RelayWeather)
    objects: dict[str, Kept] = field(default_factory=dict)
    requests: int = 0
    harmed: int = 0
    wrong: str = ""
    _minute: int = 0
    _in_minute: Counter[int] = field(default_factory=Counter)  # by device
    _writes: int = 0
    _saved: dict[str, Kept] = field(default_factory=dict)

    def plan(self, device: int) -> RelayPlan:
        """What the configuration of a device says of it."""
        return RelayPlan(self.name, f"sim {self.name}", self.name, ("*",), self.settings, lambda _: Way(self, device))

    def count(self, device: int) -> None:
        """One more request of this device."""
        self.requests += 1
        minute = int(loop_here().time() / MINUTE_S)
        if minute != self._minute:
            self._minute = minute
            self._in_minute.clear()
        self._in_minute[device] += 1
        if self._in_minute[device] > MANY_A_MINUTE:
            self.wrong = f"device-{device} asks {self.name} again and again, without a pause"

    # ---- the four operations, at once

    def look(self, device: int, name: str) -> Kept | None:
        found = self.objects.get(name)
        while found is not None and found.by != device and found.seen_from_s > loop_here().time():
            found = found.before
        return found

    def put(self, device: int, name: str, data: bytes) -> Kept:
        self._writes += 1
        seen_from_s = loop_here().time() + self.chance.random() * self.weather.lag_s
        before = self.look(device, name)
        kept = Kept(f"tag-{self._writes}", data, device, seen_from_s, before)
        if before is not None:
            before.before = None  # nobody sees what is two writes old
        self.objects[name] = kept
        return kept

    # ---- what befalls it

    def save(self) -> None:
        self._saved = dict(self.objects)

    def roll_back(self, share: float) -> None:
        """A share of what it holds is as it was when it was saved."""
        for name in sorted(self.objects.keys() | self._saved.keys()):
            if self.chance.random() < share:
                if name in self._saved:
                    self.objects[name] = self._saved[name]
                else:
                    self.objects.pop(name, None)
        self.harmed += 1

    def lose(self, share: float) -> None:
        for name in sorted(self.objects):
            if self.chance.random() < share:
                del self.objects[name]
        self.harmed += 1

    def spoil(self) -> None:
        """A bit of some object is another one."""
        if self.objects:
            name = self.chance.choice(sorted(self.objects))
            kept = self.objects[name]
            at = self.chance.randrange(len(kept.data))
            data = kept.data[:at] + bytes([kept.data[at] ^ 1]) + kept.data[at + 1 :]
            self.put(kept.by, name, data)
            self.harmed += 1

    def calm(self) -> None:
        self.weather = RelayWeather()
        for kept in self.objects.values():
            kept.seen_from_s = 0.0


def some_relay(name: str, chance: random.Random, context: Context) -> SimRelay:
    """Asked eagerly or as seldom as one that counts requests; with snapshots soon, or when the log needs one."""
    settings = QUICK if chance.random() < 0.7 else CourierSettings()
    least_bytes = chance.choice((1, 20_000, 4 << 20))
    return SimRelay(
        name, chance, context, msgspec.structs.replace(settings, snapshots=True, snapshot_from_bytes=least_bytes)
    )


class Way:
    """One device's way to a relay: satisfies `engine.relay.ports.RelayStore`."""

    object_bytes = 512 << 10

    def __init__(self, relay: SimRelay, device: int) -> None:
        self._relay = relay
        self._device = device

    async def _request(self, work: Callable[[], T]) -> T:
        relay, weather, chance = self._relay, self._relay.weather, self._relay.chance
        relay.count(self._device)
        await asyncio.sleep(weather.delay_s * chance.random())
        now_s = loop_here().time()
        if now_s < weather.away_until_s:
            raise RelayTrouble("too many requests", code="relay-throttled", retry_s=weather.away_until_s - now_s)
        if chance.random() < weather.lost_before:
            if chance.random() < weather.late:
                loop_here().call_at(now_s + chance.random() * 60, lambda: _quietly(work), context=relay.context)
            raise RelayTrouble("no answer", code="relay-unreachable")
        answer = work()
        await asyncio.sleep(weather.delay_s * chance.random())
        if chance.random() < weather.lost_after:
            if chance.random() < weather.late:  # and the request was sent twice on its way
                loop_here().call_at(now_s + chance.random() * 60, lambda: _quietly(work), context=relay.context)
            raise RelayTrouble("no answer", code="relay-unreachable")
        return answer

    def _check_room(self) -> None:
        if self._relay.weather.full:
            raise RelayTrouble("it is full", code="relay-full", lasting=True)

    async def prepare(self) -> None:
        await self._request(lambda: None)

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        def work() -> dict[str, RelayObject]:
            found = {name: kept for name in names if (kept := self._relay.look(self._device, name)) is not None}
            return {name: RelayObject(kept.tag, kept.data if contents else None) for name, kept in found.items()}

        return await self._request(work)

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        return await self._request(lambda: self._create(objects))

    def _create(self, objects: Mapping[str, bytes]) -> list[str]:
        self._check_room()
        there = {name: self._relay.objects.get(name) for name in objects}
        for name, data in objects.items():
            if there[name] is None:
                self._relay.put(self._device, name, data)
        return [name for name, kept in there.items() if kept is not None and kept.data != objects[name]]

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        return await self._request(lambda: self._replace(name, data, tag))

    def _replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        self._check_room()
        there = self._relay.objects.get(name)
        if (there.tag if there is not None else None) != tag:
            return None
        return self._relay.put(self._device, name, data).tag

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        """Each operation by itself: any of them may fail while others are done."""

        def work() -> tuple[Sequence[str], str | None]:
            failed = self._relay.chance.random() < self._relay.weather.lost_before
            different = [] if failed else self._create(objects)
            written = self._replace(name, data, tag)
            if failed:
                raise RelayTrouble("one of the operations was not carried out", code="relay-unreachable")
            return different, written

        return await self._request(work)

    async def delete(self, names: Sequence[str]) -> None:
        def work() -> None:
            for name in names:
                self._relay.objects.pop(name, None)

        await self._request(work)

    async def check(self, name: str) -> Sequence[tuple[str, bool, str, str]]:
        return [(f"{name} reached", True, "it answers", "")]

    async def close(self) -> None:
        pass


def _quietly(work: Callable[[], object]) -> None:
    with suppress(RelayTrouble):
        work()
