"""The scrub of one copy: slow, in small steps, and what it finds is put right from the log where the log has it.

What a round looks for, and what `owed` means, stands in `peerd.core.scrub`. Records that are not what was written are
found as their rows are read; rows that are gone, or were changed together with their share, when the round is over and
everything is added up. The log is asked first: a whole one says what all records of a bucket are; what another makes of
a record is right if it makes up for exactly what the bucket is owed. What is left then is asked of other devices
(`engine.repairs`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import ReadClock
from peerd.core.copy import CopyState
from peerd.core.device_id import short_id
from peerd.core.evidence import Gathering
from peerd.core.record import Record
from peerd.core.record_form import bucket_of
from peerd.core.scrub import (
    CHANGED,
    DIFFERS,
    DIVERGED,
    FINDINGS,
    LOG,
    MISSING,
    NO_RECORDS,
    UNREADABLE,
    Finding,
    ScrubState,
    Suspect,
)
from peerd.engine import mending
from peerd.engine.commits import Commits
from peerd.engine.mending import Mend
from peerd.engine.ports import Times
from peerd.engine.store_ports import SpaceStore
from peerd.errors import StoreError
from peerd.logs import get

log = get(__name__)

STEP_ROWS = 100  # in about a millisecond
STEP_BYTES = 256 << 10
STEP_RUNS_BYTES = 128 << 10
PAUSE_S = 0.02
PAUSE_AT_ONCE_S = 0.001
WITHIN_S = 20.0
ALARM_S = 600.0
BUCKETS_AT_ONCE = 8
KEPT_MS = 30 * 24 * 3600 * 1000
FROM_LOG = "log"
FROM_SNAPSHOT = "snapshot"
FROM_PEER = "peer"
AGAIN = "again"  # and what stood here was written again, beside it
GONE = "gone"  # written over meanwhile
EQUAL = "equal"  # found to be the same as another device has


class Scrubbing:
    """`copy_id` gives the id of the copy. `changed` is called when something was found that the log alone does not put
    right, and when rows were changed: the digest may say something else than others were told. `renamed` is called when
    the copy has got another id, since rows were put right.
    """

    def __init__(
        self, name: str, commits: Commits, store: SpaceStore, times: Times, copy_id: Callable[[], bytes]
    ) -> None:
        self.state = ScrubState()
        self.findings: list[Finding] = []
        self.end = 0  # what there is to look at in a round, as far as it is known
        self.changed: Callable[[], None] = lambda: None
        self.renamed: Callable[[bytes], None] = lambda _: None
        self._name = name
        self._commits = commits
        self._store = store
        self._times = times
        self._copy_id = copy_id
        self._lock = asyncio.Lock()
        self._over = False
        self._alarmed_s: float | None = None
        self._round: asyncio.Task[None] | None = None
        self.trouble: StoreError | None = None  # what kept it from going on, the last time

    async def open(self) -> None:
        self.state, self.findings = await self._store.scrubs.load()

    async def close(self) -> None:
        """Stop at the end of the step."""
        self._over = True
        if self._round is not None:
            await asyncio.wait({self._round})
        async with self._lock:
            pass

    # ---- what it finds

    @property
    def open_findings(self) -> list[Finding]:
        return [one for one in self.findings if not one.done]

    @property
    def is_damaged(self) -> bool:
        """Is something known to be missing or wrong in the records of this copy?"""
        return self.state.owed != digest.EMPTY or any(one.found not in NO_RECORDS for one in self.open_findings)

    def owed_buckets(self) -> list[int]:
        return digest.differing(self.state.owed, digest.EMPTY)

    # ---- rounds

    async def some(self, share: float) -> None:
        """So much of a round (1.0: as much as a whole one), with pauses. Raises StoreError."""
        async with self._at_work():
            await self._begin()
            left = share * max(1, self.end)
            while left > 0 and not self._over:
                looked = await self._step(left)
                left -= max(1, looked)
                if looked < 0:
                    await self._finish(at_once=False)
                    break
                await asyncio.sleep(PAUSE_S)
            await self._store.scrubs.save(self.state)

    def alarm(self) -> None:
        """Something in the database could not be read: look at all of it now, unless that was done just now."""
        now_s = self._times.monotonic_s()
        if self._over or self.running or (self._alarmed_s is not None and now_s - self._alarmed_s < ALARM_S):
            return
        self._alarmed_s = now_s
        self._round = asyncio.create_task(self.round(), name="scrub")
        self._round.add_done_callback(self._alarm_over)

    def _alarm_over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.warning("scrub failed", space=self._name, cause=str(problem))

    @property
    def running(self) -> bool:
        return self._round is not None and not self._round.done()

    async def now(self, within_s: float = WITHIN_S) -> None:
        """Begin a round at once, unless one is under way, and wait so long for its end. Raises StoreError."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self.round(), name="scrub")
        done, _ = await asyncio.wait({self._round}, timeout=within_s)
        for round_ in done:
            round_.result()

    async def round(self) -> None:
        """All of it, from the beginning, with hardly a pause. Raises StoreError."""
        async with self._at_work():
            self.state.begin(self._copy_id())
            while not self._over:
                if await self._step(STEP_ROWS) < 0:
                    break
                await asyncio.sleep(PAUSE_AT_ONCE_S)
            if not self._over:
                await self._finish(at_once=True)
            await self._store.scrubs.save(self.state)

    @asynccontextmanager
    async def _at_work(self) -> AsyncGenerator[None, None]:
        async with self._lock:
            try:
                yield
            except StoreError as problem:
                self.trouble = problem
                raise
            self.trouble = None

    async def _begin(self) -> None:
        if self.state.copy_id != self._copy_id():
            if self.state.copy_id:  # a snapshot took the place of what was damaged
                self.state.owed = digest.EMPTY
                await self.settle_findings(FROM_SNAPSHOT)
            self.state.begin(self._copy_id())
        if not self.end:
            rows = await self._store.scrubs.rows(self.state.row, 1, 0)
            self.end = rows.end + self._commits.last_position

    async def _step(self, most: float) -> int:
        """Look at some records, or after them at some runs. Gives how many; -1 if there are no more."""
        state, scrubs = self.state, self._store.scrubs
        if not state.rows_done:
            rows = await scrubs.rows(state.row, max(1, min(STEP_ROWS, round(most))), STEP_BYTES)
            state.row, state.rows_done = rows.last, not rows.more
            state.records += rows.records
            self.end = rows.end + self._commits.last_position
            if rows.suspects:
                state.found += len(rows.suspects)
                await self._suspected(rows.suspects)
            return rows.records
        runs = await scrubs.runs(state.run, STEP_RUNS_BYTES, self._commits.verify)
        state.run = runs.last
        state.runs += runs.runs
        if runs.broken:
            state.found += len(runs.broken)
            names = [("", f"{run.origin.hex()} {run.first}") for run in runs.broken]
            await self._note(self._fresh(LOG, names))
            self.changed()
        return runs.runs if runs.more else -1

    async def _finish(self, *, at_once: bool) -> None:
        """Everything was looked at: does it add up?"""
        state, scrubs = self.state, self._store.scrubs
        counted = await scrubs.count(at_once=at_once)
        if not counted.agrees:
            state.found += len(digest.differing(counted.sums, counted.kept))

            async def settle(copy: CopyState) -> CopyState:
                state.owed = digest.added(state.owed, digest.difference(counted.kept, counted.sums))
                return await scrubs.settle(counted, copy, state)

            await self._commits.put_right(settle)
            log.error("records do not add up", space=self._name, count=len(self.owed_buckets()))
            await self._mend_from_log()
        await self._begin_anew()
        state.end(self._times.wall_ms())
        state.begin(self._copy_id())
        await self.forget()
        log.info("copy scrubbed", space=self._name, count=state.last_records, state=f"{state.last_found} found")

    # ---- what was found

    async def _suspected(self, suspects: Sequence[Suspect]) -> None:
        """The digest is made to say what is stored, before anybody takes it for the truth."""
        readable = self._fresh(CHANGED, (one.name for one in suspects if one.readable))
        unreadable = self._fresh(UNREADABLE, (one.name for one in suspects if not one.readable))
        if unreadable:
            await self._set_aside(unreadable)
        if readable:
            await self._store.scrubs.note(readable, keep_rows=True)
        mends = {one.name: Mend(None, one.share) for one in suspects if one.readable}
        done = await self.replace(mends, owing=True, findings=readable)
        await self.put_right(mends.keys() - done, GONE)
        await self._mend_from_log()

    async def _set_aside(self, findings: Sequence[Finding]) -> None:
        async def work(copy: CopyState) -> CopyState:
            after = await self._store.scrubs.set_aside(findings, copy)
            self.state.owed = digest.added(self.state.owed, digest.difference(copy.digest, after.digest))
            return after

        await self._commits.put_right(work)
        self._keep(findings)

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
        self._keep(findings)
        if not owing:
            kept = [(bucket, digest.at(taken, bucket)) for bucket in self.owed_buckets()]
            taken = digest.moved(digest.EMPTY, kept)
        self.state.owed = digest.added(self.state.owed, taken)
        self.state.anew |= any(mends[name].record is not None for name in done)
        await self._store.scrubs.save(self.state)
        if done:
            self.changed()
        return done

    async def _begin_anew(self) -> None:
        """Rows were put right that no transaction names: feeds and bindings begin anew, once all is well. Not before: a
        record that is missing here was not deleted.
        """
        state = self.state
        if not state.anew or self.is_damaged:
            return
        copy_id = self._times.random_bytes(16)
        state.anew, state.copy_id = False, copy_id if state.copy_id else b""
        await self._store.scrubs.begin_anew(copy_id, state)
        self.renamed(copy_id)

    async def _mend_from_log(self) -> None:
        """As far as the log goes. A few buckets at a time, since each may have thousands of records."""
        owed = self.owed_buckets()
        for start in range(0, len(owed), BUCKETS_AT_ONCE):
            buckets = owed[start : start + BUCKETS_AT_ONCE]
            suspects = [one.name for one in self.open_findings if one.found not in NO_RECORDS]
            gathering = await mending.gather(self._commits, self._store, names=suspects, buckets=buckets)
            here = await mending.names_in(self._store, buckets) if gathering.whole else []
            for bucket in buckets:
                of_bucket = [name for name in dict.fromkeys([*gathering.traces, *here]) if bucket_of(*name) == bucket]
                known = [name for name in of_bucket if name in suspects]
                if gathering.whole or not (known and await self._make_up(bucket, known, gathering)):
                    await self._make_up(bucket, of_bucket, gathering)
        await self.settle_findings(FROM_LOG)
        await self._begin_anew()
        if self.is_damaged:
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
        await self._note(self._fresh(MISSING, (name for name, one in mends.items() if not one.share)))
        await self._note(self._fresh(DIFFERS, (name for name, one in mends.items() if one.share)))
        done = await self.replace(mends, owing=True, at=gathering.clock)
        if gathering.whole and done == mends.keys():
            self.state.owed = digest.moved(self.state.owed, [(bucket, -digest.at(self.state.owed, bucket))])
            await self._store.scrubs.save(self.state)
        await self.put_right(done, FROM_LOG)
        return True

    # ---- findings

    async def diverged(self, device: bytes) -> None:
        """Our copy and another device's are not the same, at equal clocks: told once, until they are."""
        known = (one for one in self.open_findings if one.found == DIVERGED)
        if not any(one.device == device for one in known):
            number = max((one.id for one in self.findings), default=0) + 1
            await self._note([Finding(number, self._times.wall_ms(), DIVERGED, device=device)])

    async def agreed(self, device: bytes) -> None:
        """Our copy is the same as another device's: whatever was owed has been made up for, by whatever it was."""
        if self.state.owed != digest.EMPTY:
            self.state.owed = digest.EMPTY
            await self._store.scrubs.save(self.state)
        await self.put_right({one.name for one in self.open_findings if one.found not in NO_RECORDS}, EQUAL, device)
        over = [one for one in self.open_findings if one.found == DIVERGED and one.device == device]
        for one in over:
            one.done = EQUAL
        if over:
            await self._store.scrubs.note(over)
        await self._begin_anew()

    def suspects(self, name: Name) -> bool:
        """Is what we hold of a record known to be damaged?"""
        return any(one.name == name and one.found not in NO_RECORDS for one in self.open_findings)

    def doubts(self, name: Name) -> bool:
        """Is it, or is it in a part of the copy that is?"""
        return digest.at(self.state.owed, bucket_of(*name)) != 0 or self.suspects(name)

    def _fresh(self, found: str, names: Iterable[Name], device: bytes | None = None) -> list[Finding]:
        known = {one.name for one in self.open_findings}
        number = max((one.id for one in self.findings), default=0)
        now_ms = self._times.wall_ms()
        wanted = [name for name in dict.fromkeys(names) if name not in known][:FINDINGS]
        return [Finding(number + index, now_ms, found, *name, device) for index, name in enumerate(wanted, start=1)]

    async def found(self, found: str, names: Iterable[Name], device: bytes, done: str = "") -> None:
        """Something was found out beside another device, and put right if `done` says how."""
        findings = self._fresh(found, names, device)
        for one in findings:
            one.done = done
        await self._note(findings)

    async def _note(self, findings: Sequence[Finding], *, keep_rows: bool = False) -> None:
        if findings:
            await self._store.scrubs.note(findings, keep_rows=keep_rows)
            self._keep(findings)

    def _keep(self, findings: Sequence[Finding]) -> None:
        self.findings += findings
        for one in findings:
            what = f"{one.collection} {one.key}".strip()
            device = None if one.device is None else short_id(one.device)
            log.error("damage found", space=self._name, key=what, cause=one.found, device=device)

    async def put_right(self, names: Collection[Name], how: str, device: bytes | None = None) -> None:
        """These are as they should be."""
        changed = [one for one in self.open_findings if one.name in names]
        for one in changed:
            one.done, one.device = how, device or one.device
            log.info("damage repaired", space=self._name, key=f"{one.collection} {one.key}", cause=how)
        if changed:
            await self._store.scrubs.note(changed)

    async def settle_findings(self, how: str) -> None:
        """If nothing is owed, whatever was found in the records is right again, however that came about."""
        if self.state.owed == digest.EMPTY:
            await self.put_right({one.name for one in self.open_findings if one.found not in NO_RECORDS}, how)

    async def forget(self) -> None:
        """Findings are told for 30 days of daemon time."""
        first = await self._store.scrubs.forget(KEPT_MS)
        self.findings = [one for one in self.findings if one.id >= first] if first else []
