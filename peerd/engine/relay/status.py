"""What relays have to do with the state of a space and of its peers, in words."""

from __future__ import annotations

from peerd.core.clocks import ReadClock, lacking
from peerd.engine.relay.relays import SeenThere
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
