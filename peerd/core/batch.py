"""Everything that one SQL transaction does to a copy, decided without touching anything.

A batch starts from a `CopyState`, reads stored records through a `Reader`, takes runs of others and transactions of
our own, and ends in `Writes`. If the commit fails, nothing has happened: the state it began with is still true.

    run of another     known origin → accepted by the roster → next in line → chain and signature → context covered
                       here, with the same hashes → applied; or it waits, is known already, or is refused
    own transaction    one entry; entries between two foreign runs form a run, signed at its end
    afterwards         parked records that are ours to restore get their births back, in a run of our own
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from peerd.core import chain, entry, limits
from peerd.core.chain import Run
from peerd.core.clocks import Dot, ReadClock, covers
from peerd.core.copy import CopyState, context_before
from peerd.core.entry import Change, Entry, Head, Kind
from peerd.core.origin import Announcement
from peerd.core.plain_put import PlainPut
from peerd.core.record import NOTHING_DROPPED, Dropped, Lone, Record, Stamp, apply_change
from peerd.core.record_form import encode_lone
from peerd.core.restore import Image
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.roster.statements import Final

Name = tuple[str, str]


class Stored(Struct, frozen=True, gc=False):
    """A record as the store holds it, and its share of the digest. `counted`: among the visible ones, by what was said
    when it was written; a record that is damaged may look otherwise. `found`: what its share would be as it is, if that
    is another one; then it is not what was written.
    """

    record: Record
    share: int
    counted: bool
    found: int | None = None


class Reader(Protocol):
    """What a batch reads of the store, inside its transaction."""

    def records(self, names: Iterable[Name]) -> Mapping[Name, Stored]: ...

    def images(self, names: Iterable[Name]) -> Mapping[Name, Image]: ...

    def hash8(self, origin: bytes, seq: int) -> bytes | None:
        """The kept hash of a run end; None if none is kept there."""
        ...

    def passes(self, origin: bytes, seq: int) -> bool:
        """Does a run of the log go on past `seq`, having begun before or at it?"""
        ...


class Author(Struct, frozen=True):
    """Who writes here: the open origin of this copy, and its key."""

    origin: bytes
    announcement: Announcement
    sign: Callable[[bytes], bytes]


class Verdict(Enum):
    APPLIED = "applied"
    KNOWN = "known"
    WAITING = "waiting"  # something it depends on is missing
    REFUSED = "refused"  # its author was removed before it, or it is of a variant that does not stand
    UNKNOWN_ORIGIN = "unknown origin"


class Fork(Exception):
    """Two different histories claim one position of an origin."""

    def __init__(self, origin: bytes, seq: int) -> None:
        super().__init__(f"two histories of origin {origin.hex()} at {seq}")
        self.origin = origin
        self.seq = seq


class Doubt(Fork):
    """Nothing tells whether two copies hold one history of an origin up to a position: the log of that time is gone."""

    def __init__(self, origin: bytes, seq: int) -> None:
        super().__init__(origin, seq)
        self.args = (f"perhaps two histories of origin {origin.hex()} at {seq}",)


class Forged(ValueError):
    """A signature or an entry that no honest author makes."""


class AppliedRun(Struct, frozen=True):
    run: Run
    head: bytes  # hₙ at its last entry


class HistoryRow(Struct, frozen=True):
    """What one change dropped, and by whom."""

    name: Name
    dropped: Dropped
    by: Dot


class Batch:
    """One SQL transaction's worth of decisions. `limit_of(announcement)` is the last accepted seq of an origin
    (None: no limit); `verify(device, signature, data)` checks against the roster's key of that device; `forks_of` says
    where an origin went two ways, and which of them is accepted.
    """

    def __init__(
        self,
        state: CopyState,
        reader: Reader,
        limit_of: Callable[[bytes, Announcement], int | None],
        verify: Callable[[bytes, bytes, bytes], bool],
        forks_of: Callable[[bytes], Sequence[ClosedFork]] = lambda _: (),
    ) -> None:
        self.before = state
        self.state = state
        self.records: dict[Name, Record | None] = {}
        self.stored: dict[Name, tuple[int, bool]] = {}  # share of the digest before, and if it was counted as visible
        self.unsound: dict[Name, int] = {}  # by how much the share of what was written differs from what is there
        self.touched: dict[Name, None] = {}
        self.runs: list[AppliedRun] = []
        self.history: list[HistoryRow] = []
        self.images: dict[Name, Image] = {}  # of what was deleted here
        self._open: _OpenRun | None = None
        self._reader = reader
        self._limit_of = limit_of
        self._verify = verify
        self._forks_of = forks_of

    # ---- records

    def load(self, names: Iterable[Name]) -> None:
        """Read the records that are not here yet, in one go."""
        wanted = {name for name in names if name not in self.records}
        if not wanted:
            return
        found = self._reader.records(wanted)
        for name in wanted:
            stored = found.get(name)
            if stored is None:
                self.records[name] = None
            else:
                self.records[name] = stored.record
                self.stored[name] = stored.share, stored.counted
                if stored.found is not None:
                    self.unsound[name] = stored.share - stored.found

    def image(self, name: Name) -> Image | None:
        """What the record looked like when it was last visible, as far as anybody here remembers."""
        return self.images.get(name) or self._reader.images([name]).get(name)

    def past(self, name: Name, before: Mapping[str, Mapping[Dot, bytes]]) -> dict[str, dict[Dot, bytes]]:
        """What was dropped of the record, in the order in which it went: first `before`, then by this batch."""
        gone = {field: dict(values) for field, values in before.items()}
        for row in self.history:
            if row.name == name:
                for field, values in row.dropped.fields.items():
                    gone.setdefault(field, {}).update(values)
        return gone

    # ---- runs of others

    def take(self, run: Run, entries: Sequence[Entry | PlainPut], known: ReadClock | None = None) -> Verdict:
        """Apply a run of another device, if it is its turn. `entries` are the decoded entries of the run. `known`: so
        far whoever brings it is known to hold our history of each origin; None: it need not be.

        Raises:
            Fork: it was written on another history than ours; a Doubt: perhaps it was, and our log no longer tells.
            Forged: the chain or the signature does not hold, or no honest author makes such a run.
        """
        _check_shape(run, entries)
        theirs = self.state.origins.get(run.origin)
        if theirs is None:
            return Verdict.UNKNOWN_ORIGIN
        if run.last <= theirs.seq:
            return Verdict.KNOWN
        limit = self._limit_of(run.origin, theirs.announcement)
        if limit is not None and run.last > limit:
            return Verdict.REFUSED
        if run.first > theirs.seq + 1:
            return Verdict.WAITING
        forks = self._forks_of(run.origin)
        if run.first <= theirs.seq:
            if forks:  # of the variant that does not stand, or ours does not: a recopy settles that
                return Verdict.REFUSED
            raise Fork(run.origin, theirs.seq)
        head = self._check_signature(run, theirs.head, theirs.announcement.device)
        if any(fork.seq + 1 == run.first and fork.stands != Final(run.last, head[:8]) for fork in forks):
            return Verdict.REFUSED
        delta = entries[0].delta
        if any(named.seq <= theirs.context.get(named.origin, 0) for named in delta):
            raise Forged("a context goes back")
        if any(named.seq > self.state.seq(named.origin) for named in delta):
            return Verdict.WAITING
        if not self._is_of_ours(delta, known):
            return Verdict.REFUSED
        self.close_run()
        self._apply_run(run, head, entries)
        return Verdict.APPLIED

    def _is_of_ours(self, delta: Iterable[Head], known: ReadClock | None) -> bool:
        """Did its author see what we have? False: of an origin of which a close names the variants it saw another one.
        Raises Fork: likewise without a close; nobody may count as having seen what perhaps was another transaction.
        """
        for head in delta:
            at = self.state.origins[head.origin]
            ours = at.head[:8] if at.seq == head.seq else self._hash8(head.origin, head.seq)
            if self._is_inside(head) if ours is None else ours != head.hash8:
                if self._forks_of(head.origin):
                    return False
                raise Fork(head.origin, head.seq)
            if ours is None and known is not None and known.get(head.origin, 0) < head.seq < at.horizon:
                raise Doubt(head.origin, head.seq)
        return True

    def _is_inside(self, head: Head) -> bool:
        """Is it inside one of our runs? They travel whole: nobody who has our history has seen a part of one."""
        here = (applied.run for applied in self.runs if applied.run.origin == head.origin)
        return any(run.first <= head.seq < run.last for run in here) or self._reader.passes(head.origin, head.seq)

    def _hash8(self, origin: bytes, seq: int) -> bytes | None:
        for applied in self.runs:
            if applied.run.origin == origin and applied.run.last == seq:
                return applied.head[:8]
        return self._reader.hash8(origin, seq)

    def _check_signature(self, run: Run, previous: bytes, device: bytes) -> bytes:
        head = chain.hash_after(previous, run.entries)
        data = chain.signed_bytes(self.state.space, run.origin, run.last, head)
        if not self._verify(device, run.signature, data):
            raise Forged(f"the signature of a run of {run.origin.hex()} does not hold")
        return head

    # ---- our own transactions

    def write(self, author: Author, changes: Sequence[Change], t_ms: int, tq: int) -> Dot:
        """Author one transaction and apply it; `close_run` must follow before the batch ends. The records that it
        names must be loaded. Gives its dot.

        Raises:
            ValueError: the entry breaks a limit that every receiver enforces; nothing was applied.
        """
        self.state = self.state.with_origin(author.origin, author.announcement)
        fresh = Entry(
            entry.FORMAT, t_ms, tq, () if self._open else self._new_heads(author.origin), None, tuple(changes)
        )
        encoded = entry.encode(fresh)
        entry.check(fresh, encoded)
        if len(encoded) > limits.ENTRY_BYTES:
            raise ValueError("a transaction is larger than 64 MiB")
        if self._open and self._open.is_full(len(encoded)):
            self.close_run()
        if self._open is None:
            self._open = _OpenRun(author, self.state.seq(author.origin) + 1)
        at = self.state.origins[author.origin]
        context = context_before(at, author.origin, {head.origin: head.seq for head in fresh.delta})
        dot = Dot(author.origin, at.seq + 1)
        self._apply(fresh, dot, context)
        self._open.add(encoded)
        self._move(author.origin, dot.seq, chain.next_hash(at.head, encoded), context)
        return dot

    def close_run(self) -> None:
        """Sign what was written since the last foreign run."""
        if self._open is None:
            return
        author, first, entries = self._open.author, self._open.first, tuple(self._open.entries)
        at = self.state.origins[author.origin]
        signature = author.sign(chain.signed_bytes(self.state.space, author.origin, at.seq, at.head))
        self.runs.append(AppliedRun(Run(author.origin, first, entries, signature), at.head))
        self._open = None

    def _new_heads(self, own: bytes) -> tuple[Head, ...]:
        """What our next entry has seen that our last one had not."""
        seen = self.state.origins[own].context
        return tuple(
            Head(origin, at.seq, at.head[:8])
            for origin, at in self.state.origins.items()
            if origin != own and at.seq > seen.get(origin, 0)
        )

    # ---- applying

    def _apply_run(self, run: Run, head: bytes, entries: Sequence[Entry | PlainPut]) -> None:
        self.load([name for decoded in entries for name in decoded.records])
        at = self.state.origins[run.origin]
        context = context_before(at, run.origin, {named.origin: named.seq for named in entries[0].delta})
        for seq, decoded in enumerate(entries, run.first):
            dot = Dot(run.origin, seq)
            if isinstance(decoded, PlainPut) and self.records[decoded.record] is None:
                self.records[decoded.record] = Record.put(Lone(dot, Stamp(decoded.t_ms, decoded.tq), decoded.body))
                self.touched[decoded.record] = None
                continue
            context[run.origin] = seq - 1
            self._apply(decoded, dot, context)
        self._move(run.origin, run.last, head, context)
        self.runs.append(AppliedRun(run, head))

    def _move(self, origin: bytes, seq: int, head: bytes, context: dict[bytes, int]) -> None:
        context.pop(origin, None)
        moved = replace(self.state.origins[origin], seq=seq, head=head, context=context)
        self.state = replace(self.state, origins={**self.state.origins, origin: moved})

    def _apply(self, decoded: Entry | PlainPut, dot: Dot, context: Mapping[bytes, int]) -> None:
        stamp = Stamp(decoded.t_ms, decoded.tq)
        for change in decoded.changes:
            self._change(change, dot, stamp, context)

    def _change(self, change: Change, dot: Dot, stamp: Stamp, context: Mapping[bytes, int]) -> None:
        name = change.record
        record = self.records[name]
        self.touched[name] = None
        if record is None:
            if change.kind == Kind.PUT:
                self.records[name] = Record.put(Lone(dot, stamp, encode_lone(change.set)))
                return
            record = self.records[name] = Record()
        is_delete = change.kind == Kind.DELETE
        looked_like = record.winners() if is_delete and record.births else None
        dropped = apply_change(record, change, dot, stamp, context)
        if dropped is not NOTHING_DROPPED:
            self.history.append(HistoryRow(name, dropped, dot))
        if looked_like is not None and not record.births:
            self.images[name] = Image(looked_like, dot)

    def unsound_left(self) -> dict[Name, int]:
        """Of `unsound` those touched records that still hold something from before: the others were written anew."""
        before = self.before.clock()
        return {
            name: difference
            for name, difference in self.unsound.items()
            if name in self.touched
            and (record := self.records[name]) is not None
            and any(covers(before, dot) for dot in record.dots())
        }

    def parked(self) -> list[Name]:
        """The touched records that stand parked now."""
        return [name for name in self.touched if (record := self.records[name]) is not None and record.parked]


def _check_shape(run: Run, entries: Sequence[Entry | PlainPut]) -> None:
    if run.first < 1 or run.last > limits.INT64_MAX or not run.entries:
        raise Forged("a run without a beginning, or beyond the last seq that there is")
    if len(run.entries) > limits.RUN_ENTRIES:
        raise Forged("a run of more than 1,000 entries")
    if len(run.entries) > 1 and sum(map(len, run.entries)) > limits.RUN_BYTES:
        raise Forged("a run of several entries that is larger than 256 KiB")
    if any(named.origin == run.origin for named in entries[0].delta):
        raise Forged("an entry names its own origin as seen")
    if any(following.delta for following in entries[1:]):
        raise Forged("only the first entry of a run may name new heads")


class _OpenRun:
    """Our entries since the last signature."""

    def __init__(self, author: Author, first: int) -> None:
        self.author = author
        self.first = first
        self.entries: list[bytes] = []
        self._size_bytes = 0

    def add(self, encoded: bytes) -> None:
        self.entries.append(encoded)
        self._size_bytes += len(encoded)

    def is_full(self, next_bytes: int) -> bool:
        return len(self.entries) >= limits.RUN_ENTRIES or self._size_bytes + next_bytes > limits.RUN_BYTES
