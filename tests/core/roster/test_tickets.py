"""Tickets: who may come by a file, and until when."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from peerd.core.roster import compose, tickets
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import (
    WITHDRAW,
    DeviceCard,
    SignedStatement,
    Withdraw,
    encode_statement,
    signing_input,
    statement_id,
)
from peerd.errors import RemoteProtocolError, UserError
from tests.core.conftest import _signature

if TYPE_CHECKING:
    from tests.core.conftest import Cast

KEY = b"t" * 32
EXPIRES_MS = 1_000


@pytest.fixture
def roster(cast: Cast) -> Roster:
    """Of device 0 and 1, with a ticket that device 0 has stated."""
    one = cast.space_of(0, 1)
    return cast.say(one, compose.ticket(one, cast.devices[0], KEY, EXPIRES_MS, "member"))


def _ask(roster: Roster, card: DeviceCard, *, ticket_key: bytes = KEY) -> bytes:
    (ticket,) = tickets.open_tickets(roster, 0)
    return tickets.petition(
        roster.space,
        ticket,
        card,
        by_ticket=partial(_signature, ticket_key),
        by_device=partial(_signature, card.public_key),
    )


def test_a_petition_with_both_signatures_is_read(cast: Cast, roster: Roster) -> None:
    open_ones = tickets.open_tickets(roster, EXPIRES_MS - 1)
    ((number, ticket),) = open_ones.items()
    assert (ticket.key, ticket.role) == (KEY, "member")
    asked = tickets.read_petition(_ask(roster, cast.cards[5]), roster.space, open_ones, cast.verify)
    assert (asked.ticket, asked.card) == (number, cast.cards[5])


def test_a_ticket_is_used_up_by_the_first_that_is_admitted_by_it(cast: Cast, roster: Roster) -> None:
    """An admission that names no ticket, or another, leaves it open."""
    (number,) = tickets.open_tickets(roster, 0)
    other = cast.admit(roster, 0, 4)
    assert list(tickets.open_tickets(other, 0)) == [number]
    used = cast.say(other, compose.admit(other, cast.devices[1], cast.cards[5], "member", ticket=number))
    assert tickets.open_tickets(used, 0) == {}
    ((which, (ticket, admissions)),) = tickets.used_tickets(used, 0).items()
    assert (which, ticket.key, [one.device for one in admissions]) == (number, KEY, [cast.devices[5]])
    assert tickets.used_tickets(used, EXPIRES_MS) == tickets.used_tickets(other, 0) == {}
    with pytest.raises(RemoteProtocolError, match="used up") as refused:
        tickets.read_petition(_ask(roster, cast.cards[6]), roster.space, {}, cast.verify)
    assert refused.value.code == "bad-petition"


def test_a_ticket_expires(roster: Roster) -> None:
    assert tickets.open_tickets(roster, EXPIRES_MS) == {}


def test_a_ticket_of_somebody_who_was_removed_at_the_same_time_is_void(cast: Cast) -> None:
    both = cast.space_of(0, 1)
    stated = cast.say(both, compose.ticket(both, cast.devices[1], KEY, EXPIRES_MS))
    removed = cast.remove(both, 0, 1)
    assert tickets.open_tickets(cast.joined(stated, removed), 0) == {}


def test_a_ticket_ends_with_the_admission_of_who_stated_it(cast: Cast) -> None:
    """Though who removed it knew of the ticket: whoever has the device has the ticket's key."""
    both = cast.space_of(0, 1, 2)
    stated = cast.say(both, compose.ticket(both, cast.devices[1], KEY, EXPIRES_MS))
    (number,) = tickets.open_tickets_of(stated, cast.devices[1], 0)
    assert tickets.open_tickets_of(stated, cast.devices[0], 0) == []
    removed = cast.remove(stated, 0, 1)
    assert tickets.open_tickets(removed, 0) == {}
    assert tickets.open_tickets_of(removed, cast.devices[1], 0) == []
    again = cast.admit(removed, 0, 1)
    assert tickets.open_tickets(again, 0) == {}
    used = cast.say(stated, compose.admit(stated, cast.devices[2], cast.cards[5], ticket=number))
    assert list(tickets.used_tickets(cast.remove(used, 0, 1), 0)) == [number]


def test_only_admins_make_tickets(cast: Cast) -> None:
    roster = cast.admit(cast.space_of(0), 0, 1, "member")
    with pytest.raises(UserError) as refused:
        compose.ticket(roster, cast.devices[1], KEY, EXPIRES_MS)
    assert refused.value.code == "not-admin"


def test_any_admin_withdraws_a_ticket(cast: Cast, roster: Roster) -> None:
    (number,) = tickets.open_tickets(roster, 0)
    gone = cast.say(roster, compose.withdraw(roster, cast.devices[1], number))
    assert not tickets.open_tickets(gone, 0)
    assert not tickets.used_tickets(gone, 0)
    ((which, (ticket, by)),) = tickets.withdrawn_tickets(gone, 0).items()
    assert (which, ticket.key, by) == (number, KEY, gone.statements[-1])
    assert tickets.withdrawn_tickets(gone, EXPIRES_MS) == tickets.withdrawn_tickets(roster, 0) == {}
    other = cast.say(roster, compose.withdraw(roster, cast.devices[1], b"another ticket ."))
    assert list(tickets.open_tickets(other, 0)) == [number]


def test_who_came_by_a_ticket_before_it_was_withdrawn_stays(cast: Cast, roster: Roster) -> None:
    """Also who came at the same time, and by an admin that does not know what that is."""
    (number,) = tickets.open_tickets(roster, 0)
    used = cast.say(roster, compose.admit(roster, cast.devices[1], cast.cards[5], "member", ticket=number))
    gone = cast.say(roster, compose.withdraw(roster, cast.devices[0], number))
    after = cast.say(gone, compose.admit(gone, cast.devices[1], cast.cards[5], "member", ticket=number))
    for one in (cast.joined(used, gone), after):
        assert one.is_member(cast.devices[5])
        assert not tickets.open_tickets(one, 0)
        assert not tickets.withdrawn_tickets(one, 0)
        assert list(tickets.used_tickets(one, 0)) == [number]


def test_a_ticket_stays_withdrawn_if_who_withdrew_it_is_removed(cast: Cast, roster: Roster) -> None:
    """By somebody who has not heard of it."""
    (number,) = tickets.open_tickets(roster, 0)
    gone = cast.say(roster, compose.withdraw(roster, cast.devices[1], number))
    both = cast.joined(gone, cast.remove(roster, 0, 1))
    assert not both.is_member(cast.devices[1])
    assert tickets.open_tickets(both, 0) == {}


def test_a_plain_member_withdraws_nothing(cast: Cast, roster: Roster) -> None:
    """It is kept, as by those who do not know the kind, and has no effect."""
    (number,) = tickets.open_tickets(roster, 0)
    roster = cast.admit(roster, 0, 4, "member")
    with pytest.raises(UserError) as refused:
        compose.withdraw(roster, cast.devices[4], number)
    assert refused.value.code == "not-admin"
    data = encode_statement(WITHDRAW, roster.space, cast.devices[4], roster.heads(), Withdraw(number))
    after = cast.say(roster, data)
    assert after.heads() == (statement_id(data),)
    assert list(tickets.open_tickets(after, 0)) == [number]


def test_who_waits_believes_an_admin_that_it_knows_from_the_file(cast: Cast, roster: Roster) -> None:
    """Its roster may be too old to take the statement in."""
    (number,) = tickets.open_tickets(roster, 0)
    later = cast.admit(cast.admit(roster, 0, 4), 0, 6, "member")

    def told(by: int, ticket: bytes = number, signer: int | None = None) -> bool:
        data = encode_statement(WITHDRAW, later.space, cast.devices[by], later.heads(), Withdraw(ticket))
        signature = cast.signed(data).signature
        if signer is not None:
            signature = _signature(cast.cards[signer].public_key, signing_input(data))
        return tickets.tells_withdrawn([SignedStatement(data, signature)], roster, EXPIRES_MS, cast.verify)

    assert told(1)
    assert not told(4)  # unknown to the file
    assert not told(1, b"another ticket .")
    assert not told(1, signer=4)
    member = cast.admit(roster, 0, 6, "member")
    by_member = cast.signed(encode_statement(WITHDRAW, roster.space, cast.devices[6], member.heads(), Withdraw(number)))
    assert not tickets.tells_withdrawn([by_member], member, EXPIRES_MS, cast.verify)
    by_admin = cast.signed(compose.withdraw(roster, cast.devices[1], number))
    rubbish = SignedStatement(b"rubbish", bytes(64))
    assert tickets.tells_withdrawn([rubbish, by_admin], roster, EXPIRES_MS, cast.verify)
    assert not tickets.tells_withdrawn([by_admin], roster, EXPIRES_MS + 1, cast.verify)
    assert not tickets.tells_withdrawn([by_admin], cast.founded(1, "work"), EXPIRES_MS, cast.verify)


def test_what_is_forged_or_garbled_is_refused(cast: Cast, roster: Roster) -> None:
    """A wrong ticket key, somebody else's card, another space, a name that cannot be shown, or no petition at all."""
    open_ones = tickets.open_tickets(roster, 0)
    good = msgspec.msgpack.decode(_ask(roster, cast.cards[5]), type=tickets.Petition)
    named = DeviceCard(cast.cards[5].public_key, cast.cards[5].sealing_key, "a\u202eb")
    bad = [
        _ask(roster, cast.cards[5], ticket_key=b"x" * 32),
        msgspec.msgpack.encode(tickets.Petition(good.ticket, cast.cards[6], good.by_ticket, good.by_device)),
        msgspec.msgpack.encode(tickets.Petition(b"u" * 16, good.card, good.by_ticket, good.by_device)),
        _ask(roster, named),
        b"",
        b"\x91" * 60_000 + b"\xc0",
    ]
    for data in bad:
        with pytest.raises(RemoteProtocolError):
            tickets.read_petition(data, roster.space, open_ones, cast.verify)
    with pytest.raises(RemoteProtocolError):
        tickets.read_petition(_ask(roster, cast.cards[5]), b"another space ..", open_ones, cast.verify)


def test_a_petition_is_sealed_under_what_a_relay_does_not_know(roster: Roster) -> None:
    secrets = {
        tickets.petition_secret(roster.space, b"n" * 32, KEY),
        tickets.petition_secret(roster.space, b"m" * 32, KEY),
        tickets.petition_secret(roster.space, b"n" * 32, b"u" * 32),
        tickets.petition_secret(b"another space ..", b"n" * 32, KEY),
    }
    assert len(secrets) == 4
    assert {len(one) for one in secrets} == {32}
