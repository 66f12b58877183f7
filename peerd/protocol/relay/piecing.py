"""A run that was too large for a segment, put together again from its pieces, one run at a time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from peerd.core.chain import Run
from peerd.core.limits import ENTRY_BYTES
from peerd.core.origin import Announcement
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay.objects import Piece, join_pieces

_LONGEST_BYTES = ENTRY_BYTES + (2 << 20)


class Fit(Enum):
    """What became of a piece that does not complete a run."""

    KEPT = "kept"
    EARLY = "what comes before it is not here yet"
    MALFORMED = "no honest writer leaves this"


class Piecing:
    """`numbers` are the segments whose pieces are held, in order."""

    def __init__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Let go of a run that is not complete."""
        self.numbers: list[int] = []
        self.origins: list[Announcement] = []
        self._pieces: list[Piece] = []
        self._size_bytes = 0

    def goes_on_at(self, number: int) -> bool:
        return bool(self.numbers) and number == self.numbers[-1] + 1

    def add(self, number: int, piece: Piece, origins: Sequence[Announcement]) -> Run | Fit:
        """The run, if this piece is its last one; it is held until `drop`."""
        if piece.number == 0:
            self.drop()
            self.origins = list(origins)
        elif not self.goes_on_at(number):
            return Fit.EARLY
        elif (piece.number, piece.count) != (len(self._pieces), self._pieces[-1].count):
            return Fit.MALFORMED
        self.numbers.append(number)
        self._pieces.append(piece)
        self._size_bytes += len(piece.data)
        if self._size_bytes > _LONGEST_BYTES:
            return Fit.MALFORMED
        if piece.number + 1 < piece.count:
            return Fit.KEPT
        try:
            return join_pieces(self._pieces)
        except RemoteProtocolError:
            return Fit.MALFORMED
