"""What we want of the other side of a session, and when it has come. A pure machine.

Receiving is a turn: the engine gives it, and it ends, once, when next to nothing is missing, by whichever session that
came. What we want may be said anew as often as need be; the credit to begin with is given once.
"""

from __future__ import annotations

from peerd.core.clocks import Clock
from peerd.core.copy import CopyState
from peerd.protocol.effects import CaughtUp, Effect, Send
from peerd.protocol.messages import CREDIT_BYTES, Want
from peerd.protocol.their_copy import TheirCopy

NEARLY = 500  # transactions behind, from where on others may send too


class Wanting:
    def __init__(self, space: bytes) -> None:
        self._space = space
        self._has_turn = False
        self._has_credit = False  # they have from us what they need to begin
        self._refused = 0

    def begin(self, clock: Clock, refused: int) -> Send:
        """It is our turn: everything that `clock` does not cover. `refused` runs were not accepted so far."""
        self._has_turn = True
        self._refused = refused
        return self.again(clock)

    def again(self, clock: Clock, *, either: bool = True) -> Send:
        """From `clock` on. `either`: a snapshot would do."""
        credit_bytes, self._has_credit = 0 if self._has_credit else CREDIT_BYTES, True
        return Send(Want(self._space, clock, credit_bytes, either))

    def what_was_refused(self, clock: Clock, refused: int) -> list[Effect]:
        """What was not accepted when it came may be now; nobody sends it again unasked."""
        if refused <= self._refused:
            return []
        self._refused = refused
        return [self.again(clock)]

    def caught_up(self, theirs: TheirCopy, ours: CopyState) -> list[Effect]:
        """Our turn ends, once: what was missing may have come by any session."""
        if not self._has_turn or theirs.behind(ours) >= NEARLY:
            return []
        self._has_turn = False
        return [CaughtUp()]
