"""One link at work: greets, reads, writes, and keeps the sessions of the spaces that both sides share.

Control messages go before bulk, and at most two bulk frames are handed to the link at a time, so that nothing small
waits behind megabytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from peerd.core.device_id import short_id
from peerd.core.links import LinkFacts
from peerd.engine.links.link_tasks import LinkTasks
from peerd.engine.links.session_runner import SessionRunner
from peerd.engine.ports import Link, Times
from peerd.engine.space import Space
from peerd.errors import PAUSED, RESUME_THERE, LinkLost, RemoteProtocolError, StoreError
from peerd.logs import get
from peerd.protocol import codec
from peerd.protocol.messages import Bye, Error, Hello, Message, Ping, Pong, Welcome

log = get(__name__)

GREETING_S = 5.0
LAST_WORD_S = 1.0
TOOK_ANOTHER = "they keep another link with this device's key"
IF_IT_GOES_ON = (
    "It is dialled again. If it goes on, two machines run with this key, one a copy of the other: see "
    'docs/recovery.md, "A cloned machine".'
)
CONTROL_WAITING = 10_000  # messages that may wait for a peer that goes on talking
DUPLICATE = 4409


class Greeting(Struct, frozen=True):
    """What both sides said first."""

    ours: Hello
    theirs: Hello
    facts: LinkFacts
    compress: bool
    rtt_ms: float
    offset_ms: float  # their wall clock less ours


async def greet(link: Link, hello: Hello, times: Times) -> Greeting:
    """Exchange HELLO.

    Raises:
        LinkLost: they went away or said nothing for 5 s.
        RemoteProtocolError: the first message is no HELLO.
    """
    started = times.monotonic_s()
    await link.send(codec.encode(hello))
    try:
        async with asyncio.timeout(GREETING_S):
            theirs = codec.decode(await link.receive())
    except TimeoutError:
        await link.close(4408, "no greeting")
        raise LinkLost("no HELLO within 5 s", code="timeout") from None
    if not isinstance(theirs, Hello):
        raise RemoteProtocolError("the first message is no HELLO", code="order")
    rtt_ms = (times.monotonic_s() - started) * 1000
    dialing = hello if link.dialed else theirs
    return Greeting(
        hello,
        theirs,
        LinkFacts(link.dialed, theirs.boot, dialing.counter),
        codec.ZSTD in theirs.capabilities and codec.ZSTD in hello.capabilities,
        rtt_ms,
        theirs.t_ms - times.wall_ms() + rtt_ms / 2,
    )


class LinkRunner:
    """`spaces()` gives the spaces that we share with this device as far as our rosters say."""

    def __init__(self, link: Link, greeting: Greeting, times: Times, spaces: Callable[[], dict[bytes, Space]]) -> None:
        self.link = link
        self.greeting = greeting
        self.sessions: dict[bytes, SessionRunner] = {}
        self.opened_ms = times.wall_ms()
        self.opened_s = times.monotonic_s()
        self.on_session: Callable[[SessionRunner], None] = lambda _: None
        self.on_end: Callable[[SessionRunner], None] = lambda _: None
        self.on_unshared: Callable[[], None] = lambda: None  # they do not name a space that we share by our rosters
        self.removed_from: Callable[[bytes], bool] = lambda _: False  # were they, by our roster of this space?
        self.says_removed: set[bytes] = set()  # spaces of which they say that we were removed
        self.offset_ms: float | None = greeting.offset_ms
        self.their_quality = greeting.theirs.tq  # what they say of their clock
        self.bulk_bytes = 0  # of frames with entries, as they are
        self.bulk_sent_bytes = 0  # and as they were sent
        self._times = times
        self._spaces = spaces
        self._theirs: set[bytes] = set()  # spaces that they say we share
        self._has_welcome = False  # they have said it
        self._turned_away: set[bytes] = set()  # spaces of which we have said the same
        self._control: deque[Message] = deque()
        self._bulk: deque[tuple[Message, SessionRunner]] = deque()
        self._something = asyncio.Event()
        self._quiet = asyncio.Event()  # no control message waits
        self._pinged: tuple[int, float] | None = None
        self._pings = 0
        self._group: asyncio.TaskGroup | None = None

    @property
    def theirs(self) -> bytes:
        return self.link.theirs

    async def run(self) -> None:
        """Until the link ends.

        Raises:
            LinkLost, RemoteProtocolError, StoreError: why it ended.
        """
        ended: BaseException | None = None
        try:
            async with LinkTasks() as group:
                self._group = group
                self.share()
                group.create_task(self._write(), name="link writer")
                group.create_task(self._read(), name="link reader")
        except* (LinkLost, RemoteProtocolError, StoreError) as problems:
            ended = _first(problems)  # raised here, Python before 3.11.4 would wrap it in a group again
        finally:
            self._group = None
            for session in self.sessions.values():
                session.stop()
                self.on_end(session)
            self.sessions.clear()
            self._control.clear()
            self._bulk.clear()
        if ended is not None:
            raise ended from None

    async def leave(self, reason: str, code: int = 1000) -> None:
        """Say what is still to be said, then goodbye, and close."""
        self.say(Bye(reason))
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self._quiet.wait()
        except TimeoutError:
            pass
        await self.link.close(code, reason)

    def share(self) -> None:
        """Say which spaces we share, now and whenever that changes; open and close sessions to match."""
        self.say(Welcome(sorted(self._spaces())))
        self._welcomed()

    def _welcomed(self) -> None:
        """What we share by our rosters, or by theirs, is not what it was."""
        self._match_sessions()
        self._turn_away()
        if self.is_unshared:
            self.on_unshared()

    def _turn_away(self) -> None:
        """Whoever names a space from which it was removed may not have heard of that, and has no session to hear it."""
        removed = {one for one in self._theirs if self.removed_from(one)}
        for space_id in sorted(removed - self._turned_away):
            self.say(Error("removed", "this device was removed", space_id))
        self._turned_away = removed

    @property
    def is_unshared(self) -> bool:
        """Do they not name a space that we share by our rosters?"""
        return self._has_welcome and not self._theirs.issuperset(self._spaces())

    def _match_sessions(self) -> None:
        if self._group is None:
            return
        shared = self._spaces()
        for space_id in [one for one in self.sessions if one not in shared or one not in self._theirs]:
            session = self.sessions.pop(space_id)
            session.stop()
            self.on_end(session)
        for space_id, space in shared.items():
            if space_id in self._theirs and space_id not in self.sessions:
                session = SessionRunner(space, self.theirs, self, self._times)
                self.sessions[space_id] = session
                self.says_removed.discard(space_id)
                self.on_session(session)
                session.start(self._group)

    # ---- speaking

    def say(self, message: Message, session: SessionRunner | None = None) -> None:
        """Queue a message; bulk waits behind everything else. Bounded by the credit that bulk needs."""
        if session is not None and message.bulk:
            self._bulk.append((message, session))
        else:
            self._control.append(message)
            self._quiet.clear()
        self._something.set()

    def ping(self) -> None:
        """Ask for their clock, and whether they are there at all."""
        self._pings += 1
        self._pinged = self._pings, self._times.monotonic_s()
        self.say(Ping(self._pings, self._times.wall_ms()))

    def answered_since(self, monotonic_s: float) -> bool:
        """Has every ping sent before that been answered?"""
        return self._pinged is None or self._pinged[1] > monotonic_s

    async def _write(self) -> None:
        while True:
            if self._control:
                await self.link.send(codec.encode(self._control.popleft()))
                if not self._control:
                    self._quiet.set()
            elif self._bulk:
                message, session = self._bulk.popleft()
                await self._send_bulk(codec.encode(message))
                session.bulk_sent(message)
            else:
                self._something.clear()
                await self._something.wait()

    async def _send_bulk(self, frame: bytes) -> None:
        packed = codec.compress(frame) if self.greeting.compress else frame
        self.bulk_bytes += len(frame)
        self.bulk_sent_bytes += len(packed)
        await self.link.send(packed)

    # ---- listening

    async def _read(self) -> None:
        while True:
            message = codec.decode(await self.link.receive())
            if len(self._control) > CONTROL_WAITING:
                raise RemoteProtocolError("they go on asking and do not listen", code="flood", close_code=4413)
            match message:
                case None:
                    continue
                case Welcome():
                    self._theirs, self._has_welcome = set(message.spaces), True
                    self._welcomed()
                case Ping():
                    self.say(Pong(message.id, self._times.wall_ms(), self._times.quality()))
                case Pong():
                    self._on_pong(message)
                case Bye():
                    raise _gone(message.reason)
                case Hello():
                    raise RemoteProtocolError("a second HELLO", code="order")
                case Error(space=None):
                    raise LinkLost(message.text or message.code, code=message.code)
                case Error(code="removed", space=bytes() as space_id) if space_id not in self.sessions:
                    self._removed(space_id)
                case _:
                    await self._to_session(message)

    async def _to_session(self, message: Message) -> None:
        session = self.sessions.get(getattr(message, "space", b""))
        if session is not None:  # else: it belongs to a session that has just ended on our side
            session.received(message)  # type: ignore[arg-type] # every message with a space is a session's
            await session.room()

    def _removed(self, space_id: bytes) -> None:
        space = self._spaces().get(space_id)
        if space is not None and space_id not in self.says_removed:
            self.says_removed.add(space_id)
            cause = "they say that this device was removed"
            log.warning("session blocked", space=space.name, device=short_id(self.theirs), code="removed", cause=cause)

    def _on_pong(self, message: Pong) -> None:
        if self._pinged is None or message.id != self._pinged[0]:
            return
        rtt_s = self._times.monotonic_s() - self._pinged[1]
        self._pinged = None
        self.their_quality = message.tq
        self.offset_ms = message.t_ms - self._times.wall_ms() + rtt_s * 500


def _first(problems: BaseExceptionGroup) -> BaseException:
    """The one that explains the others: a protocol error before a lost link."""
    flat = _flatten(problems)
    return next((one for one in flat if not isinstance(one, LinkLost)), flat[0])


def _flatten(group: BaseExceptionGroup) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found.extend(_flatten(one) if isinstance(one, BaseExceptionGroup) else [one])
    return found


def _gone(why: str) -> LinkLost:
    """What their goodbye says to people."""
    if why == "paused":
        return LinkLost(PAUSED, code="paused", next_step=RESUME_THERE)
    if why == "duplicate":
        return LinkLost(TOOK_ANOTHER, code="duplicate", next_step=IF_IT_GOES_ON)
    return LinkLost(f"they said goodbye: {why}", code="bye")
