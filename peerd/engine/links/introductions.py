"""When to show a member that has not heard of us who we are: one that refuses our dial, and one that is linked and does
not name a space that we share with it.

What it has heard may be newer than what we have, so nobody is shown it more often than once a minute; one that is
linked, less and less often as long as it stays so, since nothing else would bring it up again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from peerd.core.backoff import doubling_s
from peerd.core.stored import Address
from peerd.engine.links.peer_book import PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Times

AGAIN_S = 60.0
LONGEST_S = 3_600.0
GRACE_S = 1.0  # one that is linked may be about to hear it in a session, from us or from another


class Introductions:
    """`introduce(device, address)` shows a member at this address who we are; true if it has listened."""

    def __init__(self, book: PeerBook, switchboard: Switchboard, times: Times) -> None:
        self.introduce: Callable[[bytes, Address], Awaitable[bool]] = _nobody_listens
        self._book = book
        self._switchboard = switchboard
        self._times = times
        self._shown_s: dict[bytes, float] = {}  # device -> when we last tried
        self._linked: dict[bytes, asyncio.Task[None]] = {}
        self._news: dict[bytes, asyncio.Event] = {}  # of those that are linked: it is worth another try
        self._stopping = False

    def let_in_again(self, device: bytes) -> None:
        """There is something new to show it."""
        self._shown_s.pop(device, None)
        if device in self._news:
            self._news[device].set()

    async def refused(self, device: bytes, address: Address) -> bool:
        """It refused our dial there. True if it has listened now, and is worth another dial."""
        if self._wait_s(device) > 0:
            return False
        self._shown_s[device] = self._times.monotonic_s()
        return await self.introduce(device, address)

    def unshared(self, device: bytes) -> None:
        """A linked device does not name a space that we share with it."""
        if device in self._news:
            self._news[device].set()
        elif not self._stopping:
            news = self._news[device] = asyncio.Event()
            self._linked[device] = asyncio.create_task(self._go_on_showing(device, news), name="introduce")

    async def stop(self) -> None:
        self._stopping = True
        tasks = list(self._linked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on_showing(self, device: bytes, news: asyncio.Event) -> None:
        try:
            await self._show(device, news)
        finally:  # and not a moment later: what is news from now on begins anew
            del self._linked[device], self._news[device]

    async def _show(self, device: bytes, news: asyncio.Event) -> None:
        """Until it is linked no more, or names them all."""
        times = 0
        await asyncio.sleep(GRACE_S)
        while (runner := self._switchboard.links.get(device)) is not None and runner.is_unshared:
            if (wait_s := self._wait_s(device)) > 0:
                await asyncio.sleep(wait_s)
                continue
            news.clear()
            self._shown_s[device] = self._times.monotonic_s()
            for address in self._book.note(device).addresses:
                if await self.introduce(device, address):
                    break
            try:
                async with asyncio.timeout(doubling_s(AGAIN_S, LONGEST_S, times)):
                    await news.wait()
                times = 0
            except TimeoutError:
                times += 1

    def _wait_s(self, device: bytes) -> float:
        return self._shown_s.get(device, -math.inf) + AGAIN_S - self._times.monotonic_s()


async def _nobody_listens(_device: bytes, _address: Address) -> bool:
    return False
