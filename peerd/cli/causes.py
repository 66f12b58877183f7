"""One finding for each cause, whatever it touches.

A cause is seen in several places: a folder that is not mounted at the relay and at every member whom nothing else
reaches, a damaged database at its space, at the device and in its readiness. `once` makes one finding of them, the one
that is nearest to the cause, and lists in it what else it `affects`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from peerd.cli.machine import CLOCKS, DISK, MDNS_PORT, NETWORK, NO_MDNS, NOTE, OK, PROBLEM, Finding
from peerd.errors import MAKE_ROOM

if TYPE_CHECKING:
    from collections.abc import Callable

    Affects = Callable[[Finding], bool]

_WEIGHT: Final = {OK: 0, NOTE: 1, PROBLEM: 2}
ROOM: Final = (MAKE_ROOM, "Free some space on that file system")
_ON_THIS_MACHINE: Final = ("127.", "[::1]")
OUR_CLOCK: Final = "this device's clock is "  # how the daemon begins what it says of it
REMOVED: Final = " says that this device was removed"
NEVER_SEEN: Final = "admitted, never seen"


def once(findings: list[Finding]) -> list[Finding]:
    """Of each cause the finding that is nearest to it, with the gravest state of all that it touches."""
    for cause, affects in _known(findings):
        findings = _gathered(findings, cause, affects)
    nearest_first = sorted((one for one in findings if one.cause), key=lambda one: (len(one.cause), bool(one.word)))
    for cause in nearest_first:
        if any(one is cause for one in findings):  # else it is told by another one already
            findings = _gathered(findings, cause, partial(_says_the_same, cause))
    return findings


def _gathered(findings: list[Finding], cause: Finding, affects: Affects) -> list[Finding]:
    touched = [one for one in findings if one is not cause and one.state != OK and affects(one)]
    if not touched:
        return findings
    state = max((cause.state, *(one.state for one in touched)), key=_WEIGHT.__getitem__)
    told = cause._replace(state=state, affects=(*cause.affects, *(name for one in touched for name in _names(one))))
    whole = [told if one is cause else one for one in findings]
    return [one for one in whole if not any(one is other for other in touched)]


def _names(finding: Finding) -> tuple[str, ...]:
    """It, and what it was found to affect before."""
    return (f"{finding.check} ({finding.word})" if finding.word else finding.check, *finding.affects)


def _says_the_same(cause: Finding, one: Finding) -> bool:
    """A device names the space before the cause, a space the peer, a peer the relay."""
    same = one.cause == cause.cause or one.cause.endswith(f": {cause.cause}")
    same = same or (one.cause.endswith(REMOVED) and cause.cause.endswith(REMOVED))  # whoever it is that says so
    return same and one.next_step in {"", cause.next_step}


def _known(findings: list[Finding]) -> list[tuple[Finding, Affects]]:
    """Causes that are told in other words where they are felt."""
    known: dict[str, Affects] = {
        CLOCKS: _is_of_our_clock,
        DISK: _wants_room,
        NETWORK: _is_out_of_reach,
        MDNS_PORT: _is_without_mdns,
    }
    return [
        (one, known[one.check])
        for one in findings
        if one.check in known and (one.state == PROBLEM or (one.check, one.state) == (NETWORK, NOTE))
    ]


def _is_of_our_clock(one: Finding) -> bool:
    return one.cause.startswith(OUR_CLOCK)


def _wants_room(one: Finding) -> bool:
    return one.next_step.startswith(ROOM)


def _is_out_of_reach(one: Finding) -> bool:
    if one.check in {"network.peers", "multicast"}:
        return not any(mark in one.cause for mark in _ON_THIS_MACHINE)
    astray = one.word == "offline" and one.cause != NEVER_SEEN and "relay: " not in one.cause
    return astray and not any(mark in one.cause for mark in _ON_THIS_MACHINE)


def _is_without_mdns(one: Finding) -> bool:
    return one.check == "multicast" or one.cause.startswith(NO_MDNS)
