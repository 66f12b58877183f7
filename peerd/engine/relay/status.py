"""What relays have to do with the state of a space and of its peers, in words."""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.clocks import ReadClock, lacking
from peerd.core.stored import StoredPetition
from peerd.engine.relay.relays import SeenThere
from peerd.engine.relay.views import ASKED_STEP
from peerd.protocol.control.reports import PeerStatus

RELAYED = "relayed"  # not linked, and seen on a relay that we both use


def describe_relayed(
    status: PeerStatus,
    ours: ReadClock,
    seen: SeenThere | None,
    hindrance: tuple[str, str] | None = None,
    fork: tuple[str, str] | None = None,
) -> None:
    """Of a peer without a link: how far it is, as its head on a relay says, and why it comes no nearer (cause and next
    step). Who refuses us stays refused; of whom no head can be read it is said why not. With whom there is a `fork`
    nothing is exchanged.
    """
    if status.state != "offline":
        return
    if fork is not None:
        status.state, (status.reason, status.next_step) = "blocked", fork
        return
    if seen is None:
        if hindrance is not None:
            status.reason, status.next_step = hindrance
        return
    status.state, status.since_ms = RELAYED, seen.t_ms
    status.behind, status.ahead = lacking(ours, seen.clock), lacking(seen.clock, ours)
    status.reason = status.next_step = ""
    if is_behind_on_relay(status):
        status.reason = f"on its way through the {seen.relay} relay"
        status.next_step = "Nothing: it is looked at by itself; `peerctl relay sync` does it now."
        if not status.behind:
            status.next_step = "Nothing: it is left there by itself, and that device takes it when it looks there."
        if hindrance is not None:
            status.reason, status.next_step = hindrance


def is_behind_on_relay(peer: PeerStatus) -> bool:
    """Does either side lack something, as far as the relay tells?"""
    return peer.state == RELAYED and bool(peer.behind or peer.ahead)


def petition_state(petition: StoredPetition, now_ms: int, relays: Sequence[str]) -> tuple[str, str, str]:
    """State, reason and next step of a space that this device has asked to be let into by a file."""
    if not petition.expires_ms:
        return (
            "removed",
            "this device has asked to be let in, and a member has withdrawn the invitation",
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
            "waiting",
            "this device asks to be let in, and no relay here has this space among its spaces",
            "Configure the relay that the others use; see docs/relay.md.",
        )
    return (
        "waiting",
        f"this device has asked to be let in through {', '.join(relays)}, and no member has answered yet",
        ASKED_STEP,
    )
