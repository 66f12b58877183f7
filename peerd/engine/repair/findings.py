"""What was found in a copy, as it is kept and told: each thing once, until it is put right and for a month after."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from peerd.core.batch import Name
from peerd.core.device_id import short_id
from peerd.core.repair.scrub import DIVERGED, EQUAL, FINDINGS, NO_RECORDS, Finding
from peerd.engine.ports import Times
from peerd.engine.store_ports import SpaceStore
from peerd.logs import get

log = get(__name__)

KEPT_MS = 30 * 24 * 3600 * 1000


class Findings:
    """Of the copy of the space that is called `name` here. All of them raise StoreError."""

    def __init__(self, name: str, store: SpaceStore, times: Times) -> None:
        self.all: list[Finding] = []
        self._name = name
        self._store = store
        self._times = times

    @property
    def open(self) -> list[Finding]:
        """What is not put right."""
        return [one for one in self.all if not one.done]

    @property
    def open_records(self) -> list[Finding]:
        """Likewise, as far as it is of records."""
        return [one for one in self.open if one.found not in NO_RECORDS]

    def suspects(self, name: Name) -> bool:
        """Is what we hold of a record known to be damaged?"""
        return any(one.name == name for one in self.open_records)

    def fresh(self, found: str, names: Iterable[Name], device: bytes | None = None) -> list[Finding]:
        """Of those of which nothing is told yet; to be noted."""
        known = {one.name for one in self.open}
        wanted = [name for name in dict.fromkeys(names) if name not in known][:FINDINGS]
        now_ms = self._times.wall_ms()
        return [Finding(self._next + index, now_ms, found, *name, device) for index, name in enumerate(wanted)]

    @property
    def _next(self) -> int:
        return 1 + max((one.id for one in self.all), default=0)

    async def found(self, found: str, names: Iterable[Name], device: bytes, done: str = "") -> None:
        """Something was found out beside another device, and put right if `done` says how."""
        findings = self.fresh(found, names, device)
        for one in findings:
            one.done = done
        await self.note(findings)

    async def note(self, findings: Sequence[Finding]) -> None:
        """Keep them, durably, and tell of them."""
        if findings:
            await self._store.scrubs.note(findings)
            self.keep(findings)

    def keep(self, findings: Sequence[Finding]) -> None:
        """Likewise, where they are durable."""
        self.all += findings
        for one in findings:
            what = _called(one)
            device = None if one.device is None else short_id(one.device)
            log.error("damage found", space=self._name, key=what, cause=one.found, device=device)

    async def put_right(self, names: Collection[Name], how: str, device: bytes | None = None) -> None:
        """These are as they should be."""
        changed = [one for one in self.open if one.name in names]
        for one in changed:
            one.done, one.device = how, device or one.device
            log.info("damage repaired", space=self._name, key=_called(one), cause=how)
        if changed:
            await self._store.scrubs.note(changed)

    async def records_put_right(self, how: str, device: bytes | None = None) -> None:
        """Whatever was found in records is right again."""
        await self.put_right({one.name for one in self.open_records}, how, device)

    async def diverged(self, device: bytes) -> None:
        """Our copy and another device's are not the same, at equal clocks: told once, until they are."""
        if not any(one.device == device for one in self.open if one.found == DIVERGED):
            await self.note([Finding(self._next, self._times.wall_ms(), DIVERGED, device=device)])

    async def agreed(self, device: bytes) -> None:
        """They are."""
        over = [one for one in self.open if one.found == DIVERGED and one.device == device]
        for one in over:
            one.done = EQUAL
        if over:
            await self._store.scrubs.note(over)

    async def forget(self) -> None:
        """They are told for 30 days of daemon time."""
        first = await self._store.scrubs.forget(KEPT_MS)
        self.all = [one for one in self.all if one.id >= first] if first else []


def _called(finding: Finding) -> str:
    """A record by its collection and key, a run by its origin and number."""
    return f"{finding.collection} {finding.key}".strip()
