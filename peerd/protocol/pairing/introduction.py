"""A member shows another one, which has not heard of it, the statements by which it belongs: `peerd.introduce.1`.

The dialler sends one `Introduction`, cut into frames; the listener says nothing, whatever it makes of it, and closes.
Until then nothing is known of the dialler but its key, so all of it is small. PROTOCOL.md, "Introduction".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from peerd.core.origin import Id16
from peerd.core.roster.lineage import Entry
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement
from peerd.errors import RemoteProtocolError

SUBPROTOCOL = "peerd.introduce.1"
OPTIONAL_TYPES = 128

FRAME_BYTES = 16 << 10
PIECE_BYTES = 15_000
SPACES = 16
STATEMENTS = 256  # of all spaces together; each may cost the listener a signature
STATEMENTS_BYTES = 256 << 10  # as they are sent, the signatures counted
_PIECES = -(-(STATEMENTS_BYTES + SPACES * 64) // PIECE_BYTES)
_SIGNATURE_BYTES = 80  # and what goes around it


class Shown(Struct, frozen=True, array_like=True):
    """Statements of one space, causes first."""

    space: Id16
    statements: Annotated[tuple[SignedStatement, ...], Meta(min_length=1, max_length=STATEMENTS)]


class Introduction(Struct, frozen=True):
    spaces: Annotated[tuple[Shown, ...], Meta(min_length=1, max_length=SPACES)] = field(name="sp")


class Introduce(Struct, frozen=True):
    """Piece `n` (from 0) of the `of` pieces of an encoded introduction."""

    type: ClassVar[int] = 96
    n: Annotated[int, Meta(ge=0, lt=_PIECES)]
    of: Annotated[int, Meta(ge=1, le=_PIECES)]
    b: Annotated[bytes, Meta(min_length=1, max_length=PIECE_BYTES)]


_frame_decoder = msgspec.msgpack.Decoder(tuple[int, int, Raw])
_piece_decoder = msgspec.msgpack.Decoder(Introduce)
_decoder = msgspec.msgpack.Decoder(Introduction)


def evidence(roster: Roster, ours: bytes, theirs: bytes) -> tuple[SignedStatement, ...]:
    """What shows that our device is a member: the statement that admits it, the removals that stand, since one of them
    may void what the other has heard of us, and all that these rest on, causes first. If that is too much, without what
    the member `theirs` had seen when it was admitted or said anything; and then without the removals. Empty if we are
    no member, or if it is too much all the same.
    """
    member = roster.members.get(ours)
    admission = roster.entry(member.admission) if member is not None else None
    if admission is None:
        return ()
    alone = wanted = _with_causes(admission)
    for removal in roster.standing_removals:
        wanted |= _with_causes(removal)
    had = 0
    for entry in roster.entries():
        if theirs in {entry.device, entry.statement.author}:
            had |= _with_causes(entry)
    for chosen in (wanted, wanted & ~had, alone, alone & ~had):
        found = tuple(entry.signed for entry in roster.entries() if chosen >> entry.index & 1)
        if _fits(found):
            return found
    return ()


def _with_causes(entry: Entry) -> int:
    """As a set of bits."""
    return entry.seen | 1 << entry.index


def convinces(roster: Roster, shown: Shown, device: bytes, ours: bytes) -> tuple[SignedStatement, ...]:
    """The statements among those that are shown that are new in our roster and make members of `device` and of us, one
    of whom was none; empty if they do not. What would have to wait for others is not kept: nobody vouches for it yet.
    """
    if roster.is_member(device) and roster.is_member(ours):
        return ()
    larger, added = roster.with_statements(shown.statements)
    return added if larger.is_member(device) and larger.is_member(ours) else ()


def introduction(shown: Iterable[Shown]) -> list[bytes]:
    """The frames that show as many of these spaces as there is room for; none if nothing is to be shown."""
    fitting: list[Shown] = []
    for one in shown:
        together = [signed for other in (*fitting, one) for signed in other.statements]
        if one.statements and len(fitting) < SPACES and _fits(together):
            fitting.append(one)
    if not fitting:
        return []
    data = msgspec.msgpack.encode(Introduction(tuple(fitting)))
    pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    return [
        msgspec.msgpack.encode((Introduce.type, 0, Introduce(number, len(pieces), piece)))
        for number, piece in enumerate(pieces)
    ]


def _fits(statements: Iterable[SignedStatement]) -> bool:
    sizes = [len(signed.data) + _SIGNATURE_BYTES for signed in statements]
    return len(sizes) <= STATEMENTS and sum(sizes) <= STATEMENTS_BYTES


class Hearing:
    """The listener's side: frames in, the introduction out when it is whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._count = 0

    def receive(self, frame: bytes) -> Introduction | None:
        """The introduction, with its last frame.

        Raises:
            RemoteProtocolError: "bad-message", it is none, or too large.
        """
        if len(frame) > FRAME_BYTES:
            raise _bad("a frame is larger than 16 KiB")
        try:
            kind, _, body = _frame_decoder.decode(frame)
            if kind != Introduce.type:
                if kind >= OPTIONAL_TYPES:
                    return None
                raise _bad(f"type {kind} is unknown")
            return self._piece(_piece_decoder.decode(body))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
            raise _bad(str(problem)) from problem

    def _piece(self, piece: Introduce) -> Introduction | None:
        if piece.n != len(self._pieces) or piece.of != (self._count or piece.of) or piece.n >= piece.of:
            raise _bad("a piece does not follow the one before it")
        self._count = piece.of
        self._pieces.append(piece.b)
        if len(self._pieces) < self._count:
            return None
        found = _decoder.decode(b"".join(self._pieces))
        if not _fits([signed for shown in found.spaces for signed in shown.statements]):
            raise _bad(f"it shows more than {STATEMENTS} statements or {STATEMENTS_BYTES >> 10} KiB")
        return found


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"An introduction cannot be read: {why}.", code="bad-message")
