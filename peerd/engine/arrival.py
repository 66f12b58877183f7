"""Runs of others at the commit door: what of them can be applied in a batch, and what has to wait or is refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from peerd.core.batch import Batch, Forged, Verdict
from peerd.core.chain import Run
from peerd.core.entry import NeedsNewer
from peerd.core.limits import CONTEXT_ORIGINS
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.roster import Roster
from peerd.engine.decoded import Decoded
from peerd.engine.staging import Staging
from peerd.errors import RemoteProtocolError

ORIGINS_BROUGHT = 1_000  # that a device may bring of its own; a new one is needed when its copy went back in time
ORIGINS_WAITING = 1_000  # that have written nothing here yet

_OF_NOBODY = Decoded({})  # of whom nothing is known to be of our history


class Arrival:
    """Some runs that came, with the announcements before them. After `apply`: `waiting` are those that depend on what
    is not here, `refused` those that a removal keeps out, or of more origins than a space or a device has, `worthless`
    the numbers of staged runs that were refused, `surplus` the devices that have too many origins, and `left_out` is
    whether there was no room for some runs to wait.

    `bringers` are the devices that have brought them. Nobody is to make all copies grow without end, nor one of them
    beyond what the others can follow; so a bound stands where an author hands on its own, and what one copy has taken
    in then, all others take from it.
    """

    def __init__(
        self,
        announcements: Sequence[Announcement],
        runs: Sequence[Run],
        decoded: Decoded,
        bringers: Collection[bytes] = (),
    ) -> None:
        self.waiting: list[Run] = []
        self.refused: list[Run] = []
        self.worthless: set[int] = set()
        self._announcements = announcements
        self._runs = runs
        self.surplus: set[bytes] = set()
        self.left_out = False
        self._decoded = decoded
        self._bringers = bringers

    def apply(self, batch: Batch, roster: Roster, staging: Staging) -> None:
        """Apply what can be applied, of these and of what was staged. Begins anew when called again.

        Raises:
            RemoteProtocolError: a run is forged, or its author unknown.
            Fork, NeedsNewer: this space cannot go on with whoever sent it.
        """
        self.refused.clear()
        self.surplus.clear()
        authors = {run.origin for run in self._runs}  # an origin that has written nothing is not worth keeping
        for announcement in self._announcements:
            _introduce(batch, announcement, roster, authors)
        self.waiting[:] = [run for run in self._runs if self._try(batch, run) is Verdict.WAITING]
        before = len(self._runs) + 1
        while len(self.waiting) < before:  # what came beside it, or had been staged, may be what it waits for
            self.worthless.update(staging.try_all(batch, self._try_staged, roster.limit_of))
            before = len(self.waiting)
            self.waiting[:] = [run for run in self.waiting if self._try(batch, run) is Verdict.WAITING]
        self._make_room(batch)

    def _try(self, batch: Batch, run: Run) -> Verdict:
        if not _may_begin(batch, run, self._bringers):
            self.surplus.add(batch.state.origins[run.origin].announcement.device)
            return self._noted(run, Verdict.REFUSED)
        return self._noted(run, attempt(batch, run, self._decoded))

    def _try_staged(self, batch: Batch, run: Run) -> Verdict:
        """Whoever brought it was looked at when it came; but since then our log may begin behind what it names."""
        if not _may_begin(batch, run, None):
            return self._noted(run, Verdict.REFUSED)
        return self._noted(run, attempt(batch, run, _OF_NOBODY))

    def _make_room(self, batch: Batch) -> None:
        """Of origins that are new here and whose runs have to wait, or were refused, only so many are remembered."""
        state = batch.state
        fresh = [one for one, at in state.origins.items() if not at.seq and one not in batch.before.origins]
        room = ORIGINS_WAITING - sum(not at.seq for at in batch.before.origins.values())
        surplus = set(fresh[max(0, room) :])
        self.left_out = bool(surplus)
        if surplus:
            batch.state = replace(state, origins={one: at for one, at in state.origins.items() if one not in surplus})
            self.waiting[:] = [run for run in self.waiting if run.origin not in surplus]

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


def _may_begin(batch: Batch, run: Run, bringers: Collection[bytes] | None) -> bool:
    """May its origin be one more? None: it has come at another time, perhaps by its author."""
    origins = batch.state.origins
    at = origins.get(run.origin)
    if at is None or at.seq:
        return True
    device = at.announcement.device
    written = [one.announcement.device for one in origins.values() if one.seq]
    if len(written) >= CONTEXT_ORIGINS:
        return False
    by_its_author = bringers is None or device in bringers
    return not by_its_author or written.count(device) < ORIGINS_BROUGHT


def _introduce(batch: Batch, announcement: Announcement, roster: Roster, authors: Collection[bytes]) -> None:
    admission = roster.entry(announcement.admission)
    if admission is None or admission.device != announcement.device:
        raise RemoteProtocolError("an origin of a device that the roster does not know", code="unknown-author")
    if (origin := origin_of(batch.state.space, announcement)) in authors:
        batch.state = batch.state.with_origin(origin, announcement)
