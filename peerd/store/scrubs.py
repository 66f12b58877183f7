"""What a space's database does for its scrub. See the port `ScrubStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.chain import Run, hash_after, signed_bytes
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.record_form import bucket_of
from peerd.core.repair.scrub import FINDINGS, Counted, Finding, RowsChecked, RunsChecked, ScrubState, SharesRead
from peerd.core.writes import PARKED
from peerd.store import log, scrub_reading, scrub_rows
from peerd.store.database import Database, Outcome
from peerd.store.meta import Meta
from peerd.store.records import unsigned
from peerd.store.refs import Refs
from peerd.store.scrub_reading import Verify

T = TypeVar("T")

PAUSE_S = 0.002
PAUSE_AT_ONCE_S = 0.0005
_SET_ASIDE_BYTES = 1 << 20


class Scrubs:
    def __init__(self, database: Database, refs: Refs, meta: Meta) -> None:
        self._database = database
        self._refs = refs
        self._meta = meta

    # ---- reading

    async def rows(self, after: int, max_rows: int, max_bytes: int) -> RowsChecked:
        refs = self._refs
        return await self._database.read(
            lambda connection: scrub_reading.rows(connection, refs, after, max_rows, max_bytes)
        )

    async def runs(self, after: int, max_bytes: int, verify: Verify) -> RunsChecked:
        space = self._meta.space
        return await self._database.read(
            lambda connection: scrub_reading.runs(connection, space, after, max_bytes, verify)
        )

    async def shares(
        self, buckets: Collection[int], after: Name | None, up_to: Name | None, max_shares: int, max_rows: int
    ) -> SharesRead:
        chosen = frozenset(buckets)
        return await self._database.read(
            lambda connection: scrub_reading.shares(connection, chosen, after, up_to, max_shares, max_rows)
        )

    async def count(self, *, at_once: bool) -> Counted:
        """Over a connection of its own, so that nobody waits for it."""
        closing = self._database.is_closing
        pause_s = (PAUSE_AT_ONCE_S if at_once else PAUSE_S) if self._database.is_threaded else 0.0
        return await self._database.read_aside(lambda connection: scrub_reading.count(connection, closing, pause_s))

    async def run(self, origin: bytes, first: int) -> Run | None:
        """The run that begins there, if it can be read."""

        def reading(connection: sqlite3.Connection) -> Run | None:
            ref = self._refs.ref_of.get(origin)
            row = None if ref is None else scrub_reading.run_at(connection, ref, first)
            if row is None:
                return None
            try:
                return Run(origin, first, log.decode_entries(row[4]), row[3])
            except ValueError:
                return None

        return await self._database.read(reading)

    async def replace_run(self, run: Run, verify: Verify) -> bool:
        """Put a run in the place of the damaged one. False if it is not that one, or does not hold."""

        def work(connection: sqlite3.Connection) -> bool:
            ref = self._refs.ref_of.get(run.origin)
            row = None if ref is None else scrub_reading.run_at(connection, ref, run.first)
            if ref is None or row is None or row[1] != run.last:
                return False
            before = scrub_reading.head_before(connection, self._meta.space, ref, run.first)
            if before is None:
                return False
            head = hash_after(before, run.entries)
            device, seq, end = connection.execute(
                "SELECT device, seq, head FROM origin WHERE ref = ?", (ref,)
            ).fetchone()
            if run.last == seq and head != end:
                return False
            if not verify(device, run.signature, signed_bytes(self._meta.space, run.origin, run.last, head)):
                return False
            connection.execute(
                "UPDATE run SET head = ?, signature = ?, entries = ?, size_bytes = ? WHERE position = ?",
                (head, run.signature, log.encode_entries(run), run.size_bytes, row[0]),
            )
            return True

        return await self._write(work)

    async def seeds(self) -> dict[Dot, bytes]:
        refs = self._refs
        return await self._database.read(lambda connection: scrub_reading.seeds(connection, refs))

    # ---- what is kept

    async def load(self) -> tuple[ScrubState, list[Finding]]:
        return await self._database.read(scrub_rows.load)

    async def save(self, state: ScrubState) -> None:
        data = scrub_rows.encode(state)
        await self._write(lambda connection: scrub_rows.save(connection, data))

    async def note(self, findings: Sequence[Finding], *, keep_rows: bool = False) -> None:
        """Keep findings, instead of those with their ids. With `keep_rows`, also the rows as they are now."""
        await self._write(lambda connection: self._note(connection, findings, keep_rows=keep_rows))

    async def forget(self, older_than_ms: int) -> int:
        """Those findings that are older, in daemon time, and those that are too many. Gives the smallest id left."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM finding WHERE age_ms < ?", (self._meta.age.ms - older_than_ms,))
            connection.execute(
                "DELETE FROM finding WHERE id <= (SELECT id FROM finding ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (FINDINGS,),
            )
            return int(connection.execute("SELECT coalesce(min(id), 0) FROM finding").fetchone()[0])

        return await self._write(work)

    # ---- putting the copy in order

    async def begin_anew(self, copy_id: bytes, scrub: ScrubState) -> None:
        """Call the copy by another id, so that positions in it mean nothing any more, and keep `scrub`."""
        data = scrub_rows.encode(scrub)

        def work(connection: sqlite3.Connection) -> Outcome[None]:
            connection.execute("UPDATE space SET copy_id = ?", (copy_id,))
            scrub_rows.save(connection, data)

            def publish() -> None:
                self._meta.copy_id = copy_id

            return Outcome(None, published=publish)

        await self._database.write(work)

    async def set_aside(
        self, findings: Sequence[Finding], state: CopyState, owing: Callable[[CopyState], ScrubState]
    ) -> CopyState:
        """Take records that cannot be read out of the copy; their rows are kept with the findings, and what `owing`
        makes of the copy as it is then.
        """

        def work(connection: sqlite3.Connection) -> CopyState:
            self._note(connection, findings, keep_rows=True)
            steps: list[tuple[int, int]] = []
            visible = state.visible
            for finding in findings:
                number = self._refs.number_of.get(finding.collection)
                row = connection.execute(
                    "SELECT id, flags, share FROM record WHERE collection = ? AND key = ?", (number, finding.key)
                ).fetchone()
                if row is None:
                    continue
                row_id, flags, share = row
                connection.execute("DELETE FROM record WHERE id = ?", (row_id,))
                steps.append((bucket_of(finding.collection, finding.key), -unsigned(share)))
                if not flags & PARKED:
                    visible -= 1
                    connection.execute("UPDATE collection SET visible = visible - 1 WHERE number = ?", (number,))
            after = _moved(connection, replace(state, digest=digest.moved(state.digest, steps), visible=visible))
            scrub_rows.save(connection, scrub_rows.encode(owing(after)))
            return after

        return await self._write(work)

    async def settle(self, counted: Counted, state: CopyState, scrub: ScrubState) -> CopyState:
        """Let digest and counts say what the rows say, and keep `scrub`. Writes since it was counted have moved both
        alike.
        """
        data = scrub_rows.encode(scrub)

        def work(connection: sqlite3.Connection) -> CopyState:
            difference = digest.difference(counted.sums, counted.kept)
            for number, step in counted.visible.items():
                connection.execute("UPDATE collection SET visible = visible + ? WHERE number = ?", (step, number))
            scrub_rows.save(connection, data)
            visible = state.visible + sum(counted.visible.values())
            return _moved(connection, replace(state, digest=digest.added(state.digest, difference), visible=visible))

        return await self._write(work)

    def _note(self, connection: sqlite3.Connection, findings: Sequence[Finding], *, keep_rows: bool) -> None:
        for finding in findings:
            row = (None, None)
            if keep_rows:
                row = connection.execute(
                    "SELECT stamps, body FROM record WHERE collection = ? AND key = ? AND length(body) <= ?",
                    (self._refs.number_of.get(finding.collection), finding.key, _SET_ASIDE_BYTES),
                ).fetchone() or (None, None)
            connection.execute(
                "INSERT INTO finding (id, at_ms, age_ms, found, collection, key, device, done, stamps, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET done = excluded.done, device = excluded.device",
                (finding.id, finding.at_ms, self._meta.age.ms, finding.found, finding.collection, finding.key,
                 finding.device, finding.done, *row),
            )  # fmt: skip

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._database.write(lambda connection: Outcome(work(connection)))


def _moved(connection: sqlite3.Connection, state: CopyState) -> CopyState:
    connection.execute("UPDATE space SET digest = ?, visible = ?", (state.digest, state.visible))
    return state
