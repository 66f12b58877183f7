"""How one side of a session finds out where its copy differs from the other's, and puts its own right.

Both sides do this on their own: each asks, and each changes nothing but its own copy, by a rule that gives the same to
both (`core.repair.rule`). A pure machine: methods are events, they give effects. It holds at most 200 names and one
record that comes in pieces, and one question at a time is on its way.

| stage   | meaning                                             | leaves when                                        |
|---------|-----------------------------------------------------|----------------------------------------------------|
| idle    | the digests are equal, or the clocks are not        | they differ at equal clocks → calm                 |
| calm    | it may pass by itself, and others may be first      | some time has passed → sums                        |
| sums    | LOCATE: which buckets differ?                       | LOCATED → shares; no bucket differs → idle         |
| shares  | LOCATE: which of their records?                     | enough names, or the end → records; none → calm    |
| records | MEND: what do they hold of these?                   | all are merged → sums, to see whether all is well  |

Everything is said of one clock. When ours moves, or an answer is of another one, or none comes in time, the attempt
ends, and another one begins in the next calm, later each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from peerd.core import digest
from peerd.core.limits import ENTRY_BYTES
from peerd.core.repair.form import unpack_answer, whole_mark
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import RECORDS_PER_MEND, Locate, Located, Mend, Mended, RecordName

NAMES = 200  # are put right in one attempt
ANSWER_S = 60.0
LONGEST_CALM_S = 3600.0
LARGEST_BYTES = 2 * ENTRY_BYTES + (1 << 20)  # a record and what is proven of it; as an item of a snapshot
PIECES = 1_000
FRUITLESS = 3  # attempts that changed nothing, from where on the calm grows


class Stage(Enum):
    IDLE = "idle"
    CALM = "calm"
    SUMS = "sums"
    SHARES = "shares"
    RECORDS = "records"


class Standing(Struct, frozen=True):
    """Our copy at the moment of an event: the mark of its clock, its sums, and the buckets in which it is known to be
    damaged.
    """

    clock: bytes
    sums: bytes
    faulty: Sequence[int] = ()

    @property
    def digest(self) -> bytes:
        return digest.summary(self.sums)


class Ask(Struct, frozen=True):
    message: Locate | Mend


class CompareShares(Struct, frozen=True):
    """Compare theirs with ours, between two names. Answered by `compared`."""

    buckets: list[int]
    after: RecordName | None
    theirs: Located


class ReadRecords(Struct, frozen=True):
    """What do we hold of these? Answered by `read`."""

    names: list[RecordName]


class Merge(Struct, frozen=True):
    """Make one of ours and theirs. `sums` are theirs. Answered by `merged`."""

    theirs: Mended
    sums: bytes


class Agreed(Struct, frozen=True):
    """No bucket differs."""


class LookAtOurs(Struct, frozen=True):
    """No record differs, and the sums do: one of the two says sums that its records do not make."""


class WakeRepair(Struct, frozen=True):
    at_s: float


RepairEffect: TypeAlias = Ask | CompareShares | ReadRecords | Merge | Agreed | LookAtOurs | WakeRepair


class Repairing:
    def __init__(self, space: bytes) -> None:
        self.stage = Stage.IDLE
        self._space = space
        self._clock = b""  # everything is said of
        self._sums = b""  # theirs
        self._buckets: list[int] = []
        self._after: RecordName | None = None
        self._names: list[RecordName] = []
        self._pieces: list[bytes] = []  # of the first of them
        self._wake_s: float | None = None
        self._fruitless = 0
        self._calm_s = 0.0

    def differ(self, now_s: float, calm_s: float) -> list[RepairEffect]:
        """The digests differ at equal clocks, or ours is known to be damaged; wait so long before the first question.
        Who has asked already goes on with that.
        """
        if self.stage not in {Stage.IDLE, Stage.CALM}:
            return []
        if self.stage is Stage.CALM and self._wake_s is not None and self._wake_s <= now_s + calm_s:
            return []
        self._calm_s = calm_s
        return self._rest(now_s)

    def agree(self) -> None:
        """They are equal: by something else."""
        self.stage, self._fruitless, self._wake_s = Stage.IDLE, 0, None
        self._forget()

    def _rest(self, now_s: float) -> list[RepairEffect]:
        self.stage = Stage.CALM
        self._forget()
        longer = 2.0 ** max(0, self._fruitless - FRUITLESS)
        return self._wake(now_s + min(LONGEST_CALM_S, max(self._calm_s, 0.01) * longer))

    def _forget(self) -> None:
        self._sums, self._buckets, self._after, self._names, self._pieces = b"", [], None, [], []

    def _wake(self, at_s: float) -> list[RepairEffect]:
        self._wake_s = at_s
        return [WakeRepair(at_s)]

    def woken(self, now_s: float, ours: Standing) -> list[RepairEffect]:
        """The calm is over, or an answer did not come."""
        if self._wake_s is None or now_s < self._wake_s:
            return [] if self._wake_s is None else [WakeRepair(self._wake_s)]
        if self.stage is Stage.IDLE:
            return []
        if self.stage is not Stage.CALM:
            return self._fail(now_s)
        return self._begin(now_s, ours)

    def _begin(self, now_s: float, ours: Standing) -> list[RepairEffect]:
        self.stage, self._clock = Stage.SUMS, ours.clock
        self._forget()
        question = Locate(self._space, ours.clock, ours.digest, faulty=list(ours.faulty))
        return [Ask(question), *self._wake(now_s + ANSWER_S)]

    def _fail(self, now_s: float) -> list[RepairEffect]:
        self._fruitless += 1
        return self._rest(now_s)

    def located(self, message: Located, ours: Standing, now_s: float) -> list[RepairEffect]:
        """Their answer to LOCATE; one that nobody waits for is ignored."""
        if self.stage not in {Stage.SUMS, Stage.SHARES}:
            return []
        if not self._clock == ours.clock == message.clock:
            return self._fail(now_s)
        if self.stage is Stage.SHARES:
            return [CompareShares(self._buckets, self._after, message), *self._wake(now_s + ANSWER_S)]
        if len(message.sums) != len(digest.EMPTY):
            return self._fail(now_s)
        self._sums = message.sums
        self._buckets = digest.differing(ours.sums, message.sums)
        if not self._buckets:
            self.agree()
            return [Agreed()]
        self.stage = Stage.SHARES
        return self._ask_shares(ours, now_s)

    def _ask_shares(self, ours: Standing, now_s: float) -> list[RepairEffect]:
        question = Locate(self._space, ours.clock, ours.digest, self._buckets, self._after, list(ours.faulty))
        return [Ask(question), *self._wake(now_s + ANSWER_S)]

    def compared(
        self, names: list[RecordName], up_to: RecordName | None, ours: Standing, now_s: float
    ) -> list[RepairEffect]:
        """These records differ, up to a name; None: that was the end."""
        if self.stage is not Stage.SHARES:
            return []
        self._names += names[: NAMES - len(self._names)]
        if up_to is not None and len(self._names) < NAMES:
            self._after = up_to
            return self._ask_shares(ours, now_s)
        if not self._names:
            return [LookAtOurs(), *self._fail(now_s)]
        self.stage = Stage.RECORDS
        return self._next_records(now_s)

    def _next_records(self, now_s: float) -> list[RepairEffect]:
        return [ReadRecords(self._names[:RECORDS_PER_MEND]), *self._wake(now_s + ANSWER_S)]

    def read(self, records: list[tuple[str, str, bytes]], ours: Standing, now_s: float) -> list[RepairEffect]:
        """What we hold of as many of the first names as fit into one question."""
        if self.stage is not Stage.RECORDS:
            return []
        if ours.clock != self._clock or not records:
            return self._fail(now_s)
        return [Ask(Mend(self._space, ours.clock, records)), *self._wake(now_s + ANSWER_S)]

    @property
    def is_collecting(self) -> bool:
        """Has some of a record come that fits no frame?"""
        return bool(self._pieces)

    def mended(self, message: Mended, ours: Standing, now_s: float, *, may_collect: bool = True) -> list[RepairEffect]:
        """Their answer to MEND. Not `may_collect`: a record that fits no frame is left for another time."""
        if self.stage is not Stage.RECORDS:
            return []
        if not self._clock == ours.clock == message.clock or not self._names:
            return self._fail(now_s)
        if message.piece and may_collect and message.total_bytes <= LARGEST_BYTES:
            return self._collect(message, ours, now_s)
        if not message.records:  # the first one fits no frame
            return self._merged_up_to(1, 0, ours, now_s)
        return [Merge(message, self._sums), *self._wake(now_s + ANSWER_S)]

    def _collect(self, message: Mended, ours: Standing, now_s: float) -> list[RepairEffect]:
        """Of the first of the names, piece by piece."""
        self._pieces.append(message.piece)
        size_bytes = sum(map(len, self._pieces))
        if len(self._pieces) == PIECES:
            return self._fail(now_s)
        if size_bytes < message.total_bytes:
            question = Mend(self._space, ours.clock, [(*self._names[0], b"")], after=size_bytes)
            return [Ask(question), *self._wake(now_s + ANSWER_S)]
        data, self._pieces = b"".join(self._pieces), []
        if whole_mark(data) != message.whole:  # theirs is another one by now
            return self._fail(now_s)
        try:
            answer = unpack_answer(data)
        except ValueError:
            raise RemoteProtocolError("a record that is none", code="malformed") from None
        return [Merge(Mended(self._space, message.clock, [answer]), self._sums), *self._wake(now_s + ANSWER_S)]

    def merged(self, names: list[RecordName], changed: int, ours: Standing, now_s: float) -> list[RepairEffect]:
        """These are merged; so many of them are others now."""
        if self.stage is not Stage.RECORDS:
            return []
        done = set(names)
        count = next((at for at, name in enumerate(self._names) if name not in done), len(self._names))
        return self._merged_up_to(max(1, count), changed, ours, now_s)

    def _merged_up_to(self, count: int, changed: int, ours: Standing, now_s: float) -> list[RepairEffect]:
        del self._names[:count]
        self._pieces = []
        self._fruitless = 0 if changed else self._fruitless
        if self._names and self._clock == ours.clock:
            return self._next_records(now_s)
        if changed:
            return self._begin(now_s, ours)
        return self._fail(now_s)
