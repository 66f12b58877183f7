"""Snapshots in words: of one that comes in, of one that is sent, and of a copy whose place one took."""

from __future__ import annotations

from peerd.core.device_id import format_device_id
from peerd.engine.links.session_runner import SessionRunner
from peerd.engine.space import Space
from peerd.protocol.control.reports import PeerStatus, SnapshotView, TakenView
from peerd.protocol.session import Phase


def snapshot_view(space: Space, now_s: float) -> SnapshotView | None:
    """The one that comes in; None if there is none."""
    coming = space.snapshots.coming
    if coming is None:
        return None
    progress, left_s = coming.progress, coming.left_s(now_s)
    return SnapshotView(
        device=format_device_id(coming.maker) if coming.maker else "",
        name=space.name_of(coming.maker),
        state="merging" if coming.merging else "receiving",
        records=progress.records,
        of_records=max(progress.expected, progress.records),
        bytes=progress.size_bytes,
        of_bytes=max(progress.expected_bytes, progress.size_bytes),
        left_s=None if left_s is None else round(left_s, 1),
    )


def taken_view(space: Space) -> TakenView | None:
    taken = space.provenance.taken
    if taken is None:
        return None
    return TakenView(
        device=format_device_id(taken.device),
        name=space.name_of(taken.device),
        time_ms=taken.taken_ms,
        agreed=taken.agreed,
    )


def describe_behind(status: PeerStatus, space: Space, session: SessionRunner, now_s: float) -> None:
    """Of a session that waits for a snapshot."""
    coming, offered = space.snapshots.coming, session.machine.offer is not None
    status.state = "syncing"
    if coming is not None and coming.maker == session.theirs:
        status.reason = f"its snapshot comes in: {in_words(snapshot_view(space, now_s))}"
    elif session.snapshot_trouble is not None:
        cause, status.next_step = session.snapshot_trouble
        status.state, status.reason = "blocked", f"its snapshot could not be taken in: {cause}"
    elif coming is not None:
        status.reason = f"a snapshot of {space.name_of(coming.maker) or 'another member'} comes in first"
    elif space.snapshots.patience_s(session.theirs):
        status.reason = "the member whose snapshot was cut may go on with it: it is waited for first"
    elif offered:
        status.reason = "a snapshot was asked for, since the log is more"
    elif session.is_fetching:
        status.reason = "a snapshot was asked for, since its log no longer reaches back to what this device has"
    else:
        status.state, status.reason = "blocked", "its log no longer reaches back to what this device has (horizon)"
        status.next_step = "It sends a snapshot; what is written on both sides meanwhile is kept and merged."


def is_sending(space: Space, session: SessionRunner) -> bool:
    """Does the other side take in a snapshot of ours?"""
    return space.snapshots.serving.is_sending(session.theirs) and session.machine.phase is not Phase.SETTLING


def describe_sending(status: PeerStatus, space: Space, session: SessionRunner) -> None:
    outgoing = space.snapshots.serving.served[session.theirs].outgoing
    status.state = "syncing"
    status.reason = f"it takes in a snapshot from here: {outgoing.given:,} of {outgoing.expected:,} records are sent"


def in_words(view: SnapshotView | None) -> str:
    if view is None or view.state == "merging":
        return "it is being merged with what was written here"
    if not view.of_records:
        return "it begins"
    left = "" if view.left_s is None else f", {round(view.left_s):,} s left"
    return f"{view.records:,} of {view.of_records:,} records{left}"
