"""How a courier stands, for people."""

from __future__ import annotations

from msgspec import Struct

from peerd.core.clocks import lacking
from peerd.protocol.relay.courier_parts import Parts
from peerd.protocol.relay.courier_steps import Moment, Standing
from peerd.protocol.relay.reports import Report


class Waiting(Struct, frozen=True):
    """How many transactions wait in one direction, and since when (wall clock; None if none do)."""

    transactions: int = 0
    since_ms: int | None = None


class CourierStatus(Struct, frozen=True):
    """Times are wall clock; None means never, or not at the moment."""

    last_success_ms: int | None
    trouble: str  # the code of the last failure if nothing went well since, or empty
    paused_until_ms: int | None  # after a failure, or because the relay asked for it
    lasting: bool  # a person has to put something right
    to_leave: Waiting  # ours and others', which the relay lacks
    to_fetch: Waiting  # which the relay has and our copy lacks
    next_poll_ms: int
    held_bytes: int  # all segments and the best snapshot, as their owners say
    segments: int  # of ours
    snapshot_ms: int | None  # when the best snapshot was made
    heads: int  # of other members, that can be read
    renews_at_ms: int | None = None  # nothing is left before: then all of ours is left anew
    reports: tuple[Report, ...] = ()


def status_of(parts: Parts, standing: Standing, moment: Moment, *, has_looked: bool) -> CourierStatus:
    """`has_looked`: is it known what lies there?"""
    picture, patience = parts.picture, parts.health.patience
    waits = parts.leaving.waits.values()
    behind = lacking(standing.clock, picture.offered)
    paused = not patience.over(moment)
    to_leave = lacking(picture.clock, standing.clock) if has_looked else 0
    return CourierStatus(
        last_success_ms=parts.health.success_ms,
        trouble=parts.health.trouble,
        paused_until_ms=moment.wall_at(patience.until_s) if paused else None,
        lasting=patience.lasting,
        to_leave=Waiting(to_leave, min((wait.since_ms for wait in waits), default=None)),
        to_fetch=Waiting(behind, parts.behind_ms if behind else None),
        next_poll_ms=moment.wall_at(max(parts.polling.next_s, patience.until_s, moment.now_s)),
        held_bytes=picture.held_bytes,
        segments=len(parts.memory.segments),
        snapshot_ms=picture.best.manifest.made_ms if picture.best else None,
        heads=len(parts.view.readable(standing.members)),
        reports=reports_of(parts, standing),
        renews_at_ms=parts.stream.renews_at_ms(moment),
    )


def reports_of(parts: Parts, standing: Standing) -> tuple[Report, ...]:
    """What a person should know of what members left."""
    return tuple(one for one in parts.reports.all() if one.device in standing.members or one.device == parts.us)
