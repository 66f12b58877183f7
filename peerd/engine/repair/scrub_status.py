"""What was wrong with a copy, in words."""

from __future__ import annotations

from peerd.core.device_id import format_device_id
from peerd.core.repair.scrub import CHANGED, DIFFERS, DIVERGED, LOG, MISSING, UNREADABLE, Finding
from peerd.engine.space import Space
from peerd.protocol.control.reports import FindingView, ScrubView

SHOWN = 20

_FOUND = {
    CHANGED: "is not what was written",
    UNREADABLE: "cannot be read",
    MISSING: "was gone",
    DIFFERS: "was another one than it should be",
}
_DONE = {
    "log": "put right from the log",
    "snapshot": "replaced by a snapshot",
    "peer": "put right from {device}",
    "gone": "written over since then",
    "equal": "the same as {device} has",
    "nowhere": "no member has it any more",
    "again": "put right with {device}; what stood here was written again beside it, as a conflict",
}
_REASON = "{count} in this device's copy {are} damaged"
_STEP = (
    "It is put right as soon as another member is linked that has everything this device has. "
    'Look at the disk; see docs/recovery.md, "Damaged records".'
)
_LOG_REASON = "the log of this device's copy is damaged; what its records show is not"
_LOG_STEP = 'It comes again from another member that has it. See docs/recovery.md, "Damaged records".'


def describe_scrub(space: Space) -> ScrubView:
    scrub = space.scrub
    state = scrub.state
    findings = space.damage.findings
    view = ScrubView(
        running=scrub.running,
        progress=round(min(1.0, (state.row + state.run) / scrub.end), 3) if scrub.end else 0.0,
        finished_ms=state.finished_ms,
        records=state.last_records,
        runs=state.last_runs,
        found=state.last_found,
        damaged=len([one for one in findings.open if one.found != DIVERGED]),
        repaired=len([one for one in findings.all if one.done and one.found != DIVERGED]),
        findings=[_finding(space, one) for one in reversed(findings.all[-SHOWN:])],
    )
    if space.damage.is_known:
        count = len(findings.open_records)
        what = f"{count} record{'s'[: count != 1]}" if count else "records"
        view.reason = _REASON.format(count=what, are="is" if count == 1 else "are")
        view.next_step = _STEP
    elif any(one.found == LOG for one in findings.open):
        view.reason, view.next_step = _LOG_REASON, _LOG_STEP
    elif scrub.trouble is not None:
        view.reason, view.next_step = f"its copy cannot be looked at: {scrub.trouble}", scrub.trouble.next_step
    return view


def _finding(space: Space, finding: Finding) -> FindingView:
    device = "" if finding.device is None else format_device_id(finding.device)
    called = device and (space.name_of(finding.device or b"") or device)
    if finding.found == DIVERGED:
        what = f"this device's copy and {called}'s differed"
    elif finding.found == LOG:
        origin, _, first = finding.key.partition(" ")
        what = f"the log of origin {origin} is damaged from transaction {first} on"
    else:
        what = f"{finding.collection}/{finding.key} {_FOUND.get(finding.found, finding.found)}"
    done = _DONE.get(finding.done, finding.done).format(device=called)
    return FindingView(
        at_ms=finding.at_ms,
        found=finding.found,
        collection=finding.collection,
        key=finding.key,
        device=device,
        done=finding.done,
        text=f"{what}: {done}" if done else what,
    )
