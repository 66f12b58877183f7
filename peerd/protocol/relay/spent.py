"""The answer to a petition by whose ticket nobody comes any more: a head that tells that, and no roster.

Whoever asked knows of the space only what its file says, which may be old. It believes the head if its author is an
admin by that roster and signed it; or the statement that withdrew the ticket, if that comes along and an admin by that
roster made it. An admin by whom neither would be believed leaves the petition to another one. PROTOCOL.md, "Tickets".
"""

from __future__ import annotations

from peerd.core.roster import tickets
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import ADMIN, Ticket, Verify, decode_statement
from peerd.core.stored import USED, WITHDRAWN
from peerd.protocol.relay.objects import SignedHead, Spent, SpentHead, head_signing_input

_CODES = {"used": USED, "withdrawn": WITHDRAWN}


def answer(roster: Roster, ours: bytes, ticket: bytes, now_ms: int) -> SpentHead | None:
    """Why nobody comes by this ticket any more, as `ours` says it; None if whoever asks would not believe it, or the
    ticket is open or has expired.
    """
    withdrawn = tickets.withdrawn_tickets(roster, now_ms).get(ticket)
    if withdrawn is None and ticket not in tickets.used_tickets(roster, now_ms):
        return None
    authors = [ours] if withdrawn is None else [ours, decode_statement(withdrawn.by.data).author]
    if not any(tickets.is_admin_by_file(roster, one, ticket) for one in authors):
        return None
    return SpentHead(
        0,
        now_ms,
        bytes(16),
        1,
        bytes(32),
        statements=[] if withdrawn is None else [withdrawn.by],
        spent=Spent(ticket, "used" if withdrawn is None else "withdrawn"),
    )


def told(signed: SignedHead, head: SpentHead, roster: Roster, expires_ms: int, verify: Verify) -> int | None:
    """USED or WITHDRAWN if this answer says so, credibly, of the ticket that expires then; None otherwise. `roster` is
    that of the file.
    """
    code = None if head.spent is None else _CODES.get(head.spent.why)
    if head.spent is not None and code is not None:
        stated, author = roster.entry(head.spent.ticket), roster.members.get(signed.device)
        is_ours = stated is not None and isinstance(stated.body, Ticket) and stated.body.expires_ms == expires_ms
        if is_ours and author is not None and author.role == ADMIN:
            said = head_signing_input(roster.space, signed.device, signed.data)
            if verify(author.public_key, signed.signature, said):
                return code
    return WITHDRAWN if tickets.tells_withdrawn(head.statements, roster, expires_ms, verify) else None
