"""Whose a head is: nothing of one counts before its signature was looked at, the statements in it included.

Whoever was removed still knows the names on a relay and the keys to which heads are sealed, and can leave what opens.
PROTOCOL.md, "Objects".
"""

from __future__ import annotations

from collections.abc import Iterable

from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement, Verify
from peerd.protocol.relay.objects import SignedHead, head_signing_input


def roster_that_knows(device: bytes, roster: Roster, told: Iterable[SignedStatement]) -> Roster:
    """The roster by which the signature of this device can be looked at: ours, or, where that does not know the device,
    what ours would be with these statements.
    """
    return roster if roster.public_key(device) is not None else roster.with_statements(told)[0]


def is_signed(signed: SignedHead, roster: Roster, verify: Verify) -> bool:
    """Is it of the device that it names?"""
    key = roster.public_key(signed.device)
    told = head_signing_input(roster.space, signed.device, signed.data)
    return key is not None and verify(key, signed.signature, told)
