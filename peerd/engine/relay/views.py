"""How a space stands on a relay, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peerd.core.device_id import format_device_id, short_id
from peerd.core.stored import WITHDRAWN, StoredPetition
from peerd.engine.forks.forks import PAST_STEP, step_of
from peerd.engine.members.petitioning import Petitioning
from peerd.engine.relay.relaying import CourierRunner
from peerd.engine.space import Space
from peerd.errors import PeerdError, RelayTrouble
from peerd.protocol.control.relays import RelayFinding, RelayView
from peerd.protocol.relay.reports import Report

_ASKED_STEP = (
    "The device of an admin that uses the relay answers by itself. A file is good for one device: if another one has "
    "used it, have a member make a new one with `peerctl invite SPACE --file PATH`."
)
_LEFT_ANEW = "what this device left there is not there any more as it was; all of it is left anew, at most now and then"
_HOLDS_PAST = "this device was set back, and what it left there before does not go with what it has written since"
_LEFT_ANEW_STEP = "`peerctl relay sync` does it at once. Find out what deletes there or puts back an earlier state."
_ROLLED_BACK_STEP = "Nothing; if it happens again and again, find out what deletes there or puts back an earlier state."
_CLONED, _SEALED_FOR_OTHERS = "relay-cloned", "relay-unknown-key"
_IN_THE_WAY = {  # of what is found there: nothing comes from that device, or goes to it
    _CLONED: 'If so, make the copy a device of its own: see docs/recovery.md, "A cloned machine".',
    "relay-damaged": "Whoever made it is asked to leave it again when this device has run for an hour in all.",
    "relay-lost": "Nothing: whoever has it leaves it again when it sees that it is missed.",
    _SEALED_FOR_OTHERS: "Ask a member whether this device was removed. If so, what is written here stays here alone.",
}
_STEPS = {
    **_IN_THE_WAY,
    "relay-rolled-back": _ROLLED_BACK_STEP,
    "relay-swapped": "Nothing: what is missing because of it is asked for again.",
}


def view_of(runner: CourierRunner) -> RelayView:
    """Of a space that has a courier."""
    status, trouble = runner.status(), runner.trouble
    view = RelayView(relay=runner.relay, space=runner.space.name, state="working")
    if status is not None:
        view.state = "idle" if runner.settled.is_set() else "working"
        view.last_success_ms = status.last_success_ms
        view.to_send, view.to_send_since_ms = status.to_leave.transactions, status.to_leave.since_ms
        view.to_fetch, view.to_fetch_since_ms = status.to_fetch.transactions, status.to_fetch.since_ms
        view.held_bytes, view.limit_bytes = status.held_bytes, runner.settings.max_bytes
        view.waits_until_ms, view.next_poll_ms = status.paused_until_ms, status.next_poll_ms
        if status.renews_at_ms is not None:
            view.state, view.waits_until_ms = "waiting", status.renews_at_ms
            view.code, view.reason, view.next_step = "relay-rolled-back", _LEFT_ANEW, _LEFT_ANEW_STEP
        view.findings = _findings(runner.space, runner.relay, status.reports)
    if runner.holds_past:
        view.state, view.code, view.reason, view.next_step = "trouble", "fork", _HOLDS_PAST, PAST_STEP
    elif (not_taken := runner.not_taken()) is not None:
        maker = runner.space.name_of(not_taken.maker) or short_id(not_taken.maker)
        view.state, view.code = "trouble" if not_taken.lasting else "waiting", not_taken.code
        view.reason = f"the snapshot that {maker} left there could not be taken in: {not_taken.cause}"
        view.next_step = not_taken.next_step
    elif trouble is not None:
        _tell(view, trouble)
    return view


def view_without_courier(
    relay: str, name: str, space: Space | None, petitioning: Petitioning | None, now_ms: int
) -> RelayView:
    """Of a space, here called `name`, that has no courier. `now_ms`: wall clock."""
    view = RelayView(relay=relay, space=name, state="trouble")
    if space is None:
        view.code, view.reason = "space-not-found", f"there is no space {name!r} on this device"
        view.next_step = f"Create or join it, or take it out of [relay.{relay}]."
    elif space.roster.is_member(space.device):  # its courier is about to start
        view.state = "working"
    elif space.petition is not None:
        state, view.reason, view.next_step = petition_state(space.petition, now_ms, [relay])
        if state == "removed":
            view.code = state
        else:
            view.state = "waiting"
            if petitioning is not None and petitioning.trouble is not None:
                _tell(view, petitioning.trouble)
    else:
        view.code, view.reason = "removed", _why_outside(space)
        view.next_step = "Ask a member to invite it again."
    return view


def petition_state(petition: StoredPetition, now_ms: int, relays: Sequence[str]) -> tuple[str, str, str]:
    """State, reason and next step of a space that this device has asked to be let into by a file."""
    if petition.is_spent:
        why = "another device has used the invitation file, which is good for one"
        if petition.expires_ms == WITHDRAWN:
            why = "a member has withdrawn the invitation"
        return (
            "removed",
            f"this device has asked to be let in, and {why}",
            "Ask a member for a new one (`peerctl invite SPACE --file PATH`).",
        )
    if petition.expires_ms <= now_ms:
        return (
            "removed",
            "this device has asked to be let in, and by its clock the invitation has expired",
            "Look whether the clock is right. If so, ask a member for a new one (`peerctl invite SPACE --file PATH`).",
        )
    if not relays:
        return (
            "degraded",
            "this device asks to be let in, and no relay here has this space among its spaces",
            "Configure the relay that the others use; see docs/relay.md.",
        )
    return (
        "waiting",
        f"this device has asked to be let in through {', '.join(relays)}, and no member has answered yet",
        _ASKED_STEP,
    )


def trouble_in(views: Iterable[RelayView]) -> tuple[str, str] | None:
    """What a person has to see to before one of these relays works: cause and next step."""
    for view in views:
        if view.state == "trouble":
            return f"{view.relay} relay: {view.reason}", view.next_step
        for finding in view.findings:
            if finding.code in {_CLONED, _SEALED_FOR_OTHERS}:
                called = finding.name or finding.device
                return f"{view.relay} relay: {called}: {finding.text}", _IN_THE_WAY[finding.code]
    return None


def hindrance_in(views: Iterable[RelayView], device: bytes) -> tuple[str, str] | None:
    """Why none of these relays brings anything from or to a member: cause and next step. None if one works."""
    called, found = format_device_id(device), None
    for view in views:
        of_it = (one for one in view.findings if one.device == called and one.code in _IN_THE_WAY)
        if view.reason:
            found = f"{view.relay} relay: {view.reason}", view.next_step
        elif (finding := next(of_it, None)) is not None:
            found = f"{view.relay} relay: {finding.text}", _IN_THE_WAY[finding.code]
        else:
            return None
    return found


def _findings(space: Space, relay: str, reports: Sequence[Report]) -> list[RelayFinding]:
    """What was left on another history than ours is not damaged, though none of it is taken."""
    forks = space.forks.seen_on(relay)
    forked = {fork.peer for fork in forks}
    told = [(fork.peer, "fork", space.forks.in_words(fork), step_of(fork)) for fork in forks]
    told += [
        (one.device, one.code, one.text, _STEPS.get(one.code, ""))
        for one in reports
        if one.device not in forked or one.code != "relay-damaged"
    ]
    return [
        RelayFinding(
            device=format_device_id(device) if device else "",
            name=space.name_of(device) if device else "",
            code=code,
            text=text,
            next_step=next_step,
        )
        for device, code, text, next_step in told
    ]


def _tell(view: RelayView, trouble: PeerdError) -> None:
    lasting = isinstance(trouble, RelayTrouble) and trouble.lasting
    view.state = "trouble" if lasting or view.waits_until_ms is None else "waiting"
    view.code, view.reason, view.next_step = trouble.code, str(trouble), trouble.next_step


def _why_outside(space: Space) -> str:
    removal = space.roster.removed.get(space.device)
    if removal is None:
        return "this device is no member of the space"
    by = space.name_of(removal.by)
    return f"this device was removed from the space{' by ' + by if by else ''}"
