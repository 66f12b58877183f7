"""What is known to be wrong with a copy, and putting it right from the log where the log has it.

`owed` is by how much the digest differs from the one that the writes had made (`peerd.core.repair.scrub`). The log is
asked first: a whole one says what all records of a bucket are; what another makes of a record is right if it makes up
for exactly what the bucket is owed. What is left then is asked of other devices (`engine.repair.repairs`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import ReadClock
from peerd.core.copy import CopyState
from peerd.core.record import Record
from peerd.core.record_form import bucket_of
from peerd.core.repair.evidence import Gathering
from peerd.core.repair.scrub import (
    CHANGED,
    DIFFERS,
    EQUAL,
    FROM_LOG,
    FROM_SNAPSHOT,
    GONE,
    MISSING,
    NOWHERE,
    UNREADABLE,
    Counted,
    Finding,
    ScrubState,
    Suspect,
)
from peerd.core.snapshots.doubt import Doubts
from peerd.engine.commits import Commits
from peerd.engine.ports import Times
from peerd.engine.repair import mending
from peerd.engine.repair.findings import Findings
from peerd.engine.repair.mending import Mend
from peerd.engine.store_ports import SpaceStore
from peerd.logs import get

log = get(__name__)

BUCKETS_AT_ONCE = 8


class Damage:
    """`changed` is called when something was found that the log alone does not put right, and when rows were changed:
    the digest may say something else than others were told. `renamed` is called when the copy has got another id, since
    rows were put right.
    """

    def __init__(self, name: str, commits: Commits, store: SpaceStore, times: Times) -> None:
        self.state = ScrubState()
        self.findings = Findings(name, store, times)
        self.turn = asyncio.Lock()  # rows that no transaction changes, and what is owed for them, are changed in it
        self.others: Callable[[], set[bytes]] = set  # all other members
        self.changed: Callable[[], None] = lambda: None
        self.renamed: Callable[[bytes], None] = lambda _: None
        self._telling: set[asyncio.Task[None]] = set()
        self._name = name
        self._commits = commits
        self._store = store
        self._times = times

    async def open(self) -> None:
        self.state, self.findings.all = await self._store.scrubs.load()

    @property
    def is_known(self) -> bool:
        """Is something known to be missing or wrong in the records of this copy?"""
        return self.state.owed != digest.EMPTY or bool(self.findings.open_records)

    def owed_buckets(self) -> list[int]:
        return digest.differing(self.state.owed, digest.EMPTY)

    def doubts(self, name: Name) -> bool:
        """Is what we hold of a record known to be damaged, or in a part of the copy that is?"""
        return digest.at(self.state.owed, bucket_of(*name)) != 0 or self.findings.suspects(name)

    def doubts_against(self, owed: bytes) -> Doubts:
        """What there is to doubt in merging our copy with one that owes so much."""
        suspects = frozenset(one.name for one in self.findings.open_records)
        return Doubts(self.state.owed, owed, suspects)

    # ---- what was found

    async def suspected(self, suspects: Sequence[Suspect], still: Callable[[], bool]) -> None:
        """The digest is made to say what is stored, before anybody takes it for the truth. `still`: is it the copy in
        which they were found?
        """
        findings = self.findings
        readable = findings.fresh(CHANGED, (one.name for one in suspects if one.readable))
        unreadable = findings.fresh(UNREADABLE, (one.name for one in suspects if not one.readable))
        if unreadable:
            await self._set_aside(unreadable, still)
        if readable:
            await self._store.scrubs.note(readable, keep_rows=True)
        mends = {one.name: Mend(None, one.share) for one in suspects if one.readable}
        done = await self.replace(mends, owing=True, findings=readable)
        await findings.put_right(mends.keys() - done, GONE)
        await self._mend_from_log()

    def owing(self, unsound: Mapping[Name, int]) -> ScrubState | None:
        """What is kept with a transaction that changes these, which are not what was written: by how much their shares
        differed from what was there. Nothing that is written to them hides that.
        """
        if not unsound:
            return None
        steps = [(bucket_of(*name), difference) for name, difference in unsound.items()]
        return replace(self.state, owed=digest.moved(self.state.owed, steps), asked=[])

    def met(self, unsound: Mapping[Name, int]) -> None:
        """That transaction is durable."""
        if unsound:
            self.state = self.owing(unsound) or self.state
            task = asyncio.create_task(self._tell_met(list(unsound)), name="damage met")
            self._telling.add(task)
            task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.warning("repair failed", space=self._name, cause=str(problem))

    async def _tell_met(self, names: Sequence[Name]) -> None:
        await self.findings.note(self.findings.fresh(CHANGED, names))
        await self._store.scrubs.save(self.state)
        await self._mend_from_log()

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._telling:
            await asyncio.wait(self._telling)

    async def counted(self, counted: Counted, still: Callable[[], bool]) -> None:
        """The rows do not make the sums that were kept. `still`: is it the copy that was counted?"""

        async def settle(copy: CopyState) -> CopyState:
            if not still():
                return copy
            owed = digest.added(self.state.owed, digest.difference(counted.kept, counted.sums))
            state = replace(self.state, owed=owed, asked=[])
            after = await self._store.scrubs.settle(counted, copy, state)
            self.state = state
            return after

        async with self.turn:
            await self._commits.put_right(settle)
        log.error("records do not add up", space=self._name, count=len(self.owed_buckets()))
        await self._mend_from_log()

    async def _set_aside(self, findings: Sequence[Finding], still: Callable[[], bool]) -> None:
        async def work(copy: CopyState) -> CopyState:
            if not still():
                return copy

            def owing(after: CopyState) -> ScrubState:
                taken = digest.difference(copy.digest, after.digest)
                return replace(self.state, owed=digest.added(self.state.owed, taken), asked=[])

            after = await self._store.scrubs.set_aside(findings, copy, owing)
            self.state = owing(after)
            self.findings.keep(findings)
            return after

        async with self.turn:
            await self._commits.put_right(work)

    async def replace(
        self,
        mends: dict[Name, Mend],
        *,
        owing: bool,
        findings: Sequence[Finding] = (),
        at: ReadClock | None = None,
    ) -> set[Name]:
        """Put these in place, and keep account of what is owed. Not `owing`, only buckets that owe something are
        concerned: what another device's copy and ours agreed on is the truth. `findings` are told from then on.
        """
        if not mends:
            return set()

        def account(taken: bytes) -> ScrubState:
            if not owing:
                kept = [(bucket, digest.at(taken, bucket)) for bucket in self.owed_buckets()]
                taken = digest.moved(digest.EMPTY, kept)
            anew = self.state.anew or any(mends[name].record is not None for name in mends)
            owed = digest.added(self.state.owed, taken)
            return replace(self.state, owed=owed, anew=anew, asked=self.state.asked if owed != digest.EMPTY else [])

        async with self.turn:
            done, kept = await mending.replace(self._commits, self._store, mends, account, at)
            self.state = kept or self.state
            self.findings.keep(findings)
        if done:
            self.changed()
        return done

    async def _owe(self, owed: bytes) -> None:
        self.state.owed = owed
        if owed == digest.EMPTY:
            self.state.asked = []
        await self._store.scrubs.save(self.state)

    # ---- from the log

    async def _mend_from_log(self) -> None:
        """As far as the log goes. A few buckets at a time, since each may have thousands of records."""
        owed = self.owed_buckets()
        for start in range(0, len(owed), BUCKETS_AT_ONCE):
            buckets = owed[start : start + BUCKETS_AT_ONCE]
            suspects = [one.name for one in self.findings.open_records]
            gathering = await mending.gather(self._commits, self._store, names=suspects, buckets=buckets)
            here = await mending.names_in(self._store, buckets) if gathering.whole else []
            for bucket in buckets:
                of_bucket = [name for name in dict.fromkeys([*gathering.traces, *here]) if bucket_of(*name) == bucket]
                known = [name for name in of_bucket if name in suspects]
                if gathering.whole or not (known and await self._make_up(bucket, known, gathering)):
                    await self._make_up(bucket, of_bucket, gathering)
        await self._settle(FROM_LOG)
        await self.begin_anew()
        if self.is_known:
            self.changed()

    async def _make_up(self, bucket: int, names: Collection[Name], gathering: Gathering) -> bool:
        """Put in place what the log makes of these records, if that is exactly what the bucket is owed. If the log is
        whole, and these are all of the bucket, it needs no such proof: what was written to since it was lost makes up
        for something else.
        """
        mends = await mending.as_replayed(self._store, names, gathering)
        total = sum(mending.share_of(name, one.record or Record()) - one.share for name, one in mends.items())
        if not gathering.whole and total % digest.MODULUS != digest.at(self.state.owed, bucket):
            return False
        await self.findings.note(self.findings.fresh(MISSING, (name for name, one in mends.items() if not one.share)))
        await self.findings.note(self.findings.fresh(DIFFERS, (name for name, one in mends.items() if one.share)))
        done = await self.replace(mends, owing=True, at=gathering.clock)
        if gathering.whole and done == mends.keys():
            await self._owe(digest.moved(self.state.owed, [(bucket, -digest.at(self.state.owed, bucket))]))
        await self.findings.put_right(done, FROM_LOG)
        return True

    # ---- all is well again

    async def _settle(self, how: str) -> None:
        """If nothing is owed, whatever was found in the records is right again, however that came about."""
        if self.state.owed == digest.EMPTY:
            await self.findings.records_put_right(how)

    def switched(self, scrub: ScrubState) -> None:
        """A snapshot took the place of the copy, and this is kept with it. Whatever was found is put right by that, but
        in parts of the copy that owe something.
        """
        self.state = scrub
        for one in self.findings.open_records:
            if not digest.at(scrub.owed, bucket_of(*one.name)):
                one.done = FROM_SNAPSHOT
        if self.is_known:
            self.changed()

    async def agreed(self, device: bytes, faulty: Collection[int] = ()) -> None:
        """Our copy is the same as another device's, which knows of damage in these buckets of its own. Elsewhere
        whatever was owed has been made up for, by whatever it was. There both lack the same; but when all others were
        asked, and none has anything else, nobody ever will.
        """
        both = [bucket for bucket in self.owed_buckets() if bucket in faulty]
        if both and device not in self.state.asked:
            self.state.asked.append(device)
        is_nowhere = bool(both) and self.others() <= set(self.state.asked)
        if is_nowhere:
            log.error("damage is everywhere", space=self._name, count=len(both))
        left = [] if is_nowhere else both
        is_less = len(left) < len(self.owed_buckets())
        if self.state.owed != digest.EMPTY:
            await self._owe(
                digest.moved(digest.EMPTY, [(bucket, digest.at(self.state.owed, bucket)) for bucket in left])
            )
        lost = {one.name for one in self.findings.open_records if bucket_of(*one.name) in both}
        if is_nowhere:
            await self.findings.put_right(lost, NOWHERE, device)
        equal = {one.name for one in self.findings.open_records} - lost
        await self.findings.put_right(equal, EQUAL, device)
        await self.findings.agreed(device)
        await self.begin_anew()
        if is_less:
            self.changed()  # who owes the same hears it

    async def begin_anew(self) -> None:
        """Rows were put right that no transaction names: feeds and bindings begin anew, once all is well. Not before: a
        record that is missing here was not deleted.
        """
        state = self.state
        if not state.anew or self.is_known:
            return
        copy_id = self._times.random_bytes(16)
        state.anew, state.copy_id = False, copy_id if state.copy_id else b""
        await self._store.scrubs.begin_anew(copy_id, state)
        self.renamed(copy_id)
