"""What a session may ask for. Whoever asks gets exactly one answer, as a method call on the session.

| effect           | done by the engine                                | answered by          |
|------------------|---------------------------------------------------|----------------------|
| Send             | put on the link; control before bulk              | sent (bulk only)     |
| LearnStatements  | verify, store, tell all sessions of the space     | roster_changed       |
| CheckPositions   | compare with the kept hashes of run ends          | positions_checked    |
| FindPosition     | where in the log is what a clock does not cover   | positioned           |
| ReadLog          | runs after a position                             | log_read             |
| ApplyRuns        | through the commit door                           | applied              |
| Wake             | call when the time has come                       | woken                |
| the others       | noted; no answer                                  |                      |
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from peerd.core.chain import Run
from peerd.core.clocks import Clock
from peerd.core.origin import Announcement
from peerd.core.roster.statements import SignedStatement
from peerd.protocol.messages import SessionMessage, SnapshotChunk, SnapshotRefuse, SnapshotWant


class Send(Struct, frozen=True):
    message: SessionMessage


class LearnStatements(Struct, frozen=True):
    statements: list[SignedStatement]


class CheckPositions(Struct, frozen=True):
    positions: list[tuple[bytes, int, bytes]]


class FindPosition(Struct, frozen=True):
    """`measured`: and how much follows, beside a snapshot."""

    clock: Clock
    measured: bool = False


class ReadLog(Struct, frozen=True):
    after: int
    max_bytes: int
    covered: Clock
    express: bool


class ApplyRuns(Struct, frozen=True):
    announcements: list[Announcement]
    runs: list[Run]
    size_bytes: int


class Wake(Struct, frozen=True):
    at_s: float


class WantTurn(Struct, frozen=True):
    """Ready to receive; `behind` transactions are missing here. The engine calls `want` when it is our turn."""

    behind: int


class CaughtUp(Struct, frozen=True):
    """Next to nothing is missing that this peer is known to have."""


class RolledBack(Struct, frozen=True):
    """They hold more of our own origin than we do: our copy went back in time."""

    origin: bytes


class Acked(Struct, frozen=True):
    """What they have applied durably. `whole`: that is all they have."""

    clock: Clock
    whole: bool = False


class LearnLacking(Struct, frozen=True):
    records: list[tuple[str, str]]


class Compared(Struct, frozen=True):
    """Clocks were equal: so were the digests, or there is damage."""

    equal: bool


class WantSnapshot(Struct, frozen=True):
    """The log does not reach us: a snapshot of theirs would."""


class ServeSnapshot(Struct, frozen=True):
    message: SnapshotWant


class SnapshotCame(Struct, frozen=True):
    message: SnapshotChunk | SnapshotRefuse


class Blocked(Struct, frozen=True):
    """This session goes no further until somebody acts. `ours`: we refuse; otherwise they do."""

    code: str
    text: str
    ours: bool


Effect: TypeAlias = (
    Send | LearnStatements | CheckPositions | FindPosition | ReadLog | ApplyRuns | Wake | WantTurn | CaughtUp
    | RolledBack | Acked | LearnLacking | Compared | WantSnapshot | ServeSnapshot | SnapshotCame | Blocked
)  # fmt: skip
