"""A device that breaks the rules: it holds a key, perhaps a member's, and says what it likes on real links."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from peerd.core.chain import Run
from peerd.core.origin import Announcement
from peerd.errors import PeerdError
from peerd.identity import Identity
from peerd.net.dialer import Dialer
from peerd.net.link import SYNC, Link
from peerd.protocol import codec
from peerd.protocol.messages import (
    CREDIT_BYTES,
    MAJOR,
    MINOR,
    Bye,
    Entries,
    Hello,
    Message,
    RosterMessage,
    Summary,
    Want,
    Welcome,
)

ANSWER_S = 20.0


class Attacker:
    """`space` is what it attacks in; on `open` it behaves until both sides stream."""

    def __init__(self, identity: Identity, port: int, space: bytes) -> None:
        self.identity = identity
        self.space = space
        self.frames: list[bytes] = []  # everything that was said in good order, both ways
        self.runs: list[Run] = []  # what the victim has sent
        self.origins: dict[bytes, Announcement] = {}
        self.digest = b""
        self.boot = os.urandom(8)
        self._port = port
        self._dials = 0

    @contextlib.asynccontextmanager
    async def dialed(self) -> AsyncIterator[Link]:
        """A link on which nothing was said."""
        link = await Dialer(self.identity).dial(("127.0.0.1", self._port), SYNC, None)
        try:
            yield link
        finally:
            link.abort()
            await link.close(1000, "")

    @contextlib.asynccontextmanager
    async def greeted(self) -> AsyncIterator[Link]:
        """HELLO was exchanged."""
        async with self.dialed() as link:
            self._dials += 1
            await self.say(
                link, Hello([MAJOR, MINOR], self.boot, self._dials, 1_750_000_000_000, 0, ["zstd"], "x", "x")
            )
            await self.hear(link, Hello)
            yield link

    @contextlib.asynccontextmanager
    async def streaming(self, *, take: bool = True) -> AsyncIterator[Link]:
        """Both sides want entries of each other; with `take` all that the victim has is read first."""
        async with self.greeted() as link:
            await self.say(link, Welcome([self.space]))
            roster = await self.hear(link, RosterMessage)
            assert isinstance(roster, RosterMessage)
            self.digest = roster.digest
            await self.say(link, RosterMessage(self.space, roster.digest))
            summary = await self.hear(link, Summary)
            assert isinstance(summary, Summary)
            await self.say(link, Summary(self.space, summary.positions, summary.digest))
            await self.hear(link, Want)
            if take:
                await self.say(link, Want(self.space, {}, CREDIT_BYTES))
                wanted = {origin: seq for origin, seq, _ in summary.positions}
                while any(seq > self._has(origin) for origin, seq in wanted.items()):
                    await self.hear(link, Entries)
            yield link

    def _has(self, origin: bytes) -> int:
        return max((run.last for run in self.runs if run.origin == origin), default=0)

    async def say(self, link: Link, message: Message) -> None:
        frame = codec.encode(message)
        self.frames.append(frame)
        await link.send(frame)

    async def hear(self, link: Link, kind: type[Message]) -> Message:
        """The next message of this kind; entries that come by are kept."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                frame = await link.receive()
                self.frames.append(frame)
                message = codec.decode(frame)
                if isinstance(message, Entries):
                    self.runs.extend(message.runs)
                    self._learn(message.origins)
                if isinstance(message, kind):
                    return message

    def _learn(self, announcements: list[Announcement]) -> None:
        for announcement in announcements:
            self.origins[announcement.nonce] = announcement

    async def send_all(self, link: Link, frames: list[bytes]) -> int:
        """Send until the victim has had enough; how many were taken."""
        sent = 0
        try:
            for frame in frames:
                await link.send(frame)
                sent += 1
        except PeerdError:
            pass
        return sent

    async def end_of(self, link: Link) -> str:
        """Read until the link ends, or the victim answers a ping's worth of silence: how it ended, "" if it did not."""
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    message = codec.decode(await link.receive())
                    if isinstance(message, Bye):
                        return message.reason
        except PeerdError as problem:
            return str(problem)
        except TimeoutError:
            return ""
