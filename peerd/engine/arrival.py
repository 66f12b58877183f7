"""Runs of others at the commit door: what of them can be applied in a batch, and what has to wait or is refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from peerd.core.batch import Batch, Forged, Verdict
from peerd.core.chain import Run
from peerd.core.entry import NeedsNewer
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.roster import Roster
from peerd.engine.decoded import Decoded
from peerd.engine.staging import Staging
from peerd.errors import RemoteProtocolError

_OF_NOBODY = Decoded({})  # of whom nothing is known to be of our history


class Arrival:
    """Some runs that came, with the announcements before them. After `apply`: `waiting` are those that depend on what
    is not here, `refused` those that a removal keeps out, `worthless` the numbers of staged runs that were refused.
    """

    def __init__(self, announcements: Sequence[Announcement], runs: Sequence[Run], decoded: Decoded) -> None:
        self.waiting: list[Run] = []
        self.refused: list[Run] = []
        self.worthless: set[int] = set()
        self._announcements = announcements
        self._runs = runs
        self._decoded = decoded

    def apply(self, batch: Batch, roster: Roster, staging: Staging) -> None:
        """Apply what can be applied, of these and of what was staged. Begins anew when called again.

        Raises:
            RemoteProtocolError: a run is forged, or its author unknown.
            Fork, NeedsNewer: this space cannot go on with whoever sent it.
        """
        self.refused.clear()
        authors = {run.origin for run in self._runs}  # an origin that has written nothing is not worth keeping
        for announcement in self._announcements:
            _introduce(batch, announcement, roster, authors)
        self.waiting[:] = [run for run in self._runs if self._try(batch, run) is Verdict.WAITING]
        before = len(self._runs) + 1
        while len(self.waiting) < before:  # what came beside it, or had been staged, may be what it waits for
            self.worthless.update(staging.try_all(batch, self._try_staged, roster.limit_of))
            before = len(self.waiting)
            self.waiting[:] = [run for run in self.waiting if self._try(batch, run) is Verdict.WAITING]

    def _try(self, batch: Batch, run: Run) -> Verdict:
        return self._noted(run, attempt(batch, run, self._decoded))

    def _try_staged(self, batch: Batch, run: Run) -> Verdict:
        """Whoever brought it was looked at when it came; but since then our log may begin behind what it names."""
        return self._noted(run, attempt(batch, run, _OF_NOBODY))

    def _noted(self, run: Run, verdict: Verdict) -> Verdict:
        if verdict is Verdict.REFUSED:
            self.refused.append(run)
        return verdict


def attempt(batch: Batch, run: Run, decoded: Decoded) -> Verdict:
    """Apply one run, if it is its turn. `decoded` has what was decoded ahead. Raises as `Arrival.apply`."""
    at = batch.state.origins.get(run.origin)
    if at is None:
        raise RemoteProtocolError("a run of an origin that was not announced", code="unknown-author")
    if run.last <= at.seq:
        return Verdict.KNOWN
    try:
        return batch.take(run, decoded.entries(run), decoded.known)
    except NeedsNewer:
        raise
    except (Forged, ValueError) as problem:
        raise RemoteProtocolError(str(problem), code="bad-entry", close_code=4400) from None


def _introduce(batch: Batch, announcement: Announcement, roster: Roster, authors: Collection[bytes]) -> None:
    admission = roster.entry(announcement.admission)
    if admission is None or admission.device != announcement.device:
        raise RemoteProtocolError("an origin of a device that the roster does not know", code="unknown-author")
    if (origin := origin_of(batch.state.space, announcement)) in authors:
        batch.state = batch.state.with_origin(origin, announcement)
