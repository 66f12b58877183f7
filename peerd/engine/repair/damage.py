"""What is known to be wrong with a copy, and putting it right from the log where the log has it.

`owed` is by how much the digest differs from the one that the writes had made (`peerd.core.repair.scrub`). The log is
asked first: a whole one says what all records of a bucket are; what another makes of a record is right if it makes up
for exactly what the bucket is owed. What is left then is asked of other devices (`engine.repair.repairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import ReadClock
from peerd.core.copy import CopyState
from peerd.core.record import Record
from peerd.core.record_form import bucket_of
from peerd.core.repair.evidence import Gathering
from peerd.core.repair.scrub import CHANGED, DIFFERS, MISSING, UNREADABLE, Counted, Finding, ScrubState, Suspect
from peerd.engine.commits import Commits
from peerd.engine.ports import Times
from peerd.engine.repair import mending
from peerd.engine.repair.findings import EQUAL, FROM_LOG, FROM_SNAPSHOT, GONE, Findings
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
        self.changed: Callable[[], None] = lambda: None
        self.renamed: Callable[[bytes], None] = lambda _: None
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

    # ---- what was found

    async def suspected(self, suspects: Sequence[Suspect]) -> None:
        """The digest is made to say what is stored, before anybody takes it for the truth."""
        findings = self.findings
        readable = findings.fresh(CHANGED, (one.name for one in suspects if one.readable))
        unreadable = findings.fresh(UNREADABLE, (one.name for one in suspects if not one.readable))
        if unreadable:
            await self._set_aside(unreadable)
        if readable:
            await self._store.scrubs.note(readable, keep_rows=True)
        mends = {one.name: Mend(None, one.share) for one in suspects if one.readable}
        done = await self.replace(mends, owing=True, findings=readable)
        await findings.put_right(mends.keys() - done, GONE)
        await self._mend_from_log()

    async def counted(self, counted: Counted) -> None:
        """The rows do not make the sums that were kept."""
        state = self.state

        async def settle(copy: CopyState) -> CopyState:
            state.owed = digest.added(state.owed, digest.difference(counted.kept, counted.sums))
            return await self._store.scrubs.settle(counted, copy, state)

        await self._commits.put_right(settle)
        log.error("records do not add up", space=self._name, count=len(self.owed_buckets()))
        await self._mend_from_log()

    async def _set_aside(self, findings: Sequence[Finding]) -> None:
        async def work(copy: CopyState) -> CopyState:
            after = await self._store.scrubs.set_aside(findings, copy)
            self.state.owed = digest.added(self.state.owed, digest.difference(copy.digest, after.digest))
            return after

        await self._commits.put_right(work)
        self.findings.keep(findings)

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
        done, taken = await mending.replace(self._commits, self._store, mends, at)
        self.findings.keep(findings)
        if not owing:
            kept = [(bucket, digest.at(taken, bucket)) for bucket in self.owed_buckets()]
            taken = digest.moved(digest.EMPTY, kept)
        self.state.owed = digest.added(self.state.owed, taken)
        self.state.anew |= any(mends[name].record is not None for name in done)
        await self._store.scrubs.save(self.state)
        if done:
            self.changed()
        return done

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
            self.state.owed = digest.moved(self.state.owed, [(bucket, -digest.at(self.state.owed, bucket))])
            await self._store.scrubs.save(self.state)
        await self.findings.put_right(done, FROM_LOG)
        return True

    # ---- all is well again

    async def _settle(self, how: str) -> None:
        """If nothing is owed, whatever was found in the records is right again, however that came about."""
        if self.state.owed == digest.EMPTY:
            await self.findings.records_put_right(how)

    async def replaced(self) -> None:
        """A snapshot took the place of what was damaged."""
        self.state.owed = digest.EMPTY
        await self._settle(FROM_SNAPSHOT)

    async def agreed(self, device: bytes) -> None:
        """Our copy is the same as another device's: whatever was owed has been made up for, by whatever it was."""
        if self.state.owed != digest.EMPTY:
            self.state.owed = digest.EMPTY
            await self._store.scrubs.save(self.state)
        await self.findings.records_put_right(EQUAL, device)
        await self.findings.agreed(device)
        await self.begin_anew()

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
