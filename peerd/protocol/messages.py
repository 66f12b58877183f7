"""What two devices say to each other on a link: the messages of `peerd.sync.1`.

A frame is `[type, request, body]`; a body is a map with short string keys. Keys that a receiver does not know are
ignored, and so is a type from 128 on. A message with `space` belongs to the session of that space.
PROTOCOL.md section 7 is the specification.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta, Struct, field

from peerd.core.chain import Run, Signature
from peerd.core.origin import Announcement, Id16, Id32
from peerd.core.roster.statements import SignedStatement

MAJOR, MINOR = 1, 0
SUBPROTOCOL = f"peerd.sync.{MAJOR}"
OPTIONAL_TYPES = 128

FRAME_BYTES = 1 << 20
BULK_BYTES = 512 << 10  # of entries in one frame, before compression
CREDIT_BYTES = 4 << 20
PART_BYTES = 512 << 10
STATEMENTS_PER_FRAME = 1_000
SHARES_PER_FRAME = 4_000
RECORDS_PER_MEND = 100
RUNS_PER_MEND = 20
FORK_ENDS = 1_000
SNAPSHOT_PARTS = 4  # on their way at once

Seq = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Hash8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]
Text = Annotated[str, Meta(max_length=500)]
Word = Annotated[str, Meta(max_length=64)]
RecordName: TypeAlias = tuple[str, str]
Position: TypeAlias = tuple[Id16, Seq, Hash8]
Buckets: TypeAlias = Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=256)]
WireClock: TypeAlias = Annotated[dict[Id16, Seq], Meta(max_length=10_000)]


class Message(Struct, frozen=True, omit_defaults=True):
    type: ClassVar[int]
    bulk: ClassVar[bool] = False  # may wait behind everything else


class Hello(Message, frozen=True, omit_defaults=True):
    """The first message of each side: who speaks, and which of two links is the newer."""

    type = 1
    version: Annotated[list[int], Meta(min_length=2, max_length=2)] = field(name="v")
    boot: Hash8  # drawn when the process started
    counter: Seq = field(name="n")  # of the dials of that process
    t_ms: Seq = field(name="t")
    tq: Annotated[int, Meta(ge=0, le=2)] = 0
    capabilities: Annotated[list[Word], Meta(max_length=64)] = field(name="caps", default_factory=list)
    software: Word = field(name="sw", default="")
    name: Word = ""


class Welcome(Message, frozen=True, omit_defaults=True):
    """The spaces that the speaker shares with the hearer as far as the speaker's rosters say. Sent again when that
    changes.
    """

    type = 2
    spaces: Annotated[list[Id16], Meta(max_length=1_000)]


class RosterMessage(Message, frozen=True, omit_defaults=True):
    """The digest of the speaker's statements, and some of them that the hearer may lack."""

    type = 3
    space: Id16 = field(name="s")
    digest: Digest = field(name="d")
    statements: Annotated[list[SignedStatement], Meta(max_length=STATEMENTS_PER_FRAME)] = field(
        name="st", default_factory=list
    )


class Summary(Message, frozen=True, omit_defaults=True):
    """Where the speaker's copy stands."""

    type = 4
    space: Id16 = field(name="s")
    positions: Annotated[list[Position], Meta(max_length=10_000)] = field(name="p")
    digest: Digest = field(name="d")
    horizon: WireClock = field(name="h", default_factory=dict)
    level: int = field(name="l", default=1)  # the feature level that the speaker supports
    acks: Annotated[list[tuple[Id32, WireClock]], Meta(max_length=1_000)] = field(name="a", default_factory=list)


class Want(Message, frozen=True, omit_defaults=True):
    """Send me everything that this clock does not cover, now and from now on, as far as the credit goes. `either`: or
    offer me a snapshot, if the log is more than that.
    """

    type = 5
    space: Id16 = field(name="s")
    clock: WireClock = field(name="c")
    credit_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = field(name="b")
    either: bool = field(name="e", default=False)


class Entries(Message, frozen=True, omit_defaults=True):
    """Whole runs in an order in which they can be applied; before them the origins that are new on this link."""

    type = 6
    bulk = True
    space: Id16 = field(name="s")
    runs: Annotated[list[Run], Meta(max_length=1_000)] = field(name="r")
    origins: Annotated[list[Announcement], Meta(max_length=10_000)] = field(name="o", default_factory=list)


class Part(Message, frozen=True, omit_defaults=True):
    """A piece of a run whose only entry is too large for a frame."""

    type = 7
    bulk = True
    space: Id16 = field(name="s")
    origin: Id16 = field(name="g")
    seq: Seq = field(name="q")
    number: Annotated[int, Meta(ge=0, le=1 << 10)] = field(name="n")
    count: Annotated[int, Meta(ge=2, le=1 << 10)] = field(name="of")
    data: bytes = field(name="b")
    signature: Signature = field(name="x", default=b"")
    origins: Annotated[list[Announcement], Meta(max_length=10_000)] = field(name="o", default_factory=list)


class Ack(Message, frozen=True, omit_defaults=True):
    """What the speaker has applied durably: the origins that moved since it last said so, and the digest there."""

    type = 8
    space: Id16 = field(name="s")
    clock: WireClock = field(name="c")
    digest: Digest = field(name="d")


class Credit(Message, frozen=True, omit_defaults=True):
    """So many bytes have been applied or durably staged and may be sent again."""

    type = 9
    space: Id16 = field(name="s")
    released_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = field(name="b")


class SnapshotWant(Message, frozen=True, omit_defaults=True):
    """Send so many parts of a snapshot, from this number on: of the one with this id, if the hearer can still go on
    with it, else of another one from its beginning.
    """

    type = 10
    space: Id16 = field(name="s")
    id: Id16 = field(name="i")
    number: Seq = field(name="n")
    count: Annotated[int, Meta(ge=1, le=SNAPSHOT_PARTS)] = field(name="c", default=1)


class SnapshotOffer(Message, frozen=True, omit_defaults=True):
    """Nothing comes of the log that was wanted: a snapshot, of about so much, would be less."""

    type = 11
    space: Id16 = field(name="s")
    records: Seq = field(name="n")
    record_bytes: Seq = field(name="b")


class SnapshotChunk(Message, frozen=True, omit_defaults=True):
    """One part of a snapshot; the last one says so."""

    type = 12
    bulk = True
    space: Id16 = field(name="s")
    id: Id16 = field(name="i")
    number: Seq = field(name="n")
    data: bytes = field(name="b")
    last: bool = field(name="l", default=False)


RunEndTold: TypeAlias = tuple[Seq, Seq, Hash8]  # first (0: not in the log any more), last, hash there


class ForkMessage(Message, frozen=True, omit_defaults=True):
    """The two hold different histories of an origin: ends of the speaker's runs behind `after`, a place that both
    share, as far as it knows; all of them if `whole`.
    """

    type = 13
    space: Id16 = field(name="s")
    origin: Id16 = field(name="o")
    after: Seq = field(name="a")
    ends: Annotated[list[RunEndTold], Meta(max_length=FORK_ENDS)] = field(name="e")
    whole: bool = field(name="w", default=False)


class SnapshotRefuse(Message, frozen=True, omit_defaults=True):
    """There is no snapshot to be had at the moment, and why."""

    type = 14
    space: Id16 = field(name="s")
    code: Word
    text: Text = ""


class Ping(Message, frozen=True, omit_defaults=True):
    """A question for the hearer's clock."""

    type = 15
    id: Seq
    t_ms: Seq = field(name="t")


class Pong(Message, frozen=True, omit_defaults=True):
    type = 16
    id: Seq
    t_ms: Seq = field(name="t")
    tq: Annotated[int, Meta(ge=0, le=2)] = 0


class Error(Message, frozen=True, omit_defaults=True):
    """Something stops this link, or the session of `space`, until it is put right."""

    type = 17
    code: Word
    text: Text = ""
    space: Id16 | None = field(name="s", default=None)


class Bye(Message, frozen=True, omit_defaults=True):
    """The link will be closed on purpose."""

    type = 18
    reason: Word


class Lacking(Message, frozen=True, omit_defaults=True):
    """Parked records of which the speaker holds no image (as two lists of the same length): somebody else must
    restore them.
    """

    type = 19
    space: Id16 = field(name="s")
    records: Annotated[list[tuple[str, str]], Meta(max_length=1_000)] = field(name="r")


class Locate(Message, frozen=True, omit_defaults=True):
    """Where do our copies differ? Says clock and digest of the speaker's copy, and in which buckets that is known to be
    damaged; asks for the sums of all buckets of the digest, or for the shares of the records in some of them, behind a
    name.
    """

    type = 20
    space: Id16 = field(name="s")
    clock: Digest = field(name="c")  # a mark of it
    digest: Digest = field(name="d")
    buckets: Buckets = field(name="b", default_factory=list)
    after: RecordName | None = field(name="a", default=None)
    faulty: Buckets = field(name="f", default_factory=list)


class Located(Message, frozen=True, omit_defaults=True):
    """The answer to LOCATE: sums, or shares in the order of the names, up to a name or to the end."""

    type = 21
    space: Id16 = field(name="s")
    clock: Digest = field(name="c")
    digest: Digest = field(name="d")
    sums: Annotated[bytes, Meta(max_length=2048)] = field(name="m", default=b"")
    shares: Annotated[list[tuple[str, str, Hash8]], Meta(max_length=SHARES_PER_FRAME)] = field(
        name="r", default_factory=list
    )
    up_to: RecordName | None = field(name="u", default=None)
    faulty: Buckets = field(name="f", default_factory=list)


class Mend(Message, frozen=True, omit_defaults=True):
    """What do you hold of these records, and what does your log prove of them? Says what the speaker holds. Or: give me
    these runs of the log, named by origin and first number. Or, of one record: go on with what was too large for a
    frame, from byte `after` on.
    """

    type = 22
    space: Id16 = field(name="s")
    clock: Digest = field(name="c")
    records: Annotated[list[tuple[str, str, bytes]], Meta(max_length=RECORDS_PER_MEND)] = field(name="r")
    runs: Annotated[list[tuple[Id16, Seq]], Meta(max_length=RUNS_PER_MEND)] = field(name="g", default_factory=list)
    after: Seq = field(name="o", default=0)


class Mended(Message, frozen=True, omit_defaults=True):
    """The answer to MEND, for as many of them, from the first, as fit: name, record, evidence, and whether the speaker
    knows that its own record is damaged. And the runs that it has of those that were asked for. Where the first of them
    fits no frame, a piece of it: the whole has `total_bytes`, and a digest.
    """

    type = 23
    space: Id16 = field(name="s")
    clock: Digest = field(name="c")
    records: Annotated[list[tuple[str, str, bytes, bytes, bool]], Meta(max_length=RECORDS_PER_MEND)] = field(name="r")
    runs: Annotated[list[Run], Meta(max_length=RUNS_PER_MEND)] = field(name="u", default_factory=list)
    total_bytes: Seq = field(name="n", default=0)
    piece: bytes = field(name="b", default=b"")
    whole: Annotated[bytes, Meta(max_length=16)] = field(name="h", default=b"")


class Notice(Message, frozen=True, omit_defaults=True):
    """For people: why the speaker does not go on with this space at the moment; with an empty code it does again."""

    type = 128
    space: Id16 = field(name="s")
    code: Word = ""
    text: Text = ""


ALL: tuple[type[Message], ...] = (
    Hello, Welcome, RosterMessage, Summary, Want, Entries, Part, Ack, Credit, SnapshotWant, SnapshotOffer,
    SnapshotChunk, ForkMessage, SnapshotRefuse, Ping, Pong, Error, Bye, Lacking, Locate, Located, Mend, Mended, Notice,
)  # fmt: skip

RepairMessage: TypeAlias = Locate | Located | Mend | Mended  # only to those who said that they know them

SessionMessage: TypeAlias = (
    RosterMessage | Summary | Want | Entries | Part | Ack | Credit | SnapshotWant | SnapshotOffer | SnapshotChunk
    | ForkMessage | SnapshotRefuse | Error | Lacking | Notice
)  # fmt: skip
