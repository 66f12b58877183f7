"""Whose a head is, and of which time: nothing of one counts before its signature was looked at, the statements in it
included.

Whoever was removed still knows the names on a relay and the keys to which heads are sealed, and can leave what opens.
PROTOCOL.md, "Objects".
"""

from __future__ import annotations

from collections.abc import Iterable

from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement, Verify, statement_id
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


def is_of_before(device: bytes, roster: Roster, told: Iterable[SignedStatement]) -> bool:
    """Was it left before its device was let in again? Then it does not tell of the admission that counts now, and the
    device may have come with another copy since.
    """
    member = roster.members.get(device)
    if member is None or not roster.was_removed(device):
        return False
    return member.admission not in {statement_id(one.data) for one in told}
