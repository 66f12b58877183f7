"""What is known on a session of the copy on the other side. A pure machine."""

from __future__ import annotations

from peerd.core import digest
from peerd.core.clocks import Clock, ReadClock, includes, join, lacking
from peerd.core.copy import CopyState
from peerd.core.limits import CONTEXT_ORIGINS
from peerd.errors import RemoteProtocolError
from peerd.protocol.effects import Acked, CheckPositions, Compared, Effect, RolledBack
from peerd.protocol.messages import Summary


class TheirCopy:
    """`clock` is what they are known to have, from whatever they said; `summary` is how they began."""

    def __init__(self) -> None:
        self.clock: Clock = {}
        self.summary: Summary | None = None
        self._is_other_history = False

    def summed_up(self, message: Summary) -> None:
        """Raises RemoteProtocolError if they have said so before."""
        if self.summary is not None:
            raise RemoteProtocolError("a second SUMMARY", code="order")
        self.summary = message

    def meet(self, summary: Summary, ours: CopyState, own_origin: bytes | None) -> list[Effect]:
        """Theirs is what the summary says: what that means, beside ours."""
        self.clock = {origin: seq for origin, seq, _ in summary.positions}
        heads = {(origin, seq): hash8 for origin, seq, hash8 in ours.positions()}
        self._is_other_history = any(
            heads.get((origin, seq), hash8) != hash8 for origin, seq, hash8 in summary.positions
        )
        effects: list[Effect] = [Acked(dict(self.clock), whole=True)]
        if own_origin is not None and self.clock.get(own_origin, 0) > ours.seq(own_origin):
            effects.append(RolledBack(own_origin))
        return effects + self.compared(summary.digest, ours)

    def know(self, clock: ReadClock) -> None:
        """They have this much. Raises RemoteProtocolError if that is more than a space has."""
        self.clock = join(self.clock, clock)
        if len(self.clock) > 2 * CONTEXT_ORIGINS:
            raise RemoteProtocolError("they claim more origins than a space has", code="too-large", close_code=4413)

    def compared(self, their_digest: bytes, ours: CopyState) -> list[Effect]:
        """Where both have the same transactions, whether both have the same data. Of a fork nothing is said: equal
        numbers are other transactions there.
        """
        if self._is_other_history or self.clock != ours.clock():
            return []
        return [Compared(their_digest == digest.summary(ours.digest))]

    def behind(self, ours: CopyState) -> int:
        """Transactions that they are known to have and we have not."""
        return lacking(ours.clock(), self.clock)

    def ahead(self, ours: CopyState) -> int:
        """Transactions that we have and they are not known to have."""
        return lacking(self.clock, ours.clock())


def log_reaches(theirs: Summary, clock: ReadClock) -> bool:
    """Can whoever has applied that much go on with their log?"""
    return includes(clock, theirs.horizon)


def positions_to_check(theirs: Summary, clock: ReadClock) -> CheckPositions:
    """For each origin the side that is further compares, since it has a hash where the other stands."""
    return CheckPositions([at for at in theirs.positions if at[1] <= clock.get(at[0], 0)])
