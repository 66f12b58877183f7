"""Between a newcomer and a member who has not heard of it: showing the statements, and listening to them.

Whoever listens does not know yet with whom it has to do. So it listens for seconds, judges a few introductions in
a row and then one a second, learns only what makes the device at the other end a member, and answers nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from peerd.core.device_id import short_id
from peerd.core.stored import Address
from peerd.engine.ports import Dialer, Keys, Link, Times
from peerd.engine.space import Space
from peerd.errors import LinkLost, PeerdError, RemoteProtocolError
from peerd.logs import get
from peerd.protocol.pairing.introduction import (
    SUBPROTOCOL,
    Hearing,
    Introduction,
    Shown,
    convinces,
    evidence,
    introduction,
)

log = get(__name__)

DIAL_S = 4.0
HEARING_S = 5.0
IN_A_ROW = 4  # introductions that are judged at once; each may cost some hundred signatures
PER_S = 1.0


class Introducing:
    """`shared_with(device)` gives the spaces that we share with it by our rosters."""

    def __init__(
        self,
        spaces: dict[bytes, Space],
        shared_with: Callable[[bytes], dict[bytes, Space]],
        dialer: Dialer,
        keys: Keys,
        times: Times,
    ) -> None:
        self._spaces = spaces
        self._shared_with = shared_with
        self._dialer = dialer
        self._keys = keys
        self._times = times
        self._left = float(IN_A_ROW)
        self._counted_s = times.monotonic_s()

    async def introduce(self, device: bytes, address: Address) -> bool:
        """Show a member at this address who we are. True if it has listened, whatever it makes of that."""
        shown = [
            Shown(space.id, evidence(space.roster, self._keys.device, device))
            for space in self._shared_with(device).values()
        ]
        frames = introduction(shown)
        if not frames:
            return False
        try:
            link = await self._dialer.dial(address, SUBPROTOCOL, device, DIAL_S)
        except LinkLost as problem:  # an older peerd, or one that has no time
            log.debug("dial failed", device=short_id(device), address=f"{address[0]} {address[1]}", code=problem.code)
            return False
        try:
            async with asyncio.timeout(HEARING_S):
                for frame in frames:
                    await link.send(frame)
                await link.receive()  # they say nothing: it ends when they have judged
        except (LinkLost, RemoteProtocolError, TimeoutError):
            pass
        finally:
            await link.close(1000, "done")
        log.info("introduced", device=short_id(device), count=len(shown))
        return True

    async def run_link(self, link: Link) -> None:
        """Hear whoever has dialled, and close the link: with the same word whatever came of what could be read."""
        hearing = Hearing()
        try:
            async with asyncio.timeout(HEARING_S):
                while (heard := hearing.receive(await link.receive())) is None:
                    pass
        except RemoteProtocolError as problem:
            log.debug("introduction not read", peer=link.theirs, code=problem.code, cause=str(problem))
            await link.close(problem.close_code, problem.code)
            return
        except (LinkLost, TimeoutError):
            await link.close(1000, "done")
            return
        if self._may_judge():
            await self._judge(heard, link.theirs)
        await link.close(1000, "done")

    async def _judge(self, heard: Introduction, device: bytes) -> None:
        for shown in heard.spaces:
            space = self._spaces.get(shown.space)
            if space is None or space.trouble is not None:
                continue
            statements = convinces(space.roster, shown, device, self._keys.device)
            if not statements:
                continue
            try:
                await space.learn(statements, device)
            except PeerdError as problem:
                log.warning("introduction failed", space=space.name, device=short_id(device), cause=str(problem))
            else:
                log.info("member introduced itself", space=space.name, device=short_id(device))

    def _may_judge(self) -> bool:
        now_s = self._times.monotonic_s()
        self._left = min(IN_A_ROW, self._left + (now_s - self._counted_s) * PER_S)
        self._counted_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
