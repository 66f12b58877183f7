"""Repairs on one session: where does their copy differ from ours, and what becomes of ours (`protocol.repairing`); and
answers to the same questions of theirs.

Who is believed, where two copies of a record differ:

    ours is known to be damaged     what they have, if by our own digest that is what ours should be, if our row is not
                                    what was written, or if they know of no damage there and their records make the sum
                                    that they say
    theirs is, and ours is not      nothing is taken from them
    otherwise                       the rule of `core.repair.rule`, by what both logs prove. Of two values that of the
                                    side that is not known to be damaged stands; else that of the side with which
                                    another one agrees, if none does with the other side

Nobody gives a row that is known not to be what was written. Two that are the same, and owe the same, are none the
wiser: see `Damage.agreed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import Clock, covers
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.record import Record
from peerd.core.record_form import bucket_of
from peerd.core.repair.form import (
    dots_of,
    unpack_evidence,
    unpack_record,
)
from peerd.core.repair.rule import Merged, Side, merge
from peerd.core.repair.scrub import AGAIN, DIFFERS, FROM_PEER, MISSING
from peerd.engine.ports import Times
from peerd.engine.repair import answers as repair_answers
from peerd.engine.repair import log_repairs, mending
from peerd.engine.repair.mending import Mend as Mending
from peerd.engine.space import Space
from peerd.errors import RemoteProtocolError, StoreError, UserError
from peerd.logs import get
from peerd.protocol.messages import Locate, Located, Mend, Mended, RecordName, RepairMessage
from peerd.protocol.repairing import (
    Agreed,
    Ask,
    CompareShares,
    LookAtOurs,
    Merge,
    ReadRecords,
    RepairEffect,
    Repairing,
    Standing,
    WakeRepair,
)

if TYPE_CHECKING:
    from peerd.engine.links.session_runner import SessionRunner

log = get(__name__)

CAPABILITY = "repair"
CALM_S = (5.0, 15.0)
DAMAGED_CALM_S = (0.2, 1.0)  # who knows that it is the damaged one begins first
WAITING = 8  # questions and answers of theirs
RUNS_AFTER_S = (2.0, 10.0)
RUNS_AGAIN_S = 600.0


class _Note(NamedTuple):
    equal: bool


class Repairs:
    """`others()` gives the other sessions of the space; `compared(equal)` is told how the digests compare."""

    def __init__(
        self,
        space: Space,
        theirs: bytes,
        times: Times,
        say: Callable[[RepairMessage], None],
        compared: Callable[[bool], None],
    ) -> None:
        self.others: Callable[[], Iterable[SessionRunner]] = tuple
        self.understood = False  # does the other side know these messages?
        self.their_digest = b""  # as they said it last
        self._their_clock: Clock | None = None  # ours, if theirs was the same then
        self._faulty: frozenset[int] | None = None  # the buckets in which theirs is known to be damaged, once they said
        self._space = space
        self._theirs = theirs
        self._times = times
        self._say = say
        self._compared = compared
        self._told = digest.EMPTY  # the sums of the shares that they told
        self._told_all = False
        self._machine = Repairing(space.id)
        self._large = repair_answers.Large()
        self._queue: asyncio.Queue[RepairMessage | RepairEffect | _Note | None] = asyncio.Queue()
        self._asked = 0
        self._runs_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self, group: asyncio.TaskGroup) -> None:
        """With a worker in the link's group: its end is theirs."""
        group.create_task(self._work(), name="repairs")

    def stop(self) -> None:
        self._stopped = True
        for timer in (self._timer, self._runs_timer):
            if timer is not None:
                timer.cancel()
        self._queue.put_nowait(None)

    # ---- events

    def came(self, message: RepairMessage) -> None:
        """Raises RemoteProtocolError if they ask for more than they may."""
        if self._asked >= WAITING:
            raise RemoteProtocolError("they ask about repairs and do not take the answers", code="flood")
        self._asked += 1
        self._queue.put_nowait(message)

    def differ(self) -> None:
        """The digests differ, or our copy is known to be damaged, or was mended."""
        self._ask_for_runs()
        if self.understood and not self._stopped:
            low, high = DAMAGED_CALM_S if self._space.damage.is_known else CALM_S
            self._perform(self._machine.differ(self._now(), self._times.uniform(low, high)))

    def compared(self, *, equal: bool) -> None:
        """Their digest and ours were compared, at equal clocks."""
        self._their_clock = self._space.copy.clock()
        self._ask_for_runs()
        damage = self._space.damage
        if equal and not self._must_ask():
            self._machine.agree()
        else:
            self.differ()
        if not equal or damage.findings.open or damage.is_known or damage.state.anew:
            self._queue.put_nowait(_Note(equal))

    def _must_ask(self) -> bool:
        """Does it mean nothing yet that they have the same as we? They may owe it too."""
        return self.understood and self._faulty is None and bool(self._space.damage.owed_buckets())

    def in_sync(self) -> None:
        """As far as is known here. A damaged copy asks: nobody says a digest to who has just caught up."""
        if self._space.damage.is_known:
            self.differ()

    @property
    def is_collecting(self) -> bool:
        """Does a record come in pieces? One at a time is enough."""
        return self._machine.is_collecting

    def standing(self) -> Standing:
        return repair_answers.standing(self._space)

    def _now(self) -> float:
        return self._times.monotonic_s()

    def _woken(self) -> None:
        self._timer = None
        self._perform(self._machine.woken(self._now(), self.standing()))

    def _perform(self, effects: Iterable[RepairEffect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self._say(effect.message)
                case WakeRepair():
                    if self._timer is not None:
                        self._timer.cancel()
                    delay_s = max(0.0, effect.at_s - self._now())
                    self._timer = asyncio.get_running_loop().call_later(delay_s, self._woken)
                case Agreed():
                    self._compared(True)
                case LookAtOurs():
                    self._space.scrub.alarm()
                case _:
                    self._queue.put_nowait(effect)

    # ---- work

    def _ask_for_runs(self) -> None:
        """For runs of our log that are damaged: soon, and again as long as they are."""
        if self.understood and not self._stopped and self._runs_timer is None and log_repairs.wanted(self._space):
            delay_s = self._times.uniform(*RUNS_AFTER_S)
            self._runs_timer = asyncio.get_running_loop().call_later(delay_s, self._say_runs)

    def _say_runs(self) -> None:
        self._runs_timer = None
        if runs := log_repairs.wanted(self._space):
            self._say(Mend(self._space.id, self.standing().clock, [], runs))
            self._runs_timer = asyncio.get_running_loop().call_later(RUNS_AGAIN_S, self._say_runs)

    async def _keep(self, note: _Note) -> None:
        """What people are told of it, also after a restart."""
        if not note.equal:
            await self._space.damage.findings.diverged(self._theirs)
        elif self.digest_at(self._space.copy.clock()) == self.standing().digest and not self._must_ask():
            await self._space.damage.agreed(self._theirs, self._faulty or ())  # still, and not only then

    async def _work(self) -> None:
        while (one := await self._queue.get()) is not None and not self._stopped:
            try:
                match one:
                    case Locate() | Mend():
                        await self._answer(one)
                    case Mended(runs=[_, *_]):
                        await log_repairs.take(self._space, one.runs, self._theirs)
                    case Located() | Mended():
                        self._take(one)
                    case _Note():
                        await self._keep(one)
                    case _:
                        await self._do(one)
            except StoreError as problem:
                log.warning("repair failed", space=self._space.name, code=problem.code, cause=str(problem))
            finally:
                if isinstance(one, Locate | Located | Mend | Mended):
                    self._asked -= 1

    async def _answer(self, question: Locate | Mend) -> None:
        ours = self.standing()
        if isinstance(question, Mend):
            self._say(await repair_answers.records(self._space, question, ours, self._large))
            return
        self._hear(question, ours)
        if not question.buckets:
            self._say(Located(self._space.id, ours.clock, ours.digest, ours.sums, faulty=list(ours.faulty)))
            return
        self._say(await repair_answers.shares(self._space, question, ours))

    def _hear(self, told: Locate | Located, ours: Standing) -> None:
        """Whatever they say of their digest is worth comparing."""
        self.their_digest, self._their_clock = told.digest, None
        self._faulty = frozenset(told.faulty)
        if told.clock == ours.clock:
            self._compared(told.digest == ours.digest)

    def _take(self, answer: Located | Mended) -> None:
        ours = self.standing()
        if isinstance(answer, Located):
            self.their_digest, self._faulty = answer.digest, frozenset(answer.faulty)
            self._their_clock = self._space.copy.clock() if answer.clock == ours.clock else None
            self._perform(self._machine.located(answer, ours, self._now()))
        else:
            may_collect = not any(one.repairs.is_collecting for one in self.others() if one.theirs != self._theirs)
            self._perform(self._machine.mended(answer, ours, self._now(), may_collect=may_collect))

    async def _do(self, effect: RepairEffect) -> None:
        match effect:
            case CompareShares():
                names, up_to = await self._compare(effect)
                self._perform(self._machine.compared(names, up_to, self.standing(), self._now()))
            case ReadRecords():
                records = await repair_answers.held(self._space, effect.names)
                self._perform(self._machine.read(records, self.standing(), self._now()))
            case Merge():
                names, changed = await self._merge(effect)
                self._perform(self._machine.merged(names, changed, self.standing(), self._now()))

    async def _compare(self, effect: CompareShares) -> tuple[list[RecordName], RecordName | None]:
        """The names that differ, as far as both pages reach."""
        theirs = effect.theirs
        ours = await self._space.store.scrubs.shares(
            effect.buckets, effect.after, theirs.up_to, 2 * repair_answers.SHARES, repair_answers.ROWS_LOOKED_AT
        )
        ends = [end for end in (theirs.up_to, ours.up_to) if end is not None]
        up_to = min(ends) if ends else None
        one = {(collection, key): share for collection, key, share in ours.shares}
        other = {(collection, key): int.from_bytes(share, "big") for collection, key, share in theirs.shares}
        told = ((bucket_of(*name), share) for name, share in other.items() if up_to is None or name <= up_to)
        self._told = digest.moved(digest.EMPTY if effect.after is None else self._told, told)
        self._told_all = up_to is None
        differing = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
        return [name for name in differing if up_to is None or name <= up_to], up_to

    # ---- merging

    async def _merge(self, effect: Merge) -> tuple[list[RecordName], int]:
        """Put into our copy what becomes of these. Gives which were looked at, and how many are others now."""
        space, before = self._space, self.standing()
        findings = space.damage.findings
        names: list[Name] = [(one[0], one[1]) for one in effect.theirs.records]
        try:
            told = {
                (collection, key): (unpack_record(packed), unpack_evidence(evidence), doubt)
                for collection, key, packed, evidence, doubt in effect.theirs.records
            }
        except ValueError:
            raise RemoteProtocolError("a record that is none", code="malformed") from None
        clock = space.copy.clock()
        if not all(covers(clock, dot) for record, _, _ in told.values() for dot in record.dots()):
            raise RemoteProtocolError("a record of transactions that they do not claim to have", code="malformed")
        here = await mending.stored(space.store, names)
        dots = dots_of([*(one.record for one in here.values()), *(record for record, _, _ in told.values())])
        gathering = await mending.gather(space.commits, space.store, names=names, dots=dots)
        mends: dict[Name, Mending] = {}
        again: dict[Name, Merged] = {}
        for name in names:
            record, evidence, doubt = told[name]
            ours_doubt = space.damage.doubts(name)
            owes_too = doubt and bucket_of(*name) in (self._faulty or ())
            vouched = not doubt or (owes_too and not record.empty)  # a bad row is not said
            trust = self._is_owed(name, effect.sums) or (vouched and findings.suspects(name))
            trust = trust or (ours_doubt and not doubt and self._adds_up(name, effect.sums))
            if doubt and not trust and not (owes_too and ours_doubt):
                continue
            stands = self._stands(effect.sums, ours_faulty=ours_doubt, theirs_faulty=doubt)
            ours = here[name].record if name in here else Record()
            own = gathering.of(name)  # a whole log needs nobody's word
            merged = merge(ours, record, [own] if own.whole else [evidence, own], trust=trust, stands=stands)
            share = here[name].share if name in here else 0
            if mending.share_of(name, merged.record) == share:
                continue
            mends[name] = Mending(merged.record, share, merged.dropped)
            if merged.again:
                again[name] = merged
        if self.standing() != before:
            return names, 0
        known = {one.name for one in findings.open}
        done = await space.damage.replace(mends, owing=False, at=clock)
        await findings.put_right(done - again.keys(), FROM_PEER, self._theirs)
        await findings.found(MISSING, sorted(done - here.keys() - known), self._theirs, FROM_PEER)
        await findings.found(DIFFERS, sorted(done & here.keys() - again.keys() - known), self._theirs, FROM_PEER)
        for name in sorted(done & again.keys()):
            await self._write_again(name, again[name])
        return names, len(done)

    async def _write_again(self, name: Name, merged: Merged) -> None:
        """What stood here under a dot that means something else now: beside it, so that people may choose."""
        try:
            for field, value in merged.again:
                await self._space.commits.write(
                    [Intent(Kind.PATCH, *name, {field: value}, seen=frozenset(), literal=True)]
                )
        except UserError as problem:
            log.warning("value not written again", space=self._space.name, cause=str(problem))
        await self._space.damage.findings.found(DIFFERS, [name], self._theirs, AGAIN)

    def _is_owed(self, name: Name, their_sums: bytes) -> bool:
        """Is theirs, in this part of the copy, what ours should be by our own digest?"""
        bucket = bucket_of(*name)
        owed = digest.at(self._space.damage.state.owed, bucket)
        return owed != 0 and (digest.at(self._space.copy.digest, bucket) + owed) % digest.MODULUS == digest.at(
            their_sums, bucket
        )

    def _adds_up(self, name: Name, their_sums: bytes) -> bool:
        """Do their records in this part of the copy make the sum that they say?"""
        bucket = bucket_of(*name)
        return self._told_all and digest.at(self._told, bucket) == digest.at(their_sums, bucket)

    def _stands(self, their_sums: bytes, *, ours_faulty: bool, theirs_faulty: bool) -> Side | None:
        """Which of the two is not known to be damaged, if the other is; else, with which of them do others agree, and
        none with the other?
        """
        if ours_faulty != theirs_faulty:
            return "theirs" if ours_faulty else "ours"
        ours, theirs, told = self.standing().digest, digest.summary(their_sums), self._told_by_others()
        if (ours in told) == (theirs in told):
            return None
        return "ours" if ours in told else "theirs"

    def _told_by_others(self) -> list[bytes]:
        """The digests of other devices at our clock."""
        clock = self._space.copy.clock()
        return [one.repairs.digest_at(clock) for one in self.others() if one.theirs != self._theirs]

    def digest_at(self, clock: Clock) -> bytes:
        """Theirs, if they said it of this clock; else nothing that any copy has."""
        return self.their_digest if self._their_clock == clock else b""
