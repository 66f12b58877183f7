"""How much a roster takes in: statements in all, of one author, and of those whom it has let in.

A roster never forgets a statement, so whoever may state something could fill it, and then nobody could be removed any
more. An admin can also let in as many devices of its own making as it likes, to speak for it. So what an admission
bears, the statements of those who were let in under it, on whatever way, is bounded too, and less so for each step
nearer to the founder: whoever let a device in, and whoever came as it did, still has room when that one and its guests
have none left. Removals are counted apart, its own with those of its guests, since many that strike each other take
long to judge; and so are the admissions of one device, among which each of its statements looks for its own.

One member must not tell one copy so much, and another one so much else, that neither has room for what the other knows:
then what either states rests on what the other cannot take in, its removal too. So of a plain member, which has little
to say, much less is taken from itself than from others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from peerd.core.origin import Id16
from peerd.core.roster.statements import ADMIN, REMOVE

if TYPE_CHECKING:
    from peerd.core.roster.lineage import Entry


class Room(NamedTuple):
    statements: int
    size_bytes: int


IN_ALL = Room(10_000, 32 << 20)
OF_AN_ADMIN = Room(2_000, 8 << 20)
OF_A_MEMBER = Room(5_000, 16 << 20)
FROM_A_MEMBER = Room(300, 2 << 20)  # from itself
OF_GUESTS = Room(2_500, 12 << 20)
REMOVALS = 300  # one's own and those of one's guests
ADMISSIONS = 100  # of one device
STEPS = 8  # away from the founder, for each of which there is less

AUTHOR = b"?"  # whoever has brought something that had to wait


class Used(NamedTuple):
    statements: int = 0
    size_bytes: int = 0
    removals: int = 0

    def and_this(self, entry: Entry) -> Used:
        is_removal = entry.statement.kind == REMOVE
        return Used(self.statements + 1, self.size_bytes + len(entry.signed.data), self.removals + is_removal)


NOTHING = Used()


@dataclass(slots=True)
class Rooms:
    """What is used of it."""

    in_all: Used = NOTHING
    by_author: dict[bytes, Used] = field(default_factory=dict)
    by_admission: dict[Id16, Used] = field(default_factory=dict)

    def copy(self) -> Rooms:
        return Rooms(self.in_all, dict(self.by_author), dict(self.by_admission))

    def has_room(self, entry: Entry, bringer: bytes | None) -> bool:
        """For one more? `bringer` has handed it on."""
        author, of_author = entry.statement.author, OF_AN_ADMIN
        if entry.acting is not None and entry.acting.role != ADMIN:
            of_author = FROM_A_MEMBER if bringer in {author, AUTHOR} else OF_A_MEMBER
        return (
            _fits(self.in_all.and_this(entry), IN_ALL)
            and _fits(self.by_author.get(author, NOTHING).and_this(entry), of_author)
            and all(self._bears(one, entry) for one in _rests_on(entry))
        )

    def _bears(self, admission: Entry, entry: Entry) -> bool:
        used = self._with(admission, entry)
        share = 1 - min(admission.depth, STEPS) / (2 * STEPS)
        room = Room(int(OF_GUESTS.statements * share), int(OF_GUESTS.size_bytes * share))
        return _fits(used, room) and used.removals <= int(REMOVALS * share)

    def _with(self, admission: Entry, entry: Entry) -> Used:
        """What is used of what the admission bears, with one more: of its own device's statements removals alone."""
        before = self.by_admission.get(admission.id, NOTHING)
        after = before.and_this(entry)
        return before._replace(removals=after.removals) if admission is entry.acting else after

    def keep(self, entry: Entry) -> None:
        author = entry.statement.author
        self.in_all = self.in_all.and_this(entry)
        self.by_author[author] = self.by_author.get(author, NOTHING).and_this(entry)
        for admission in _rests_on(entry):
            self.by_admission[admission.id] = self._with(admission, entry)


def _rests_on(entry: Entry) -> list[Entry]:
    """The admissions that it rests on, its author's first, but for the founder's."""
    return [acting for _, acting in entry.foundations() if acting.depth]


def _fits(used: Used, room: Room) -> bool:
    return used.statements <= room.statements and used.size_bytes <= room.size_bytes
