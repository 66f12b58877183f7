"""How a session with a peer stands, in words."""

from __future__ import annotations

from peerd.core.device_id import short_id
from peerd.engine.links.clocks import PeerClock
from peerd.engine.links.session_runner import SessionRunner
from peerd.engine.snapshots.status import describe_behind, describe_sending, is_sending
from peerd.engine.space import Space
from peerd.protocol.control.reports import PeerStatus
from peerd.protocol.effects import Blocked
from peerd.protocol.session import Phase

STEPS = {  # by the code of what stopped a space, or a session on this side
    "fork": "One of the two was set back to an earlier state. Keep both running; it is being settled.",
    "needs-newer": "Update peerd on this device.",
    "horizon": "That device no longer has the log that this copy needs: another member may have it.",
    "diverged": 'They are being put right; if it lasts for minutes, see docs/recovery.md, "Copies diverged".',
    "diverged-old": "Update peerd on that device: then the two put it right by themselves.",
    "removed": "Ask a member to invite this device again, or be rid of the copy with `peerctl space forget NAME`.",
}
_STEPS_THERE = {  # the same, where the other side stopped it
    **STEPS,
    "needs-newer": "Update peerd on that device.",
    "horizon": "This device no longer has the log that copy needs: another member may have it.",
}


def describe_session(status: PeerStatus, space: Space, session: SessionRunner, clock: PeerClock, now_s: float) -> None:
    """Fill in state, reason and next step of a peer that is linked."""
    machine, ours = session.machine, space.ours()
    status.behind, status.ahead = machine.behind(ours), machine.ahead(ours)
    if machine.blocked is not None:
        status.state = "blocked"
        status.reason, status.next_step = _why_blocked(machine.blocked, space, session)
    elif session.inbound.stalled is not None:
        status.state, status.reason = "blocked", f"nothing more is taken in here: {session.inbound.stalled}"
        status.next_step = session.inbound.stalled.next_step
    elif is_sending(space, session):
        describe_sending(status, space, session)
    elif machine.notice is not None and machine.notice.code == "horizon":
        # It may take in another member's first: nothing is wrong with either, and nothing is to be put right.
        status.state, status.reason = (
            "syncing",
            "it lacks what the log here no longer has: it takes in a snapshot first",
        )
    elif machine.notice is not None:
        status.state, status.reason = "blocked", f"that device says: {machine.notice.text}"
        status.next_step = "Put it right there; it goes on by itself."
    elif session.diverged:
        status.state = "diverged"
        status.reason = "both have applied the same transactions, but their data differ: one copy is damaged"
        if doubt := space.provenance.doubt(session.theirs):
            status.reason += f"; {doubt}"
        status.next_step = STEPS["diverged" if session.repairs.understood else "diverged-old"]
    else:
        _describe_course(status, space, session, now_s)
    status.clock_off_ms = clock.off_ms
    if clock.reason and not status.reason:
        status.reason, status.next_step = clock.reason, clock.next_step


def _describe_course(status: PeerStatus, space: Space, session: SessionRunner, now_s: float) -> None:
    """Of a session that nothing is wrong with."""
    machine = session.machine
    if machine.phase is Phase.SETTLING:
        status.state, status.reason = "connecting", "exchanging the list of members"
    elif machine.phase is Phase.COMPARING:
        status.state, status.reason = "connecting", "comparing what both have"
    elif machine.phase is Phase.BEHIND:
        describe_behind(status, space, session, now_s)
    elif machine.phase is Phase.READY:
        status.state = "syncing"
        status.reason = "waiting for its turn: catching up from another device first"
    elif session.in_sync:
        status.state = "in sync"
    else:
        status.state = "syncing"
        waiting = len(space.commits.staging)
        if waiting:
            status.reason = (
                "1 run waits for what it depends on" if waiting == 1 else f"{waiting} runs wait for what they need"
            )


def _why_blocked(why: Blocked, space: Space, session: SessionRunner) -> tuple[str, str]:
    if why.code == "fork":
        return _of_fork(space, session)
    whose, steps = ("here", STEPS) if why.ours else ("by that device", _STEPS_THERE)
    return f"stopped {whose} ({why.code}): {why.text}", steps.get(why.code, "")


def _of_fork(space: Space, session: SessionRunner) -> tuple[str, str]:
    """What differs, whose it is, and who does what about it."""
    fork = space.forks.with_peer(session.theirs)
    if fork is None:
        return "two histories of one device: the two are finding out where they part", STEPS["fork"]
    reason = space.forks.in_words(fork)
    side = space.forks.sides.get(fork.origin)
    if session.forks.is_recopying:
        return reason, "This device takes in a copy of that one, and then writes again what only it had."
    goes_over = session.forks.goes_over
    if goes_over is False or (goes_over is None and side is not None and side.stands):
        return (
            reason,
            "That device takes in a copy of this one, and then writes again what only it had. Keep both running.",
        )
    if goes_over or (side is not None and side.falls):
        return reason, "This device takes in a copy of that one by itself. Keep both running."
    theirs = space.name_of(session.theirs) or short_id(session.theirs)
    step = f"`peerctl recopy {space.name} --from {theirs}` here, or the same on that device: both keep their values."
    return reason, STEPS["fork"] if not session.forks.is_over else step
