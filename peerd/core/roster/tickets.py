"""Tickets: how a device is let in that nobody meets, by a file that is carried to it.

An admin states a ticket: the public half of a key made for it alone. The file holds the private half. Whoever has it
signs a *petition* with it and with its own key, and leaves that where the members look (on a relay); the first admin
that finds it there admits the device, in the usual way, naming the ticket: by that the ticket is used up. So a roster
needs no second way in, and what a device may read is sealed to it by a member who has seen it ask.

Of two devices that ask with one ticket at two admins who know nothing of each other both may be let in, and both are
seen among the members. When a ticket is over is judged by the clock of the admin.

Any admin may *withdraw* a ticket: no admin that has heard of it lets anybody in by it. An admission that counts stands
all the same: who came before, or by an admin that had not heard of it, is a member. A withdrawal holds also where its
author was removed and it is void, since to let somebody in by a file that leaked is worse than to let nobody in.

With the admission under which a ticket was stated it ends too: whoever stole a device, or has it no more, has the keys
of its tickets, and would come in again by one that it had made in time.
PROTOCOL.md, "Tickets".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct

from peerd.core.origin import Id16
from peerd.core.roster.lineage import Entry
from peerd.core.roster.room import ADMISSIONS
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import (
    ADMIN,
    Admit,
    DeviceCard,
    SignedStatement,
    Ticket,
    Verify,
    Withdraw,
    decode_statement,
    is_name,
    signing_input,
)
from peerd.errors import RemoteProtocolError

_PETITION_TAG = b"peerd/1 petition\0"
_SEALING_TAG = b"peerd/1 petition key\0"

Sign = Callable[[bytes], bytes]


class Petition(Struct, frozen=True, array_like=True):
    """A device asks to be let in. Both signatures are over (tag, space, ticket, card). `ended`: admissions of it that
    are over, as it knows; who finds the petition may not have heard of that, and take it for a member.
    """

    ticket: Id16
    card: DeviceCard
    by_ticket: bytes
    by_device: bytes
    ended: Annotated[tuple[Id16, ...], Meta(max_length=ADMISSIONS)] = ()


class Used(NamedTuple):
    """A ticket by which somebody came, and the admissions that name it."""

    ticket: Ticket
    admissions: list[Entry]


class Withdrawn(NamedTuple):
    """A ticket by which nobody came, and the statement that withdraws it."""

    ticket: Ticket
    by: SignedStatement


def open_tickets(roster: Roster, now_ms: int) -> dict[bytes, Ticket]:
    """The tickets that a device may still come by, by their ids."""
    gone = _withdrawals(roster)
    return {
        one: found.ticket
        for one, found in _tickets(roster, now_ms).items()
        if not found.admissions and one not in gone and _stated_by_a_member(roster, one)
    }


def open_tickets_of(roster: Roster, device: bytes, now_ms: int) -> list[bytes]:
    """Those of them that this device has stated."""
    found = (roster.entry(one) for one in open_tickets(roster, now_ms))
    return [entry.id for entry in found if entry is not None and entry.statement.author == device]


def used_tickets(roster: Roster, now_ms: int) -> dict[bytes, Used]:
    """Those by which a device came that may still wait to hear of it, by their ids."""
    return {one: found for one, found in _tickets(roster, now_ms).items() if found.admissions}


def withdrawn_tickets(roster: Roster, now_ms: int) -> dict[bytes, Withdrawn]:
    """Those by which nobody may come any more and somebody may still wait to, by their ids."""
    gone = _withdrawals(roster)
    return {
        one: Withdrawn(found.ticket, gone[one])
        for one, found in _tickets(roster, now_ms).items()
        if not found.admissions and one in gone
    }


def tells_withdrawn(told: Iterable[SignedStatement], roster: Roster, expires_ms: int, verify: Verify) -> bool:
    """Does one of these statements withdraw the ticket of ours that expires then? The roster is that of the file, which
    may be too old to take it in; whoever states it must be an admin by it.
    """
    for signed in told:
        try:
            statement = decode_statement(signed.data)
        except RemoteProtocolError:
            continue
        if statement.space != roster.space or not isinstance(statement.body, Withdraw):
            continue
        ticket, author = roster.entry(statement.body.ticket), roster.members.get(statement.author)
        if ticket is None or not isinstance(ticket.body, Ticket) or ticket.body.expires_ms != expires_ms:
            continue
        if author is None or author.role != ADMIN:
            continue
        if verify(author.public_key, signed.signature, signing_input(signed.data)):
            return True
    return False


def is_admin_by_file(roster: Roster, device: bytes, ticket: bytes) -> bool:
    """Is this device an admin to whoever knows of the space what the file of this ticket says?"""
    stated = roster.entry(ticket)
    return stated is not None and any(
        one.device == device and one.role == ADMIN and stated.saw(one) for one in roster.entries()
    )


def _stated_by_a_member(roster: Roster, ticket: bytes) -> bool:
    """Under an admission that has not ended: whoever took the device has the keys of its tickets too."""
    entry = roster.entry(ticket)
    return entry is not None and entry.acting is not None and roster.is_open(entry.acting)


def _withdrawals(roster: Roster) -> dict[bytes, SignedStatement]:
    """By the ids of the tickets. Those that do not count, too."""
    return {
        entry.body.ticket: entry.signed
        for entry in roster.entries()
        if isinstance(entry.body, Withdraw) and entry.acting is not None and entry.acting.role == ADMIN
    }


def _tickets(roster: Roster, now_ms: int) -> dict[bytes, Used]:
    found: dict[bytes, Used] = {}
    for entry in roster.entries():
        if not roster.counts(entry):
            continue
        match entry.body:
            case Ticket() as body if body.expires_ms > now_ms:
                found[entry.id] = Used(body, [])
            case Admit() as body if body.ticket is not UNSET and body.ticket in found:
                found[body.ticket].admissions.append(entry)
    return found


def petition(
    space: bytes, ticket: bytes, card: DeviceCard, *, by_ticket: Sign, by_device: Sign, ended: Iterable[bytes] = ()
) -> bytes:
    """The petition of the device of this card, encoded."""
    told = _told(space, ticket, card)
    return msgspec.msgpack.encode(Petition(ticket, card, by_ticket(told), by_device(told), tuple(ended)))


def read_petition(data: bytes, space: bytes, tickets: dict[bytes, Ticket], verify: Verify) -> Petition:
    """A petition that one of these tickets entitles to.

    Raises:
        RemoteProtocolError: "bad-petition" for anything else.
    """
    try:
        asked = msgspec.msgpack.decode(data, type=Petition)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise _bad(f"it cannot be decoded: {problem}") from None
    ticket = tickets.get(asked.ticket)
    if ticket is None:
        raise _bad("its ticket is used up, withdrawn, expired or unknown")
    if not is_name(asked.card.name):
        raise _bad("the device's name cannot be shown")
    told = _told(space, asked.ticket, asked.card)
    if not verify(ticket.key, asked.by_ticket, told) or not verify(asked.card.public_key, asked.by_device, told):
        raise _bad("a signature is wrong")
    return asked


def petition_secret(space: bytes, names_key: bytes, ticket_key: bytes) -> bytes:
    """What a petition is sealed under (32 bytes): members and the file's owner know it, a relay does not."""
    return blake2b(_SEALING_TAG + space + ticket_key, key=names_key, digest_size=32).digest()


def _told(space: bytes, ticket: bytes, card: DeviceCard) -> bytes:
    return _PETITION_TAG + space + ticket + msgspec.msgpack.encode(card)


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"A petition to be let in is refused: {why}.", code="bad-petition")
