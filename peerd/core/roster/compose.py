"""New statements: their bytes, to be signed by their author and taken in by its own roster before anybody else's.

Every one names all heads that its author knows. Where there are more than a statement may name (many members spoke at
once), the ones that carry what the statement stands on come first; the rest are joined by later statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from msgspec import UNSET, Struct

from peerd.core.roster.lineage import Entry
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import (
    ADMIN,
    ADMIT,
    CLOSE,
    EPOCH,
    FINALS,
    HEADS,
    NAME_BYTES,
    REMOVE,
    TICKET,
    VOUCH,
    WITHDRAW,
    Admit,
    Close,
    DeviceCard,
    Epoch,
    Final,
    Genesis,
    Remove,
    SignedStatement,
    Ticket,
    Vouch,
    Withdraw,
    decode_statement,
    encode_genesis,
    encode_statement,
    is_name,
    signing_input,
    statement_id,
)
from peerd.errors import UserError

Finals = Mapping[bytes, Final]


def found_space(name: str, card: DeviceCard, nonce: bytes) -> bytes:
    """The genesis of a new space. `nonce`: 16 random bytes. The space's id is `decode_statement(...).space`."""
    _check_name(name, "space")
    _check_name(card.name, "device")
    return encode_genesis(Genesis(name, nonce, card))


def admit(
    roster: Roster,
    author: bytes,
    card: DeviceCard,
    role: str = ADMIN,
    wraps: Mapping[bytes, bytes] | None = None,
    ticket: bytes | None = None,
    ended: Collection[bytes] = (),
) -> bytes:
    """`author` lets a device in; `wraps`: epoch id -> that epoch's secret, sealed to the card's sealing key. `ticket`:
    the id of the ticket that it came by. `ended`: admissions of which the device says that they are over; the author
    may not have heard of it.

    Raises:
        UserError: "not-admin", "bad-name", or "already-member" if a device with these very keys is a member.
    """
    check_admin(roster, author)
    _check_name(card.name, "device")
    member = roster.members.get(card.device)
    if member is not None and not needs_admission(roster, card, ended):
        raise UserError(
            f"{member.name} is a member of {roster.name} already.",
            code="already-member",
            status=409,
            next_step="Nothing needs to be done to admit it.",
        )
    body = Admit(card, role, dict(wraps or {}), UNSET if ticket is None else ticket)
    return _encode(roster, author, ADMIT, body)


def needs_admission(roster: Roster, card: DeviceCard, ended: Collection[bytes]) -> bool:
    """Must a device that asks to be let in be admitted, or is it the member that it was? `ended`: as it says."""
    member = roster.members.get(card.device)
    return member is None or member.sealing_key != card.sealing_key or set(roster.open(card.device)) <= set(ended)


def ticket(roster: Roster, author: bytes, key: bytes, expires_ms: int, role: str = ADMIN) -> bytes:
    """`author` invites whoever has the private half of this Ed25519 key, until `expires_ms`.

    Raises:
        UserError: "not-admin".
    """
    check_admin(roster, author)
    return _encode(roster, author, TICKET, Ticket(key, expires_ms, role))


def withdraw(roster: Roster, author: bytes, ticket: bytes) -> bytes:
    """`author` has nobody let in any more by the ticket with this id; see `tickets.open_tickets`.

    Raises:
        UserError: "not-admin".
    """
    check_admin(roster, author)
    return _encode(roster, author, WITHDRAW, Withdraw(ticket), ticket)


def remove(roster: Roster, author: bytes, device: bytes, finals: Finals) -> bytes:
    """`author` removes a device. `finals`: of each of its origins, what the author has applied. What a statement has no
    room for it has to vouch for, as for whatever it has applied beyond what is accepted (`acceptance.vouches_due`).

    Raises:
        UserError: "not-admin", or "not-member" if the device is none.
    """
    check_admin(roster, author)
    member = roster.members.get(device)
    if member is None:
        gone = roster.removed.get(device)
        raise UserError(
            f"{gone.name} was removed from {roster.name} already" if gone else f"it is no member of {roster.name}",
            code="not-member",
            status=404,
            next_step="`peerctl members` lists those who are.",
        )
    body = Remove(device, member.admission, dict(islice(finals.items(), FINALS)))
    return _encode(roster, author, REMOVE, body, member.admission)


def vouch(roster: Roster, author: bytes, finals: Finals) -> bytes:
    """`author` has applied this much of origins whose admission ended; see `acceptance.vouches_due`."""
    return _encode(roster, author, VOUCH, Vouch(dict(finals)))


def new_epoch(roster: Roster, author: bytes, number: int, epoch: bytes, wraps: Mapping[bytes, bytes]) -> bytes:
    """`author` states an epoch (see `epochs.next_number`, `epochs.epoch_id`), or again an earlier one for devices that
    lack it. `wraps`: device -> the secret, sealed to that member.

    Raises:
        UserError: "not-admin".
    """
    check_admin(roster, author)
    body = Epoch(number, epoch, dict(wraps))
    return _encode(roster, author, EPOCH, body, *_epochs_before(roster, number, epoch))


def _epochs_before(roster: Roster, number: int, epoch: bytes) -> tuple[bytes, ...]:
    """The statement that it must have seen: of the epoch itself, or of one before it."""
    stated = [(one.id, one.body) for one in roster.entries() if isinstance(one.body, Epoch)]
    again = [one for one, body in stated if (body.number, body.id) == (number, epoch)]
    before = [one for one, body in stated if body.number == number - 1]
    return tuple((again or before)[:1])


def close(roster: Roster, author: bytes, last: tuple[bytes, int, bytes], after: Sequence[Final] = ()) -> bytes:
    """`author` closes an origin that forked. `last`: (origin, seq, hash) of the last common transaction, `after`: where
    the run behind it ends in both variants (seq 0: unknown); hashes are 8 bytes.
    """
    origin, seq, hash_there = last
    ends = sorted(after, key=lambda end: (end.hash, end.seq))
    at = tuple(end.seq for end in ends) if ends and all(end.seq for end in ends) else UNSET
    return _encode(roster, author, CLOSE, Close(origin, seq, hash_there, tuple(end.hash for end in ends), at))


def signed(data: bytes, sign: Callable[[bytes], bytes]) -> SignedStatement:
    """The statement with its author's signature; `sign` is the author's Ed25519 key at work."""
    return SignedStatement(data, sign(signing_input(data)))


def _encode(roster: Roster, author: bytes, kind: int, body: Struct, *stands_on: bytes) -> bytes:
    data = encode_statement(kind, roster.space, author, _heads(roster, author, stands_on), body)
    decode_statement(data)  # what others would refuse is never signed
    return data


def _heads(roster: Roster, author: bytes, stands_on: tuple[bytes, ...]) -> tuple[bytes, ...]:
    heads = roster.heads()
    if len(heads) <= HEADS:
        return heads
    speaker = roster.speaks_under(author)
    needed = [one for one in (speaker, *map(roster.entry, stands_on)) if one is not None]

    def carries(head: bytes, one: Entry) -> bool:
        entry = roster.entry(head)
        return entry is not None and (entry is one or entry.saw(one))

    ranked = sorted(heads, key=lambda head: sum(carries(head, one) for one in needed), reverse=True)
    first = [next(head for head in ranked if carries(head, one)) for one in needed]
    return tuple(sorted([*dict.fromkeys([*first, *ranked])][:HEADS]))


def check_admin(roster: Roster, author: bytes) -> None:
    """Raises UserError "not-admin"."""
    if not roster.is_admin(author):
        raise UserError(
            f"Only an admin of {roster.name} may do this, and this device is none.",
            code="not-admin",
            status=403,
            next_step="Do it on a device that `peerctl members` shows as admin.",
        )


def check_others_go_on(roster: Roster, called: str, device: bytes) -> None:
    """May this device leave the space, which it calls so?

    Raises:
        UserError: "only-member", or "only-admin" if nobody could change the members, or the secret, any more.
    """
    if set(roster.members) == {device}:
        raise UserError(
            f"this device is the only member of {called}: nobody could let it in again",
            code="only-member",
            status=409,
            next_step=f"`peerctl space forget {called}` is rid of the space here; its database is set aside.",
        )
    if {one.device for one in roster.members.values() if one.role == ADMIN} == {device}:
        raise UserError(
            f"this device is the only admin of {called}: nobody could let a device in, or remove one, any more",
            code="only-admin",
            status=409,
            next_step=f"Make another one an admin first: remove it and let it in again with `peerctl invite {called}`. "
            f"`peerctl space forget {called}` is rid of the space here alone.",
        )


def check_taken(roster: Roster, data: bytes) -> None:
    """Raises UserError "roster-full" if there was no room for this statement of ours."""
    if roster.entry(statement_id(data)) is None:
        raise UserError(
            f"so much has been stated about the members of {roster.name}, here or about this device, that no more of "
            "it is kept",
            code="roster-full",
            status=409,
            next_step="Do it on another device that `peerctl members` shows as admin. If none of them can, make a new "
            "space with the devices that you trust, and import the data.",
        )


def _check_name(name: str, whose: str) -> None:
    if not is_name(name):
        raise UserError(
            f"This name of a {whose} is empty, longer than {NAME_BYTES} bytes, or has characters that cannot be seen.",
            code="bad-name",
            next_step="Choose a shorter, plain name.",
        )
