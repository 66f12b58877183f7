"""The roster of a space: who belongs to it, since when, and how much of what those wrote who left is accepted.

A roster is a value: a function of the set of its statements, whatever order they came in. `with_statements` gives a
larger one. `lineage` says which statements are taken in, `removal` which of them count.

A removal is per admission. Of an admission that ended (removed, or void because whoever let it in was removed), every
origin has a last accepted seq: what the remover had applied, raised by whoever has applied more and says so (a vouch);
an origin that nobody named counts 0, for otherwise a fresh one would be a way back in. The maximum stands. It is an
upper bound: if the one who vouched loses its copy, nobody may ever reach it. Learning of a removal and vouching is one
step, because a copy that has applied more than is accepted can neither give it back nor hand it on [4].
PROTOCOL.md, "Members" and "What is accepted of those who left".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from hashlib import blake2b
from itertools import chain

from msgspec import Struct

from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.acceptance import Accepted, ClosedFork, accepted
from peerd.core.roster.lineage import Entry, Lineage
from peerd.core.roster.removal import Verdict, judge
from peerd.core.roster.room import AUTHOR
from peerd.core.roster.statements import ADMIN, GENESIS, Final, Genesis, SignedStatement, Verify, statement_id
from peerd.errors import RemoteProtocolError

PENDING = 512
_REFUSALS = 16
_DIGEST_TAG = b"peerd/1 roster\0"


class Member(Struct, frozen=True):
    """A device that belongs to the space. The founder has depth 0 and is admitted by itself."""

    device: bytes
    public_key: bytes
    sealing_key: bytes
    name: str
    role: str
    admission: bytes
    depth: int
    admitted_by: bytes


class Removal(Struct, frozen=True):
    """Why a device no longer belongs: the removal `statement` by the device `by` ended its `admission`."""

    device: bytes
    name: str
    admission: bytes
    by: bytes
    statement: bytes


class Refusal(Struct, frozen=True):
    """A statement that was offered and not taken in."""

    statement: bytes
    code: str
    message: str


class Roster:
    """What the statements of one space say together. Immutable; equal to any roster of the same statements.

    `refused` lists (at most 16) what the last `with_statements` did not take in, `pending` holds what came before
    something that it names.
    """

    def __init__(self, space: bytes, verify: Verify) -> None:
        """The roster of a space of which nothing is known yet. `verify(public_key, signature, data)` checks Ed25519."""
        self.space = space
        self.pending: tuple[SignedStatement, ...] = ()
        self.refused: tuple[Refusal, ...] = ()
        self._verify = verify
        self._lineage = Lineage(space)

    def with_statements(
        self, new: Iterable[SignedStatement], bringer: bytes | None = None
    ) -> tuple[Roster, tuple[SignedStatement, ...]]:
        """This roster and these statements, and those that are new in it, causes first: keep them in that order.
        `bringer` is the device that has handed them on: not as much of its own is taken in as from others.

        Nothing that one statement does wrong keeps the others out: see `refused`. What is pending is taken in when
        what it waits for arrives; of more than 512 the rest is forgotten, to be offered again.
        """
        lineage = self._lineage.copy()
        added: list[SignedStatement] = []
        refused: list[Refusal] = []
        waiting: dict[bytes, list[SignedStatement]] = {}
        waited = frozenset(self.pending)
        queue = list(dict.fromkeys((*self.pending, *new)))[::-1]
        while queue:
            signed = queue.pop()
            before = len(lineage.entries)
            try:
                entry = lineage.take(signed, self._verify, AUTHOR if signed in waited else bringer)
            except RemoteProtocolError as error:
                refused.append(Refusal(statement_id(signed.data), error.code, str(error)))
                continue
            if isinstance(entry, bytes):
                waiting.setdefault(entry, []).append(signed)
            elif len(lineage.entries) > before:
                added.append(signed)
                queue.extend(waiting.pop(entry.id, ()))
        larger = Roster(self.space, self._verify)
        larger.pending = tuple(chain.from_iterable(waiting.values()))[:PENDING]
        larger.refused = tuple(refused[:_REFUSALS])
        larger._lineage = lineage
        return larger, tuple(added)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Roster):
            return NotImplemented
        return self.space == other.space and self._lineage.entries.keys() == other._lineage.entries.keys()

    def __hash__(self) -> int:
        return hash(self.digest())

    def __len__(self) -> int:
        return len(self._lineage.entries)

    # ---- the set

    @property
    def statements(self) -> tuple[SignedStatement, ...]:
        """All of them, causes first."""
        return tuple(entry.signed for entry in self._lineage.entries.values())

    def ids(self) -> list[bytes]:
        return sorted(self._lineage.entries)

    def heads(self) -> tuple[bytes, ...]:
        """The ids of the statements without successors, sorted."""
        return tuple(sorted(self._lineage.tips))

    @cached_property
    def _digest(self) -> bytes:
        return blake2b(_DIGEST_TAG + b"".join(self.ids()), digest_size=32).digest()[:16]

    def digest(self) -> bytes:
        """16 bytes that two rosters share if they are equal."""
        return self._digest

    def missing_from(self, ids: Collection[bytes]) -> tuple[SignedStatement, ...]:
        """What somebody who has these statements lacks, causes first."""
        theirs = ids if isinstance(ids, set | frozenset) else frozenset(ids)
        return tuple(entry.signed for one, entry in self._lineage.entries.items() if one not in theirs)

    def up_to(self, statement: bytes) -> tuple[SignedStatement, ...]:
        """One of them and all that its author knew, causes first: what somebody needs who is to believe it."""
        last = self._lineage.entries[statement]
        return tuple(one.signed for one in self._lineage.entries.values() if one is last or last.saw(one))

    # ---- the members

    @cached_property
    def _verdict(self) -> Verdict:
        return judge(self._lineage)

    @cached_property
    def name(self) -> str:
        """What the founder called the space; "" while the genesis is not here."""
        genesis = self._genesis
        return genesis.body.name if genesis and isinstance(genesis.body, Genesis) else ""

    @cached_property
    def _genesis(self) -> Entry | None:
        return next((one for one in self._lineage.entries.values() if one.statement.kind == GENESIS), None)

    @cached_property
    def members(self) -> dict[bytes, Member]:
        """By device. Of several admissions of one device that are open the least deep is shown."""
        members = {}
        for device, admissions in self._lineage.admissions.items():
            live = [one for one in admissions if self.is_open(one)]
            if live:
                members[device] = _member(min(live, key=lambda one: (one.depth, one.id)))
        return members

    @cached_property
    def removed(self) -> dict[bytes, Removal]:
        """The devices that once belonged and have no open admission any more."""
        return {
            device: self._removal(admissions)
            for device, admissions in self._lineage.admissions.items()
            if device not in self.members
        }

    @cached_property
    def admissions(self) -> dict[bytes, bytes]:
        """Of every device that belongs, or once did, the admission that is open or that ended last."""
        ended = {device: removal.admission for device, removal in self.removed.items()}
        return ended | {device: member.admission for device, member in self.members.items()}

    @property
    def standing_removals(self) -> tuple[Entry, ...]:
        """Those that stand, also of devices that were let in again since; causes first."""
        return tuple(one for one in self._lineage.removals if one.id in self._verdict.standing)

    def removed_last(self, count: int) -> tuple[bytes, ...]:
        """So many of the devices that were removed, those first of whose removal we heard last."""
        heard = {device: self._lineage.entries[one.statement].index for device, one in self.removed.items()}
        return tuple(sorted(heard, key=heard.__getitem__, reverse=True)[:count])

    def is_member(self, device: bytes) -> bool:
        return device in self.members

    def was_removed(self, device: bytes) -> bool:
        """Has it belonged before, whether it was let in again or not?"""
        return not all(map(self.is_open, self._lineage.admissions.get(device, ())))

    def ended(self, device: bytes) -> tuple[bytes, ...]:
        """The admissions of this device that are over, by id."""
        return tuple(one.id for one in self._lineage.admissions.get(device, ()) if not self.is_open(one))

    def open(self, device: bytes) -> tuple[bytes, ...]:
        """Those that are not; more than one if members let it in who knew nothing of each other."""
        return tuple(one.id for one in self._lineage.admissions.get(device, ()) if self.is_open(one))

    def goes_on(self, member: Member) -> bool:
        """Does this membership, of a smaller roster, go on: did nothing end its admission?"""
        admission = self.entry(member.admission)
        return admission is not None and self.is_open(admission)

    def is_admin(self, device: bytes) -> bool:
        member = self.members.get(device)
        return member is not None and member.role == ADMIN

    def public_key(self, device: bytes) -> bytes | None:
        """The Ed25519 key of a device that belongs or once belonged; what it wrote must still be verified."""
        admissions = self._lineage.admissions.get(device, ())
        return next((one.card.public_key for one in admissions if one.card), None)

    def is_open(self, admission: Entry) -> bool:
        """Does it count, and does no removal that stands end it?"""
        return self._verdict.is_open(admission)

    def _ended_by(self, admission: Entry) -> Entry:
        return self._verdict.ended.get(admission.id) or self._verdict.void[admission.id]

    def _removal(self, admissions: tuple[Entry, ...]) -> Removal:
        """The last of the removals of a device, and the last of the admissions that it ended; of several that are
        concurrent the one with the smallest id.
        """
        ends = [(self._ended_by(one), one) for one in admissions]
        last = [(by, one) for by, one in ends if not any(other.saw(by) for other, _ in ends)]
        by = min((by for by, _ in last), key=lambda one: one.id)
        ended = [one for other, one in last if other is by]
        admission = min((one for one in ended if not any(other.saw(one) for other in ended)), key=lambda one: one.id)
        name = admission.card.name if admission.card else ""
        return Removal(admission.device, name, admission.id, by.statement.author, by.id)

    # ---- what is accepted

    @cached_property
    def _accepted(self) -> Accepted:
        return accepted(self._lineage, self._verdict)

    def limit_of(self, origin: bytes, announcement: Announcement) -> int | None:
        """The last seq of `origin` that is accepted, None if all are. The announcement must be the origin's."""
        admission = self._lineage.entries.get(announcement.admission)
        if admission is None or admission.card is None or admission.device != announcement.device:
            return 0
        if self.is_open(admission):
            return None
        final = self._accepted.finals.get(origin)
        return final.seq if final else 0

    def limit(self, announcement: Announcement) -> int | None:
        """The last accepted seq of the origin that is announced so; None if there is no limit."""
        return self.limit_of(origin_of(self.space, announcement), announcement)

    def accepts(self, announcement: Announcement, seq: int) -> bool:
        """May this transaction of the announced origin be applied, whoever hands it on?"""
        limit = self.limit(announcement)
        return limit is None or seq <= limit

    def final(self, origin: bytes) -> Final | None:
        """Where an ended origin ends, as far as anybody has said: the last accepted seq and the hash there."""
        return self._accepted.finals.get(origin)

    def forks(self, origin: bytes) -> tuple[ClosedFork, ...]:
        """Where the origin went two ways, and which stands, as closes say; in the order of their seqs."""
        return self._accepted.forks.get(origin, ())

    @property
    def closed_forks(self) -> tuple[ClosedFork, ...]:
        return tuple(chain.from_iterable(self._accepted.forks.values()))

    def is_closed(self, origin: bytes) -> bool:
        """Nobody writes to it any more, its own device least of all."""
        return origin in self._accepted.closed

    # ---- for the rules that stand on it (epochs, new statements)

    def entries(self) -> Iterable[Entry]:
        """Every statement with what was worked out about it, causes first."""
        return self._lineage.entries.values()

    def counts(self, entry: Entry) -> bool:
        return entry.id not in self._verdict.void

    def entry(self, statement: bytes) -> Entry | None:
        return self._lineage.entries.get(statement)

    def speaks_under(self, device: bytes) -> Entry | None:
        """The admission under which a statement that this device makes now would be read."""
        return self._lineage.acting(device, (1 << len(self)) - 1)


def _member(admission: Entry) -> Member:
    card = admission.card
    assert card is not None  # noqa: S101 - only admissions get here, and they have one
    sponsor = admission.statement.author
    return Member(
        admission.device,
        card.public_key,
        card.sealing_key,
        card.name,
        admission.role,
        admission.id,
        admission.depth,
        sponsor,
    )
