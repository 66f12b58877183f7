"""Why an object of a relay is of no use, from the error with which reading it ended."""

from __future__ import annotations

from peerd.errors import RemoteProtocolError
from peerd.protocol.relay.courier_steps import Damage

UNREADABLE = "relay-unreadable"
UNKNOWN_KEY = "relay-unknown-key"
FORGED = "relay-forged"

_DAMAGE = {
    UNREADABLE: Damage.UNREADABLE,
    UNKNOWN_KEY: Damage.UNKNOWN_KEY,
    FORGED: Damage.FORGED,
}


def damage_of(problem: RemoteProtocolError) -> Damage:
    """What a courier is told of it: whatever opens and is none of the above makes no sense."""
    return _DAMAGE.get(problem.code, Damage.MALFORMED)
