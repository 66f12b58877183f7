"""Who may catch up from whom: of the sessions of a space that are far behind one receives, and the others wait.

So the same bulk does not arrive from everybody at once. Whatever a waiting peer commits meanwhile comes through the one
that is being received from, or when its own turn comes. How far we are behind is what the other side says, and it may
bring nothing: so a turn ends after some minutes, and the next one goes on beside it.
"""

from __future__ import annotations

import asyncio

from peerd.engine.links.session_runner import SessionRunner

FAR_BEHIND = 2_000  # transactions: from here on catching up takes turns
TURN_S = 300.0


class Turns:
    """`receiving` has the turn of a space, `waiting` those that have none yet; by the space's id."""

    def __init__(self) -> None:
        self.receiving: dict[bytes, SessionRunner] = {}
        self.waiting: dict[bytes, list[SessionRunner]] = {}
        self._ends: dict[bytes, asyncio.TimerHandle] = {}

    def wanted(self, session: SessionRunner, behind: int) -> None:
        """It is ready, and brings about so many transactions."""
        if behind < FAR_BEHIND or session.space.snapshots.is_of(session.theirs):
            session.take_turn()  # of a snapshot that was cut, only its maker sends the rest
            return
        space_id = session.space.id
        holder = self.receiving.setdefault(space_id, session)
        if holder is session:
            self._count(session)
            session.take_turn()
        else:
            self.waiting.setdefault(space_id, []).append(session)

    def pass_on(self, session: SessionRunner) -> None:
        """Caught up, or gone: the next one may receive."""
        space_id = session.space.id
        waiting = self.waiting.get(space_id, [])
        if session in waiting:
            waiting.remove(session)
        if self.receiving.get(space_id) is session:
            self._end(space_id)
        while waiting and space_id not in self.receiving:
            following = waiting.pop(0)
            self.wanted(following, following.machine.behind(session.space.ours()))

    def forget(self, space_id: bytes) -> None:
        """Nothing of this space is received any more."""
        self._end(space_id)
        self.waiting.pop(space_id, None)

    def _end(self, space_id: bytes) -> None:
        self.receiving.pop(space_id, None)
        self._stop_counting(space_id)

    def _stop_counting(self, space_id: bytes) -> None:
        if (timer := self._ends.pop(space_id, None)) is not None:
            timer.cancel()

    def _count(self, session: SessionRunner) -> None:
        self._stop_counting(session.space.id)  # it may have begun its turn once more
        self._ends[session.space.id] = asyncio.get_running_loop().call_later(TURN_S, self._is_over, session)

    def _is_over(self, session: SessionRunner) -> None:
        """The next one knows by then what this one has brought."""
        if self.waiting.get(session.space.id):
            self.pass_on(session)
        else:
            self._count(session)
