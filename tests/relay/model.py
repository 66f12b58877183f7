"""A relay in memory, whose faults are written beforehand: for simulations, and for whoever wants to know what a relay
may do.

`Storage` is what is kept; `ModelRelay` is one device's way to it, and satisfies `peerd.engine.ports.RelayStore`. Time
is `asyncio.sleep`, so that it is virtual in a virtual loop. A machine that is no coroutine may use `Storage` itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from peerd.errors import RelayTrouble
from peerd.protocol.relay.objects import OBJECT_BYTES, RelayObject
from peerd.relay.probing import Probe, probe

T = TypeVar("T")


class Storage:
    """Objects by name. Tags are numbers that never come again, as CloudKit's are: the same bytes get another one."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.writes = 0
        self.before: tuple[str, tuple[str, bytes] | None] | None = None  # of the last write: its name, what was there
        self.on_write: list[Callable[[str], None]] = []

    # ---- the four operations

    def lookup(self, names: Iterable[str], *, contents: bool) -> dict[str, RelayObject]:
        there = ((name, *self.objects[name]) for name in names if name in self.objects)
        return {name: RelayObject(tag, data if contents else None) for name, tag, data in there}

    def lookup_stale(self, names: Iterable[str], *, contents: bool) -> dict[str, RelayObject]:
        """As it would have been answered before the last write."""
        now = self.objects
        if self.before is not None:
            name, there = self.before
            others = {one: what for one, what in now.items() if one != name}
            self.objects = others if there is None else {**others, name: there}
        try:
            return self.lookup(names, contents=contents)
        finally:
            self.objects = now

    def create(self, objects: Mapping[str, bytes]) -> list[str]:
        different = []
        for name, data in objects.items():
            if name not in self.objects:
                self._write(name, data)
            elif self.objects[name][1] != data:
                different.append(name)
        return different

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        there = self.objects.get(name)
        if tag != (there[0] if there else None):
            return None
        return self._write(name, data)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self.objects.pop(name, None)

    # ---- what happens to storage

    def copy(self) -> dict[str, tuple[str, bytes]]:
        """What `roll_back` may be given later."""
        return dict(self.objects)

    def roll_back(self, state: Mapping[str, tuple[str, bytes]]) -> None:
        """A backup is put back."""
        self.objects = dict(state)

    def lose_all(self) -> None:
        self.objects = {}

    def damage(self, name: str, data: bytes) -> None:
        """Other bytes under that name, which nobody wrote."""
        self._write(name, data)

    @property
    def size_bytes(self) -> int:
        return sum(len(data) for _, data in self.objects.values())

    def _write(self, name: str, data: bytes) -> str:
        self.writes += 1
        tag = f"t{self.writes}"
        self.before = (name, self.objects.get(name))
        self.objects[name] = (tag, data)
        for heard in self.on_write:
            heard(name)
        return tag


class Fault(Enum):
    """What goes wrong with one operation."""

    REFUSED = "nothing was done, and the caller hears so"
    LOST = "it was done, and the answer does not come back"
    PARTLY = "the first object of several was done, and the answer does not come back"
    TWICE = "the network did it twice, and the second answer comes back"
    STALE = "a lookup shows what was there before the last write"


@dataclass
class Faults:
    """`next` is used up, one an operation (None: it goes well); after that `chance()` gives one or None."""

    next: deque[Fault | None] = field(default_factory=deque)
    chance: Callable[[], Fault | None] = lambda: None
    delay_s: Callable[[], float] = lambda: 0.0
    throttled_until_s: float = 0.0  # of the loop's time
    quota_bytes: int | None = None
    away: bool = False

    def take(self) -> Fault | None:
        return self.next.popleft() if self.next else self.chance()


class ModelRelay:
    """One device's way to a storage, with faults of its own. `calls` lists what was asked for."""

    object_bytes = OBJECT_BYTES

    def __init__(self, storage: Storage, faults: Faults | None = None) -> None:
        self.storage = storage
        self.faults = faults or Faults()
        self.calls: list[str] = []
        self.changed: Callable[[], None] = lambda: None
        self._writing = False
        storage.on_write.append(self._heard)

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        fault = await self._begin("lookup")
        lookup = self.storage.lookup_stale if fault is Fault.STALE else self.storage.lookup
        found = lookup(names, contents=contents)
        self._end(fault)
        return found

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        fault = await self._begin("create")
        if fault is Fault.PARTLY:
            objects = dict(list(objects.items())[:1])
        self._check_room(sum(map(len, objects.values())))
        different = self._write(lambda: self.storage.create(objects), fault)
        self._end(fault)
        return different

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        fault = await self._begin("replace")
        self._check_room(len(data))
        new_tag = self._write(lambda: self.storage.replace(name, data, tag), fault)
        self._end(fault)
        return new_tag

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        different = await self.create(objects)
        return different, None if different else await self.replace(name, data, tag)

    async def delete(self, names: Sequence[str]) -> None:
        fault = await self._begin("delete")
        if fault is Fault.PARTLY:
            names = names[:1]
        self._write(lambda: self.storage.delete(names), fault)
        self._end(fault)

    async def prepare(self) -> None:
        """There is nothing to make."""

    async def check(self, name: str) -> list[Probe]:
        return await probe(self, name)

    async def close(self) -> None:
        if self._heard in self.storage.on_write:
            self.storage.on_write.remove(self._heard)

    async def _begin(self, what: str) -> Fault | None:
        self.calls.append(what)
        if (delay_s := self.faults.delay_s()) > 0:
            await asyncio.sleep(delay_s)
        if self.faults.away:
            raise RelayTrouble("The relay cannot be reached.", code="relay-unreachable")
        left_s = self.faults.throttled_until_s - asyncio.get_running_loop().time()
        if left_s > 0:
            raise RelayTrouble("The relay asks for quiet.", code="relay-throttled", retry_s=left_s)
        fault = self.faults.take()
        if fault is Fault.REFUSED:
            raise RelayTrouble("The relay cannot be reached.", code="relay-unreachable")
        return fault

    def _end(self, fault: Fault | None) -> None:
        if fault in {Fault.LOST, Fault.PARTLY}:
            raise RelayTrouble("The answer was lost.", code="relay-unreachable")

    def _write(self, work: Callable[[], T], fault: Fault | None) -> T:
        self._writing = True
        try:
            if fault is Fault.TWICE:
                work()
            return work()
        finally:
            self._writing = False

    def _check_room(self, more_bytes: int) -> None:
        quota = self.faults.quota_bytes
        if quota is not None and self.storage.size_bytes + more_bytes > quota:
            raise RelayTrouble("The relay is full.", code="relay-full")

    def _heard(self, _name: str) -> None:
        if not self._writing:
            self.changed()
