"""When the copies of this device are scrubbed: always a little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from peerd.engine.ports import Times
from peerd.engine.repair.scrubbing import Scrubbing
from peerd.errors import StoreError
from peerd.logs import get

log = get(__name__)

EVERY_S = 3600.0
ROUND_S = 3 * 24 * 3600.0


async def scrub_now_and_then(scrubs: Callable[[], Mapping[str, Scrubbing]], times: Times) -> None:
    """Every hour as much of each copy as brings it round in some days of daemon time, until cancelled."""
    while True:
        before_s = times.monotonic_s()
        await asyncio.sleep(EVERY_S)
        share = (times.monotonic_s() - before_s) / ROUND_S
        for name, scrubbing in scrubs().items():
            try:
                await scrubbing.some(share)
            except StoreError as problem:
                log.warning("scrub failed", space=name, code=problem.code, cause=str(problem))
