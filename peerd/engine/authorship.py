"""Under which origin this device writes to a space."""

from __future__ import annotations

from peerd.core.batch import Author
from peerd.core.copy import CopyState
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.roster import Roster
from peerd.engine.ports import Keys, Times
from peerd.errors import UserError
from peerd.logs import get

log = get(__name__)


class Authorship:
    """`origin` is the one that goes on; None: what is written next takes a new one."""

    def __init__(self, origin: bytes | None, keys: Keys, times: Times) -> None:
        self.origin = origin
        self._keys = keys
        self._times = times
        self._fresh: tuple[bytes, Announcement] | None = None  # an origin that has not written yet

    def look_back(self, before: CopyState, after: CopyState) -> None:
        """Did others bring what we wrote under our own origin? Then our copy went back in time: they may have more."""
        if self.origin is not None and after.seq(self.origin) > before.seq(self.origin):
            log.warning("copy went back in time", space=after.space.hex(), origin=self.origin.hex())
            self.origin = None

    def author(self, state: CopyState, roster: Roster) -> Author:
        """Who we are here; draws a new origin if we may not go on under an old one.

        Raises:
            UserError: "removed" or "not-admitted", if we are no member any more or not yet.
        """
        device = self._keys.device
        member = roster.members.get(device)
        if member is None and device not in roster.removed:
            raise UserError(
                "this device is no member of the space yet; it may write when a member has let it in",
                code="not-admitted",
                status=403,
                next_step="`peerctl status` says what it waits for.",
            )
        if member is None:
            raise UserError(
                "this device is no member of the space any more; its copy can be read but not written",
                code="removed",
                status=403,
                next_step="Ask a member to invite this device again.",
            )
        if self.origin is not None and not roster.is_closed(self.origin):
            at = state.origins.get(self.origin)
            if at is not None and at.announcement.admission == member.admission:
                return Author(self.origin, at.announcement, self._keys.sign)
            if self._fresh is not None and self._fresh[0] == self.origin:
                return Author(*self._fresh, self._keys.sign)
        announcement = Announcement(device, member.admission, self._times.random_bytes(16))
        self.origin = origin_of(state.space, announcement)
        self._fresh = self.origin, announcement
        log.info("origin taken", space=state.space.hex(), origin=self.origin.hex())
        return Author(self.origin, announcement, self._keys.sign)
