"""What is answered to a petition whose ticket is spent, and who is believed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from peerd.core.roster import compose, tickets
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import statement_id
from peerd.core.stored import USED, WITHDRAWN
from peerd.protocol.relay import objects, spent
from peerd.protocol.relay.objects import SignedHead, Spent, SpentHead, decode_answer, head_signing_input
from tests.core.conftest import Cast, _signature

KEY = b"t" * 32
EXPIRES_MS = 1_000


@pytest.fixture(scope="module")
def cast() -> Cast:
    return Cast()


@pytest.fixture
def file(cast: Cast) -> Roster:
    """What the file tells: the admins 0 and 1, the member 2, and the ticket."""
    one = cast.admit(cast.space_of(0, 1), 0, 2, "member")
    return cast.say(one, compose.ticket(one, cast.devices[0], KEY, EXPIRES_MS, "member"))


def _ticket(file: Roster) -> bytes:
    (ticket,) = tickets.open_tickets(file, 0)
    return ticket


def _used(cast: Cast, file: Roster) -> Roster:
    later = cast.admit(file, 0, 4)
    return cast.say(later, compose.admit(later, cast.devices[4], cast.cards[5], "member", ticket=_ticket(file)))


def _withdrawn(cast: Cast, file: Roster, by: int) -> Roster:
    later = cast.admit(file, 0, 4)
    return cast.say(later, compose.withdraw(later, cast.devices[by], _ticket(file)))


def _told(cast: Cast, file: Roster, head: SpentHead, by: int, signer: int | None = None) -> int | None:
    data = objects.encode(head)
    said = head_signing_input(file.space, cast.devices[by], data)
    signature = _signature(cast.cards[by if signer is None else signer].public_key, said)
    signed = SignedHead(cast.devices[by], signature, data)
    return spent.told(signed, decode_answer(data), file, EXPIRES_MS, cast.verify)


@pytest.mark.parametrize("by", [0, 1])
def test_any_admin_that_the_file_knows_says_why_and_nothing_else(cast: Cast, file: Roster, by: int) -> None:
    used = spent.answer(_used(cast, file), cast.devices[by], _ticket(file), 0)
    assert used is not None
    assert (used.statements, _told(cast, file, used, by)) == ([], USED)
    withdrawn = spent.answer(_withdrawn(cast, file, 4), cast.devices[by], _ticket(file), 0)
    assert withdrawn is not None
    assert (len(withdrawn.statements), _told(cast, file, withdrawn, by)) == (1, WITHDRAWN)


def test_one_that_the_file_does_not_know_can_only_show_who_withdrew_it(cast: Cast, file: Roster) -> None:
    ticket, later = _ticket(file), cast.devices[4]
    assert spent.answer(_used(cast, file), later, ticket, 0) is None
    assert spent.answer(_withdrawn(cast, file, 4), later, ticket, 0) is None
    head = spent.answer(_withdrawn(cast, file, 1), later, ticket, 0)
    assert head is not None
    assert _told(cast, file, head, 4) == WITHDRAWN


def test_nothing_is_said_of_a_ticket_that_is_open_or_over(cast: Cast, file: Roster) -> None:
    ticket, ours = _ticket(file), cast.devices[0]
    assert spent.answer(file, ours, ticket, 0) is None
    assert spent.answer(_used(cast, file), ours, ticket, EXPIRES_MS) is None
    assert spent.answer(_used(cast, file), ours, b"another ticket .", 0) is None


def test_nobody_but_an_admin_is_believed_and_of_this_ticket_alone(cast: Cast, file: Roster) -> None:
    head = SpentHead(0, 0, bytes(16), 1, bytes(32), spent=Spent(_ticket(file), "used"))
    assert _told(cast, file, head, 0) == USED
    assert _told(cast, file, head, 2) is None, "a plain member"
    assert _told(cast, file, head, 4) is None, "unknown to the file"
    assert _told(cast, file, head, 0, signer=2) is None, "not signed by whom it names"
    other = cast.say(file, compose.ticket(file, cast.devices[0], b"u" * 32, EXPIRES_MS + 1))
    (second,) = tickets.open_tickets(other, EXPIRES_MS)
    for ticket in (second, b"another ticket .", statement_id(file.statements[0].data)):
        assert _told(cast, other, replace(head, spent=Spent(ticket, "used")), 0) is None
    assert _told(cast, file, replace(head, spent=Spent(_ticket(file), "later")), 0) is None
