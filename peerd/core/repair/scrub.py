"""What a scrub finds out about a copy, and what of it is kept: values only.

A scrub reads every record and every run of a copy anew, in small steps over days, and asks three questions:

    records   does the record still have the share of the digest that it was written with, and can it be read at all?
    runs      does its hash follow from the run before, and does its author's signature hold?
    sums      do the shares of all records make the digest that the copy has kept from write to write?

The first finds a value that rotted on the disk, the last a row that is gone, or that was changed together with its
share. What is then stored is what the digest is made to say, so that a damaged copy does not go on claiming to be
whole; `owed` is by how much that differs from the digest which the writes had made. Whatever makes up for it exactly
is what was lost, if nothing was written to that record since. A copy that is made of one which owes something owes the
same (`core.snapshots.doubt`): until it is made up for, until the copy is the same as one that owes nothing, or until
all other members were `asked` and have nothing else.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.limits import INT64_MAX
from peerd.core.record import Record
from peerd.core.values import check_packed

CHANGED = "changed"  # it reads, but is not what was written
UNREADABLE = "unreadable"
MISSING = "missing"
DIFFERS = "differs"  # from another device's, at equal clocks
LOG = "log"  # a run of the log
DIVERGED = "diverged"  # the copy as a whole, from another device's: one of the two is damaged
NO_RECORDS = frozenset({LOG, DIVERGED})  # findings that are of none

FINDINGS = 1_000  # are kept

# How a finding was put right.
FROM_LOG = "log"
FROM_SNAPSHOT = "snapshot"
FROM_PEER = "peer"
AGAIN = "again"  # and what stood here was written again, beside it
GONE = "gone"  # written over meanwhile
EQUAL = "equal"  # found to be the same as another device has
NOWHERE = "nowhere"  # no member has anything else: it stays as it is


class Suspect(Struct, frozen=True):
    """A record that is not what was written. `readable`: it can be decoded all the same."""

    name: Name
    share: int
    readable: bool


class RowsChecked(Struct, frozen=True):
    """Records behind a place, checked up to `last`; `end` is the last place of all."""

    last: int
    end: int
    records: int
    suspects: list[Suspect]
    more: bool


class BrokenRun(Struct, frozen=True):
    origin: bytes
    first: int
    last: int


class RunsChecked(Struct, frozen=True):
    last: int
    end: int
    runs: int
    broken: list[BrokenRun]
    more: bool


class SharesRead(Struct, frozen=True):
    """Records by name, with what they add to the digest; as far as `up_to`, or, with None, to the end."""

    shares: list[tuple[str, str, int]]
    up_to: Name | None


class Counted(Struct, frozen=True):
    """What the stored rows add up to, and what was kept, at one moment. `visible`: by how much the number of visible
    records of a collection differs from the one kept, by the collection's number.
    """

    sums: bytes
    kept: bytes
    visible: dict[int, int]

    @property
    def agrees(self) -> bool:
        return self.sums == self.kept and not self.visible


class ScrubState(Struct):
    """How far the scrub of a copy is, and what the last round found. Ages are in the daemon time of the database;
    `finished_ms` is wall time, for people. `row` and `run` mean something in the copy `copy_id` only.
    """

    copy_id: bytes = b""
    row: int = 0
    run: int = 0
    rows_done: bool = False
    records: int = 0  # looked at in this round
    runs: int = 0
    found: int = 0
    finished_ms: int | None = None
    last_records: int = 0  # in the last whole round
    last_runs: int = 0
    last_found: int = 0
    owed: bytes = digest.EMPTY
    asked: list[bytes] = []  # devices whose copies have been the same as ours since we owe that, and owe it too
    anew: bool = False  # rows were put right, and whoever follows the copy has not been told

    def begin(self, copy_id: bytes) -> None:
        """A new round."""
        self.copy_id = copy_id
        self.row = self.run = self.records = self.runs = self.found = 0
        self.rows_done = False

    def end(self, now_ms: int) -> None:
        """The round is over."""
        self.finished_ms = now_ms
        self.last_records, self.last_runs, self.last_found = self.records, self.runs, self.found


class Finding(Struct):
    """Something that was wrong with a copy. `device`: with whom it was found, if not alone. `done`: how it was put
    right, "" as long as it is not.
    """

    id: int
    at_ms: int
    found: str
    collection: str = ""
    key: str = ""
    device: bytes | None = None
    done: str = ""

    @property
    def name(self) -> Name:
        return self.collection, self.key


def is_sound(record: Record) -> bool:
    """Is everything in a record that was decoded of the types and in the bounds that a write would have given it?"""
    stamps = list(record.stamps.items())
    for dot, stamp in stamps:
        if not _is_dot(dot) or not _is_number(stamp.t_ms) or stamp.tq not in {0, 1, 2}:
            return False
        if stamp.answers is not None and not _is_dot(stamp.answers):
            return False
    used = record.births.union(*record.fields.values())
    if not stamps or used != record.stamps.keys():
        return False
    try:
        for siblings in record.fields.values():
            for value in siblings.values():
                check_packed(value)
    except ValueError:
        return False
    return True


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= INT64_MAX


def _is_dot(dot: Dot) -> bool:
    return isinstance(dot.origin, bytes) and len(dot.origin) == 16 and _is_number(dot.seq)
