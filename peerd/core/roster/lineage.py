"""The statements of one roster in causal order, and what each of them stands on.

A statement is taken in when everything that it names is here, so the order of this list is one in which causes come
first. What is worked out here depends on the statement and its ancestors alone, never on what else has arrived:

    seen     everything reachable through its heads, as a set of bits
    acting   the admission under which its author speaks: of the author's admissions that it had seen, one that no
             removal it had seen would end (cover, or void), if there is such; the least deep, then the smallest id
    depth    of an admission: 0 for the founder's, one more than that of the admission its author acted under
    covers   of a removal: every admission of the device that it had seen

So all copies take in, or refuse, the same statements. Whether a statement then *counts* is decided in `removal`, from
the whole set. PROTOCOL.md, "Which statements are taken in".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from peerd.core.origin import Id16
from peerd.core.roster.room import ADMISSIONS, Rooms
from peerd.core.roster.statements import (
    ADMIN,
    ADMIT,
    EPOCH,
    GENESIS,
    REMOVE,
    TICKET,
    Admit,
    Body,
    DeviceCard,
    Epoch,
    Genesis,
    Remove,
    SignedStatement,
    Statement,
    Verify,
    decode_statement,
    signing_input,
    statement_id,
)
from peerd.errors import RemoteProtocolError

DEPTH = 255

_ADMINS_ONLY = frozenset({ADMIT, REMOVE, EPOCH, TICKET})


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One statement that was taken in. The second group of fields is set for admissions, the last for removals."""

    index: int
    signed: SignedStatement
    statement: Statement
    seen: int
    acting: Entry | None
    last_epoch: int  # the largest epoch number seen, its own included

    card: DeviceCard | None = None
    device: bytes = b""
    role: str = ""
    depth: int = 0

    covers: tuple[Entry, ...] = ()

    @property
    def id(self) -> bytes:
        return self.statement.id

    @property
    def body(self) -> Body:
        return self.statement.body

    @property
    def rank(self) -> tuple[int, bytes]:
        """The seniority of an admission: smaller is earlier."""
        return self.depth, self.device

    def saw(self, other: Entry) -> bool:
        return bool(self.seen >> other.index & 1)

    def voids(self, entry: Entry) -> bool:
        """Would this removal, if it covers what `entry` was stated under, void it? It never voids itself, so that a
        device may leave.
        """
        return self is not entry and not self.saw(entry)

    def foundations(self) -> Iterator[tuple[Entry, Entry]]:
        """This and every admission that it rests on, each with the admission under which it was stated."""
        entry = self
        while entry.acting is not None:
            yield entry, entry.acting
            entry = entry.acting


@dataclass(slots=True)
class Lineage:
    """The set, growing. A roster never changes the one that it holds: it grows a copy."""

    space: bytes
    entries: dict[Id16, Entry] = field(default_factory=dict)
    admissions: dict[bytes, tuple[Entry, ...]] = field(default_factory=dict)  # by device
    removals: tuple[Entry, ...] = ()
    covering: dict[Id16, tuple[Entry, ...]] = field(default_factory=dict)  # admission -> removals that cover it
    epochs: dict[tuple[int, bytes], int] = field(default_factory=dict)  # (number, id) -> who states it, as bits
    rooms: Rooms = field(default_factory=Rooms)
    tips: frozenset[Id16] = frozenset()

    def copy(self) -> Lineage:
        return Lineage(
            self.space,
            dict(self.entries),
            dict(self.admissions),
            self.removals,
            dict(self.covering),
            dict(self.epochs),
            self.rooms.copy(),
            self.tips,
        )

    def take(self, signed: SignedStatement, verify: Verify, bringer: bytes | None = None) -> Entry | Id16:
        """Take a statement in; the answer is the id of a head that is not here yet if it has to wait for one. `bringer`
        is the device that has handed it on; AUTHOR, perhaps its author.

        Raises:
            RemoteProtocolError: it is no statement of this space, nothing entitles its author to make it, the
                signature is wrong, or the roster is full. It is not kept.
        """
        known = self.entries.get(statement_id(signed.data))
        if known is not None:
            return known
        statement = decode_statement(signed.data)
        if statement.space != self.space:
            raise _refused("it belongs to another space")
        missing = next((head for head in statement.heads if head not in self.entries), None)
        if missing is not None:
            return missing
        entry = self._judge(signed, statement, [self.entries[head] for head in statement.heads])
        speaker = entry.card if entry.acting is None else entry.acting.card
        if speaker is None or not verify(speaker.public_key, signed.signature, signing_input(signed.data)):
            raise _refused("its signature is not its author's", "bad-signature")
        self._check_room(entry, bringer)
        self._keep(entry)
        return entry

    def acting(self, author: bytes, seen: int) -> Entry | None:
        """The admission under which `author` speaks when it has seen this."""
        known = [one for one in self.admissions.get(author, ()) if seen >> one.index & 1]
        open_ones = [one for one in known if not self._would_end(one, seen)]
        return min(open_ones or known, key=lambda one: (one.depth, one.id), default=None)

    def _would_end(self, admission: Entry, seen: int) -> bool:
        ends = [one for one in self.covering.get(admission.id, ()) if seen >> one.index & 1]
        return bool(ends) or any(
            seen >> one.index & 1 and one.voids(entry)
            for entry, acting in admission.foundations()
            for one in self.covering.get(acting.id, ())
        )

    def _judge(self, signed: SignedStatement, statement: Statement, heads: list[Entry]) -> Entry:
        seen = 0
        for head in heads:
            seen |= head.seen | 1 << head.index
        acting = self.acting(statement.author, seen)
        if statement.kind != GENESIS and acting is None:
            raise _refused("its author was not admitted by anything it names")
        if statement.kind in _ADMINS_ONLY and (acting is None or acting.role != ADMIN):
            raise _refused("its author is no admin")
        last_epoch = max((head.last_epoch for head in heads), default=0)
        index = len(self.entries)
        match statement.body:
            case Genesis(card=card):
                return Entry(index, signed, statement, 0, None, 0, card, card.device, ADMIN)
            case Admit(card=card, role=role):
                depth = acting.depth + 1 if acting else 0
                if depth > DEPTH:
                    raise _refused(f"it is more than {DEPTH} admissions away from the founder")
                return Entry(index, signed, statement, seen, acting, last_epoch, card, card.device, role, depth)
            case Remove() as body:
                covers = self._covers(body, seen)
                return Entry(index, signed, statement, seen, acting, last_epoch, covers=covers)
            case Epoch() as body:
                self._check_epoch(statement, body, seen, last_epoch)
                return Entry(index, signed, statement, seen, acting, max(last_epoch, body.number))
        return Entry(index, signed, statement, seen, acting, last_epoch)

    def _covers(self, body: Remove, seen: int) -> tuple[Entry, ...]:
        covers = tuple(one for one in self.admissions.get(body.device, ()) if seen >> one.index & 1)
        if all(one.id != body.admission for one in covers):
            raise _refused("it removes an admission that it had not seen")
        return covers

    def _check_epoch(self, statement: Statement, body: Epoch, seen: int, last_epoch: int) -> None:
        """An epoch is one more than all before it, or an earlier one stated again for more recipients; the first is
        the founder's, stated directly on the genesis. So nobody can jump to a number that none can exceed.
        """
        if self.epochs.get((body.number, body.id), 0) & seen:
            return
        if body.number != last_epoch + 1:
            raise _refused(f"epoch {body.number} does not follow epoch {last_epoch}")
        if body.number == 1 and [self.entries[head].statement.kind for head in statement.heads] != [GENESIS]:
            raise _refused("the first epoch stands on the genesis alone")

    def _check_room(self, entry: Entry, bringer: bytes | None) -> None:
        is_one_more = entry.card is not None and len(self.admissions.get(entry.device, ())) >= ADMISSIONS
        if is_one_more or not self.rooms.has_room(entry, bringer):
            raise _refused("the roster is full", "roster-full")

    def _keep(self, entry: Entry) -> None:
        statement = entry.statement
        self.entries[entry.id] = entry
        self.tips = self.tips - set(statement.heads) | {entry.id}
        self.rooms.keep(entry)
        if entry.card is not None:
            self.admissions[entry.device] = (*self.admissions.get(entry.device, ()), entry)
        if statement.kind == REMOVE:
            self.removals = (*self.removals, entry)
            for one in entry.covers:
                self.covering[one.id] = (*self.covering.get(one.id, ()), entry)
        if isinstance(entry.body, Epoch):
            stated = entry.body.number, entry.body.id
            self.epochs[stated] = self.epochs.get(stated, 0) | 1 << entry.index


def _refused(why: str, code: str = "bad-statement") -> RemoteProtocolError:
    return RemoteProtocolError(f"A statement cannot enter the roster: {why}.", code=code)
