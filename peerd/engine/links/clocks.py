"""The wall clocks of the devices that are linked, beside ours: asked for now and then, and told where one is off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from peerd.core.clock_judging import ClockReading, Judgement, judge
from peerd.core.device_id import short_id
from peerd.engine.ports import Times
from peerd.logs import get

if TYPE_CHECKING:
    from peerd.engine.links.link_runner import LinkRunner

log = get(__name__)

TICK_S = 60.0
ASK_S = 300.0
JUMP_MS = 5_000
OURS = "this device's clock is "
STEP = "Set it right: `timedatectl set-ntp true`. Nothing is lost by it, and nothing has to be reset afterwards."

_UNITS = ((2 * 3600, 1, "s"), (2 * 86400, 3600, "h"), (2 * 31_556_952, 86400, "days"))
_YEAR_S = 31_556_952


class PeerClock(NamedTuple):
    """`off_ms`: theirs less ours, None if it is not known. `reason` and `next_step`: if one of the two is off."""

    off_ms: int | None = None
    reason: str = ""
    next_step: str = ""


class Clocks:
    def __init__(self, links: Mapping[bytes, LinkRunner], times: Times) -> None:
        self._links = links
        self._times = times
        self._told: set[bytes] = set()

    def judgement(self) -> Judgement:
        readings = {
            device: ClockReading(link.offset_ms, link.their_quality)
            for device, link in self._links.items()
            if link.offset_ms is not None
        }
        return judge(readings, self._times.quality())

    def of(self, device: bytes) -> PeerClock:
        link = self._links.get(device)
        if link is None or link.offset_ms is None:
            return PeerClock()
        off_ms, found = round(link.offset_ms), self.judgement()
        if device in found.theirs:
            return PeerClock(off_ms, f"its clock is {in_words(found.theirs[device])}", f"There: {STEP}")
        if device in found.doubtful:
            ahead = "ahead" if off_ms > 0 else "behind"
            reason = f"its clock and ours differ by {span(off_ms)} (it is {ahead})"
            return PeerClock(off_ms, reason, "Nothing is lost by it; set the wrong clock right.")
        return PeerClock(off_ms)

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with ours: cause and next step."""
        ours = self.judgement().ours
        if ours is None:
            return []
        theirs = "of the others'" if ours > 0 else "the others'"
        return [(f"{OURS}{in_words(ours)} {theirs}", STEP)]

    async def watch(self) -> None:
        """Ask for the others' clocks every five minutes, and within one minute of a jump of ours. Until cancelled."""
        asked_s, before_ms = self._times.monotonic_s(), self._drift_ms()
        while True:
            await asyncio.sleep(TICK_S)
            now_s, drift_ms = self._times.monotonic_s(), self._drift_ms()
            jumped = abs(drift_ms - before_ms) > JUMP_MS
            if jumped:
                log.warning("wall clock jumped", took_ms=round(drift_ms - before_ms))
            self.tell()
            if jumped or now_s - asked_s >= ASK_S:
                asked_s, before_ms = now_s, drift_ms
                for link in list(self._links.values()):
                    link.ping()

    def tell(self) -> None:
        """In the log, once, whose clock is off."""
        found = self.judgement()
        off = dict(found.theirs) | dict(found.doubtful)
        for device in off.keys() - self._told:
            log.warning("clock of a peer is off", device=short_id(device), cause=in_words(off[device]))
        self._told = set(off)

    def _drift_ms(self) -> float:
        return self._times.wall_ms() - self._times.boottime_s() * 1000


def in_words(off_ms: int) -> str:
    return f"{span(off_ms)} {'ahead' if off_ms > 0 else 'behind'}"


def span(off_ms: float) -> str:
    """A difference as people say it: 300 s, 26 h, 40 days, 12.3 years."""
    seconds = abs(off_ms) / 1000
    for below, unit_s, name in _UNITS:
        if seconds < below:
            return f"{round(seconds / unit_s):,} {name}"
    return f"{seconds / _YEAR_S:,.1f} years"
