"""What two devices say to each other on `peerd.pair.1`, and every way in which one can be refused.

A frame is `[type, request, body]` in msgpack, at most 16 KiB; request is 0. Both sides speak first HELLO, then what
`pairing` prescribes. Unknown keys are ignored, and so are types from 128 on. PROTOCOL.md, "Pairing".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw, Struct

from peerd.core.origin import Id16, Id32
from peerd.core.roster.statements import DeviceCard, Name, SignedStatement
from peerd.errors import RemoteProtocolError

MAJOR, MINOR = 1, 0
SUBPROTOCOL = f"peerd.pair.{MAJOR}"
OPTIONAL_TYPES = 128

FRAME_BYTES = 16 << 10
PART_BYTES = 15_000  # of a grant in one frame, before sealing
GRANT_BYTES = 34 << 20  # the largest roster, and what goes around it
_PARTS = -(-GRANT_BYTES // PART_BYTES)
ENDED = 500

Word = Annotated[str, Meta(max_length=64)]
Box = Annotated[bytes, Meta(min_length=1, max_length=PART_BYTES + 64)]


class Message(Struct, frozen=True, omit_defaults=True):
    type: ClassVar[int]


class Hello(Message, frozen=True, omit_defaults=True):
    """Each side's first. `to` is set by a joiner that names the inviter's device instead of proving a code."""

    type = 64
    v: tuple[int, int]
    nonce: Id16
    name: Name
    to: Id32 | None = None
    sw: Word = ""


class Spake(Message, frozen=True, omit_defaults=True):
    """The SPAKE2 message: a byte for the side ("A" the joiner, "B" the inviter) and a point of Ed25519."""

    type = 65
    msg: Annotated[bytes, Meta(min_length=33, max_length=33)]


class Confirm(Message, frozen=True, omit_defaults=True):
    """The proof that its sender knows the code."""

    type = 66
    mac: Id32


class Request(Message, frozen=True, omit_defaults=True):
    """The joiner's card, sealed."""

    type = 67
    box: Box


class Grant(Message, frozen=True, omit_defaults=True):
    """Part `n` (from 0) of `of` parts of the grant, sealed."""

    type = 68
    n: Annotated[int, Meta(ge=0, lt=_PARTS)]
    of: Annotated[int, Meta(ge=1, le=_PARTS)]
    box: Box


class Refuse(Message, frozen=True, omit_defaults=True):
    """The end, and why. The code decides what the receiver says to people."""

    type = 69
    code: Word
    v: tuple[int, int] | None = None  # the refuser's version, for "version"


class Done(Message, frozen=True, omit_defaults=True):
    """The joiner has stored the grant durably; sealed, and empty."""

    type = 70
    box: Box


class RequestBody(Struct, frozen=True, omit_defaults=True):
    """`ended`: admissions of the joiner, of whatever space, that are over, as it knows; the inviter may not have heard
    of that, and take it for a member.
    """

    card: DeviceCard
    ended: Annotated[tuple[Id16, ...], Meta(max_length=ENDED)] = ()


class GrantBody(Struct, frozen=True):
    """What makes a device a member: the space, its name, and all statements of its roster, causes first. The secrets
    are in the statement that admits the device, sealed to it.
    """

    space: Id16
    name: Name
    statements: Annotated[tuple[SignedStatement, ...], Meta(max_length=10_000)]


class Reason(Struct, frozen=True):
    """How a pairing can fail: what is shown to whom the other side refused, and to whom itself ended it."""

    told: str
    here: str
    next_step: str


_INVITE_AGAIN = "Start a new invitation with `peerctl invite` on the device that belongs to the space."
_UPDATE = "Update peerd on both devices, then try again."

REASONS: dict[str, Reason] = {
    "wrong-code": Reason(
        "This is not the code that the other device shows, or somebody is between the two devices.",
        "The other device used a wrong code, or somebody is between the two devices.",
        "Read the code again and repeat `peerctl join`; one code allows three tries.",
    ),
    "too-many-tries": Reason(
        "The code was tried three times and is void.", "A wrong code came three times; it is void.", _INVITE_AGAIN
    ),
    "expired": Reason(
        "The code is older than two minutes and is void.", "The code was used after its two minutes.", _INVITE_AGAIN
    ),
    "busy": Reason(
        "Another device is pairing with it at this moment.",
        "A second device tried to pair at the same moment.",
        "Try again in half a minute.",
    ),
    "no-window": Reason(
        "The other device is not inviting anybody.",
        "A device tried to pair, and no invitation is open.",
        _INVITE_AGAIN,
    ),
    "not-named": Reason(
        "The other device was not told to admit this one.",
        "A device asked to be admitted that nobody named.",
        "Run `peerctl admit` with the joining device's id, and check the id given to `--from` by the joining one.",
    ),
    "wrong-device": Reason(
        "The other device expected somebody else.",
        "The device at this address is not the one that was named.",
        "Check the id given to `--from`, and the address.",
    ),
    "declined": Reason(
        "The person at the other device declined.", "Declined.", "To pair after all, start a new invitation."
    ),
    "unproven": Reason(
        "The other device found that this one does not know the code.",
        "The other device does not know the code: somebody else may be answering at its address.",
        "Start a new invitation, and name the inviting device's address with `--host`.",
    ),
    "bad-grant": Reason(
        "The other device cannot use the roster that this one sent.",
        "What the other device sent does not make this one a member.",
        _UPDATE,
    ),
    "version": Reason(
        "The two devices speak different versions of the pairing protocol.",
        "The two devices speak different versions of the pairing protocol.",
        "Update the older peerd.",
    ),
    "bad-message": Reason(
        "The other device could not read what this one said.",
        "The other device said something that pairing does not allow.",
        _UPDATE,
    ),
    "timeout": Reason(
        "This device did not answer the other one in time.", "The other device did not answer in time.", "Try again."
    ),
    "link-lost": Reason(
        "The connection ended before pairing was complete.",
        "The connection ended before pairing was complete.",
        "Try again; if the code is used up, start a new invitation.",
    ),
    "not-confirmed": Reason(
        "The device was admitted, but whether it has learned so is not known.",
        "The device was admitted, but whether it has learned so is not known.",
        "Look at `peerctl members`; if it has never been seen, invite it again: it stays one member.",
    ),
    "failed": Reason(
        "The other device could not complete the pairing.",
        "This device could not complete the pairing.",
        "Look at its log, then start a new invitation.",
    ),
    "cancelled": Reason("The other device ended the pairing.", "The pairing was ended here.", _INVITE_AGAIN),
}

_ALL: tuple[type[Message], ...] = (Hello, Spake, Confirm, Request, Grant, Refuse, Done)
_frame_decoder = msgspec.msgpack.Decoder(tuple[int, int, Raw])
_bodies = {kind.type: msgspec.msgpack.Decoder(kind) for kind in _ALL}


def encode(message: Message) -> bytes:
    """One frame."""
    return msgspec.msgpack.encode((message.type, 0, message))


def decode(frame: bytes) -> Message | None:
    """The message in a frame; None for an optional type that this version does not know.

    Raises:
        RemoteProtocolError: "bad-message".
    """
    if len(frame) > FRAME_BYTES:
        raise bad_message("a frame is larger than 16 KiB")
    try:
        kind, _, body = _frame_decoder.decode(frame)
        decoder = _bodies.get(kind)
        if decoder is not None:
            return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise bad_message(str(error)) from error
    if kind >= OPTIONAL_TYPES:
        return None
    raise bad_message(f"type {kind} is unknown")


def bad_message(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"A message of the pairing cannot be read: {why}.", code="bad-message")
