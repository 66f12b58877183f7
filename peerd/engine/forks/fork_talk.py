"""What a session does when a fork stops it: find out with the other side where the two histories part, have that
stated, and, if what our copy holds is the variant that falls, take in a snapshot of theirs in place of it.

| we                               | they                 | what happens                                    |
|----------------------------------|----------------------|-------------------------------------------------|
| find the fork                    | hear ERROR, and FORK | both tell ends of runs until the place is known |
| know the place                   | likewise             | one close, or two alike, in the roster          |
| hold the one that falls          | hold the other       | recopy: their snapshot, then what only we had   |
| hold the other, or cannot tell   |                      | we serve the snapshot if they ask for it        |
| hold what falls                  | end before the place | a minute later the same: they can take nothing  |

Of the two that meet one falls, though it may be that a third stands before both: nobody need have that any more, and
if somebody has, they go over once more. Of several places that of the smallest origin decides, so not both go over.

Where the log is gone that would tell where they part, or whether they do, there is no close, and it is for the two
alone: whoever is less far in that origin does the recopy. That loses nothing of either, and of what they may not share
nothing counts as seen. A person may say otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from peerd.core.clocks import Clock, ReadClock, includes
from peerd.core.device_id import short_id
from peerd.core.forks import RunEnd, Search, Told, goes_over, names_what_falls, rank
from peerd.core.roster.statements import Final
from peerd.engine.forks.forks import ForkSeen
from peerd.engine.snapshots.exchange import AGAIN_S, SnapshotExchange
from peerd.engine.store_ports import Transaction
from peerd.errors import LinkLost, StoreClosed, StoreError, UserError
from peerd.logs import get
from peerd.protocol.messages import (
    ForkMessage,
    SessionMessage,
    SnapshotChunk,
    SnapshotRefuse,
    SnapshotWant,
    Summary,
)

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

End: TypeAlias = tuple[int, bytes]  # seq and hash there
_START: End = 0, b""
PATIENCE_S = 60.0  # with somebody who holds what stands, before we go over to a copy that has neither


class ForkTalk:
    """Of one session. `say` sends, `is_stopped` says whether a fork has stopped it, `their_clock` what they have."""

    def __init__(
        self,
        space: Space,
        theirs: bytes,
        exchange: SnapshotExchange,
        say: Callable[[ForkMessage], None],
        is_stopped: Callable[[], bool],
        their_clock: Callable[[], ReadClock],
    ) -> None:
        self._space = space
        self._theirs = theirs
        self._exchange = exchange
        self._say = say
        self._is_stopped = is_stopped
        self._their_clock = their_clock
        self._searches: dict[bytes, Search] = {}
        self._said: tuple[dict[bytes, End], dict[bytes, End]] = {}, {}  # where we stood, and they, when the two met
        self._doubted: dict[bytes, int] = {}  # up to where it was not known that both have the same
        self._told: dict[bytes, set[Final]] = {}  # ends of theirs at which a variant stands that a close names
        self._falling: set[bytes] = set()  # origins of which they told ends of what falls
        self._group: asyncio.TaskGroup | None = None
        self._recopying = False
        self._agreed = False  # no fork was found when the two met
        self._waiting = False  # to step back
        self._ended = False

    @property
    def is_recopying(self) -> bool:
        return self._recopying

    @property
    def is_over(self) -> bool:
        """Both sides have said all that they know of where they part."""
        return bool(self._searches) and all(search.is_over for search in self._searches.values())

    def start(self, group: asyncio.TaskGroup) -> None:
        """With tasks in the link's group: its end is theirs."""
        self._group = group

    def stop(self) -> None:
        """The session has ended, though the link may go on."""
        self._ended = True

    def _do(self, work: Callable[[], Awaitable[object]], name: str) -> None:
        assert self._group is not None  # noqa: S101 - nothing is heard before the start
        self._group.create_task(self._guarded(work), name=name)

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except (StoreError, UserError) as problem:
            log.warning("fork not settled", space=self._space.name, code=problem.code, cause=str(problem))

    # ---- where they part

    def found(self, origin: bytes, seq: int, *, doubtful: bool) -> None:
        """The two copies hold two histories of an origin, or perhaps they do."""
        if doubtful:
            self._doubted[origin] = seq
        self._do(partial(self._begin, origin, seq, doubtful=doubtful), "fork found")

    def saying(self, message: object) -> None:
        """What the session says."""
        if isinstance(message, Summary):
            self._said[0].update(_ends(message))

    @property
    def known(self) -> Clock:
        """So far each of us had the same of each origin when we met: each has looked at where the other stood."""
        ours, theirs = self._said
        return {origin: min(ours[origin], end)[0] for origin, end in theirs.items() if origin in ours}

    async def _begin(self, origin: bytes, seq: int, *, doubtful: bool) -> None:
        search = self._searches.setdefault(origin, Search(origin))

        def telling(transaction: Transaction) -> tuple[Told, bytes]:
            history = transaction.history_of(origin)
            return search.tell(history), history.hash8(seq) or b""

        told, ours = await self._space.store.read(telling)
        self._space.forks.saw(ForkSeen(self._theirs, origin, seq, ours, b"", doubtful=doubtful))
        self._tell(origin, told)
        await self.consider()

    def _tell(self, origin: bytes, told: Told) -> None:
        self._say(
            ForkMessage(
                self._space.id,
                origin,
                told.after,
                [(first, last, hash8) for first, last, hash8 in told.ends],
                whole=told.whole,
            )
        )

    def received(self, message: SessionMessage) -> bool:
        """Is it about a fork, or about the snapshot that settles one? Raises RemoteProtocolError."""
        match message:
            case Summary():
                self._said[1].update(_ends(message))
            case ForkMessage():
                self._do(partial(self._heard, message), "fork heard")
                return True
            case SnapshotWant() if self._is_stopped():
                self._exchange.serve(message)
                return True
            case SnapshotChunk() | SnapshotRefuse() if self._recopying:
                self._exchange.came(message)
                return True
        return False

    async def _heard(self, message: ForkMessage) -> None:
        origin = message.origin
        if origin not in self._space.copy.origins:
            return
        search = self._searches.setdefault(origin, Search(origin))
        told = Told(message.after, [RunEnd(*end) for end in message.ends], message.whole)
        answer = await self._space.store.read(lambda transaction: search.heard(told, transaction.history_of(origin)))
        if answer is not None:
            self._tell(origin, answer)
        self._note_told(origin, [Final(end.last, end.hash8) for end in told.ends])
        if search.differs is not None:
            self._space.forks.saw(ForkSeen(self._theirs, origin, *search.differs))
        elif search.is_over and self._space.forks.with_peer(self._theirs) is None:
            seq = min(stood.get(origin, _START)[0] for stood in self._said)
            self._space.forks.saw(ForkSeen(self._theirs, origin, seq, b"", b"", doubtful=True))
        if search.parting is not None:
            self._space.forks.parted(self._theirs, search.parting)
            await self._space.forks.close(search.parting)
        if self._is_dispelled():
            self._space.forks.healed(self._theirs)
            raise LinkLost("there is one history only: both begin anew", code="bye")
        await self.consider()

    def _note_told(self, origin: bytes, ends: Sequence[Final]) -> None:
        forks = self._space.roster.forks(origin)
        self._told.setdefault(origin, set()).update({fork.stands for fork in forks}.intersection(ends))
        if any(names_what_falls(fork, end) for fork in forks for end in ends):
            self._falling.add(origin)

    # ---- and what is done about it

    def _is_dispelled(self) -> bool:
        """There was nothing but doubt, and now we know that both have the same up to there."""
        return self.is_over and all(
            search.differs is None and origin in self._doubted and search.low >= self._doubted[origin]
            for origin, search in self._searches.items()
        )

    async def consider(self) -> None:
        """The roster or our copy may say more by now: is it for us to take theirs? Until that is done."""
        await self._space.forks.look()
        while not self._ended and self._is_stopped() and self.goes_over and not self._recopying:
            if await self._try():
                return

    def outlived(self) -> None:
        """A link of before with the same device has ended: what it saw last may be older than what we found."""
        if not self._is_stopped():
            self._space.forks.healed(self._theirs)

    def agreed(self) -> None:
        """No fork is found between the two, so nothing stops the session."""
        self._agreed = True
        self._step_back_later()

    def _step_back_later(self) -> None:
        if self._agreed and self._space.roster.closed_forks and not self._waiting:
            self._waiting = True
            self._do(self._step_back, "fork with nobody")

    async def _step_back(self) -> None:
        """They may take nothing of what falls here, and perhaps nobody is left who has what stands. Their copy holds no
        variant, so ours is as good beside it as beside what stands. They may be on their way to what we have, or we to
        what they have: so that is asked again and again.
        """
        try:
            while await self._may_step_back():
                await asyncio.sleep(PATIENCE_S)
                if await self._may_step_back() and self._is_for_us() and await self._try():
                    return
        finally:
            self._waiting = False

    async def _may_step_back(self) -> bool:
        return not (self._ended or self._is_stopped() or self._recopying) and await self._space.forks.look()

    def _is_for_us(self) -> bool:
        """Not if our log does not reach back to them: they take a snapshot of ours."""
        forks, clock, ours = self._space.forks, self._their_clock(), self._space.copy
        if not includes(clock, ours.horizon()):
            return False
        for fork in self._space.roster.closed_forks:  # by origin: so that not both do
            is_before, are_before = ours.seq(fork.origin) <= fork.seq, clock.get(fork.origin, 0) <= fork.seq
            if is_before != are_before:
                side = forks.sides.get(fork.origin)
                return are_before and side is not None and side.falls
        return False

    async def _try(self) -> bool:
        try:
            if self._space.recopying.pending is None and await self.recopy():
                return True
        except StoreClosed:
            raise
        except StoreError as problem:  # of our own disk: what came is kept
            log.warning("fork not settled", space=self._space.name, code=problem.code, cause=str(problem))
        await asyncio.sleep(AGAIN_S)
        return False

    @property
    def goes_over(self) -> bool | None:
        """Is it for us to take their copy? None: for neither, as far as is known. Of several origins one decides, so
        that the two do not both.
        """
        if not self.is_over:
            return None
        partings = {origin: search.parting for origin, search in self._searches.items() if search.parting is not None}
        if partings:
            parting = partings[min(partings)]
            return rank(parting.ours) > rank(parting.theirs)
        origin = min(self._searches)
        side = self._space.forks.sides.get(origin)
        ours, theirs = (stood.get(origin, _START) for stood in self._said)
        we_stand, we_fall = (False, False) if side is None else (side.stands, side.falls)
        if we_fall != (origin in self._falling):
            return we_fall
        return goes_over(ours, theirs, we_stand=we_stand, they_stand=self._they_stand(origin))

    def _they_stand(self, origin: bytes) -> bool:
        """Do they hold a variant that stands by a close? They told it, or have it in common with us."""
        side, low = self._space.forks.sides.get(origin), self._searches[origin].low
        shared = (
            side is not None
            and side.stands
            and any(fork.stands.seq <= low for fork in self._space.roster.forks(origin))
        )
        return bool(self._told.get(origin)) or shared

    def roster_changed(self) -> None:
        if self._searches:
            self._do(self.consider, "fork considered")
        self._step_back_later()

    def begin_recopy(self) -> asyncio.Task[bool]:
        """As `recopy`, because a person says so. The task ends with the link, at the latest."""
        assert self._group is not None  # noqa: S101 - a session that is listed has started
        return self._group.create_task(self.recopy(), name="recopy")

    async def recopy(self) -> bool:
        """Take a snapshot of theirs in place of our copy, which is set aside first. True if that is done."""
        if self._recopying:
            return False
        self._recopying = True
        try:
            log.warning("recopy begins", space=self._space.name, device=short_id(self._theirs))
            return await self._exchange.replace()
        finally:
            self._recopying = False


def _ends(summary: Summary) -> dict[bytes, End]:
    return {origin: (seq, hash8) for origin, seq, hash8 in summary.positions}
