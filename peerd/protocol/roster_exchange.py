"""How two sides of a session bring their rosters together: each says the digest of its own, and after a different one
of theirs the statements that the other is not known to have. A pure machine: methods are events, they give effects.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.roster.room import IN_ALL
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement, statement_id
from peerd.protocol.effects import Effect, LearnStatements, Send
from peerd.protocol.messages import STATEMENTS_PER_FRAME, RosterMessage

_STATEMENTS_BYTES = 256 << 10  # in one frame
_TOLD = 2 * IN_ALL.statements


class RosterExchange:
    def __init__(self, space: bytes) -> None:
        self._space = space
        self._theirs: bytes | None = None  # the digest of their roster
        self._told_digest: bytes | None = None
        self._told: set[bytes] = set()  # ids of statements that they have from us or we from them

    def agree(self, ours: Roster) -> bool:
        """Do they have the statements that we have, and no others?"""
        return self._theirs == ours.digest()

    def tell(self, ours: Roster) -> list[Effect]:
        """What they have to hear of our roster, at the beginning and after it grew."""
        digest = ours.digest()
        effects: list[Effect] = []
        if self._theirs is not None and self._theirs != digest:
            fresh = ours.missing_from(self._told)
            self._told.update(statement_id(signed.data) for signed in fresh)
            effects.extend(Send(RosterMessage(self._space, digest, some)) for some in _frames(fresh))
        if not effects and self._told_digest != digest:
            effects.append(Send(RosterMessage(self._space, digest)))
        self._told_digest = digest
        return effects

    def received(self, message: RosterMessage, ours: Roster) -> list[Effect]:
        """What they say of theirs: statements are to be learnt, and `tell` comes after that."""
        self._theirs = message.digest
        if len(self._told) > _TOLD:  # they make statements up
            self._told.intersection_update(ours.ids())
        self._told.update(statement_id(signed.data) for signed in message.statements)
        return [LearnStatements(list(message.statements))] if message.statements else self.tell(ours)


def _frames(statements: Sequence[SignedStatement]) -> list[list[SignedStatement]]:
    """Statements in groups that fit a frame."""
    groups: list[list[SignedStatement]] = []
    size = _STATEMENTS_BYTES
    for signed in statements:
        length = len(signed.data) + 80
        if size + length > _STATEMENTS_BYTES or len(groups[-1]) == STATEMENTS_PER_FRAME:
            groups.append([])
            size = 0
        groups[-1].append(signed)
        size += length
    return groups
