"""Key epochs: the secrets that the members of a space share, and which of them is in use.

An epoch is 32 random bytes that an admin makes when the space is founded and whenever a device is removed. Its id is a
hash of the secret, so whoever opens a wrap knows that it got the right one; its number is one more than all its author
knew. Statements hold it sealed to each member (a *wrap*): the epoch's own, those that state it again for members who
lack it, and the admission of whoever came later. Secrets themselves are opened at the edge and never come here unasked.

    counts    stated by a statement that counts
    usable    and everybody who knows it, by a wrap or as its author, is a member now
    current   the usable one with the largest (number, id); None means that a new one is due before anything is sealed

Old epochs are kept for reading. PROTOCOL.md, "Key epochs".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from msgspec import Struct

from peerd.core.roster.roster import Member, Roster
from peerd.core.roster.statements import Admit, Epoch

SECRET_BYTES = 32
WRAPS_AT_ONCE = 400  # that surely fit into a statement

_ID_TAG = b"peerd/1 epoch\0"
_WRAP_TAG = b"peerd/1 wrap\0"
_DISCOVERY_TAG = b"peerd/1 discovery\0"
_NAMES_TAG = b"peerd/1 names\0"
_RELAY_HINTS_TAG = b"peerd/1 relay hints\0"
_RELAY_OBJECTS_TAG = b"peerd/1 relay objects\0"
_RELAY_HEADS_TAG = b"peerd/1 relay heads\0"
_ROSTER_PART_TAG = b"peerd/1 relay roster part\0"


class RelayKeys(NamedTuple):
    """What one secret is used for on relays; 32 bytes each, and each for one purpose."""

    hints: bytes  # which secret an object was sealed under
    objects: bytes
    heads: bytes  # the content keys of heads


class KeyEpoch(Struct, frozen=True):
    """What the roster says of one epoch. `recipients` have a wrap; `knowers` are they and its authors."""

    number: int
    id: bytes
    recipients: frozenset[bytes]
    knowers: frozenset[bytes]


def epoch_id(space: bytes, secret: bytes) -> bytes:
    """The id (16 bytes) of the epoch with this secret (32 bytes)."""
    return blake2b(_ID_TAG + space + secret, digest_size=32).digest()[:16]


def wrap_info(space: bytes, epoch: bytes, device: bytes) -> bytes:
    """What a wrap is bound to when it is sealed (HPKE's info), so that it opens as nothing else."""
    return _WRAP_TAG + space + epoch + device


def discovery_key(space: bytes, secret: bytes) -> bytes:
    """The key (32 bytes) by which members recognise each other's announcements while this epoch is in use."""
    return _derived(_DISCOVERY_TAG, space, secret)


def names_key(space: bytes, secret: bytes) -> bytes:
    """The key (32 bytes) of names on relays, from the secret of the *first* epoch: names live as long as the space."""
    return _derived(_NAMES_TAG, space, secret)


def relay_keys(space: bytes, secret: bytes) -> RelayKeys:
    """The keys of what is sealed under this secret on relays."""
    return RelayKeys(
        _derived(_RELAY_HINTS_TAG, space, secret),
        _derived(_RELAY_OBJECTS_TAG, space, secret),
        _derived(_RELAY_HEADS_TAG, space, secret),
    )


def roster_part_secret(space: bytes, secret: bytes, part: bytes) -> bytes:
    """The secret of one part of a roster on a relay (32 bytes): who gets it from a head can open that part alone."""
    return _derived(_ROSTER_PART_TAG, space + part, secret)


def epochs(roster: Roster) -> list[KeyEpoch]:
    """All epochs that count, oldest first.

    Who knows one is read from every statement, void ones too: what a device was once given it has.
    """
    counting: set[tuple[int, bytes]] = set()
    recipients: dict[bytes, set[bytes]] = {}
    authors: dict[bytes, set[bytes]] = {}
    for entry in roster.entries():
        match entry.body:
            case Epoch() as body:
                recipients.setdefault(body.id, set()).update(body.wraps)
                authors.setdefault(body.id, set()).add(entry.statement.author)
                if roster.counts(entry):
                    counting.add((body.number, body.id))
            case Admit() as body:
                for epoch in body.wraps:
                    recipients.setdefault(epoch, set()).add(entry.device)
    return [
        KeyEpoch(number, one, frozenset(recipients[one]), frozenset(recipients[one] | authors[one]))
        for number, one in sorted(counting)
    ]


def current(roster: Roster) -> KeyEpoch | None:
    """The epoch to seal under, None if there is none: then an admin makes a new one first."""
    usable = [one for one in epochs(roster) if one.knowers <= roster.members.keys()]
    return usable[-1] if usable else None


def announced(roster: Roster) -> list[KeyEpoch]:
    """The epochs whose discovery keys are in use, newest first: the current one (or, while a new one is due, the
    newest) and the last of a smaller number, by which members are recognised who have not heard of the change.
    """
    known = epochs(roster)
    newest = current(roster) or (known[-1] if known else None)
    if newest is None:
        return []
    # One of the same number was made at the same time: whoever has not heard of the change knows neither.
    before = [one for one in known if one.number < newest.number]
    return [newest, *before[-1:]]


def first(roster: Roster) -> KeyEpoch | None:
    """The founder's epoch, from which the names on relays come."""
    return next((one for one in epochs(roster) if one.number == 1), None)


def next_number(roster: Roster) -> int:
    """The number of an epoch that is made now."""
    return max((entry.last_epoch for entry in roster.entries()), default=0) + 1


def without_wrap(roster: Roster, epoch: KeyEpoch) -> list[Member]:
    """The members to whom nobody has sealed this epoch yet, by device id; not more than a statement has room for."""
    lacking = [member for device, member in sorted(roster.members.items()) if device not in epoch.recipients]
    return lacking[:WRAPS_AT_ONCE]


def wraps_to(roster: Roster, device: bytes) -> list[tuple[bytes, bytes]]:
    """Every (epoch id, sealed secret) addressed to this device. One whose secret does not have that `epoch_id`, or
    that was sealed to a key which the device no longer has, is to be skipped.
    """
    wraps: list[tuple[bytes, bytes]] = []
    for entry in roster.entries():
        match entry.body:
            case Epoch() as body if device in body.wraps:
                wraps.append((body.id, body.wraps[device]))
            case Admit() as body if entry.device == device:
                wraps.extend(sorted(body.wraps.items()))
    return wraps


def handed_on(roster: Roster, known: Iterable[bytes]) -> list[bytes]:
    """Of these epochs (ids) those that a newcomer is given: all, or, where somebody has stated very many, the first,
    from which the names on relays come, and the last ones.
    """
    numbers = {one.id: one.number for one in epochs(roster)}
    ordered = sorted(known, key=lambda one: (numbers.get(one, 0), one))
    last = ordered[-WRAPS_AT_ONCE:]
    founders = first(roster)
    if founders is not None and founders.id in ordered and founders.id not in last:
        last[0] = founders.id
    return last


def _derived(tag: bytes, space: bytes, secret: bytes) -> bytes:
    """Keyed BLAKE2b (RFC 7693), a pseudorandom function of a uniform key."""
    return blake2b(tag + space, key=secret, digest_size=32).digest()
