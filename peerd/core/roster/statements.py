"""Statements: the signed sentences of which a roster is made, as bytes that never change.

    [1, kind, space (16), author (32), [heads (16) ...], {body}]          msgpack

Its author encodes a statement once and signs (tag, bytes); everybody keeps and forwards those bytes, so that nobody
needs to agree on an encoding. Its id is a hash of them. The heads are the statements without successors that the
author knew: what a statement's author had seen is what can be reached through its heads, and nothing else counts.

    1 genesis   founds the space. The space's id is a hash of founder and body, so a space has one genesis
    2 admit     a device becomes a member, with role and the secrets sealed to it
    3 remove    one admission of a device ends; how much of what it wrote is accepted
    4 vouch     a member has applied more of what an ended admission wrote
    5 epoch     a secret of the space, sealed to its members
    6 close     an origin that went two ways: nobody writes to it any more, and one of the two stands
    7 ticket    an invitation by file: whoever has its key may ask to be admitted, until it expires or one is
    8           reserved: kept and forwarded, without effect
  128 withdraw  nobody is let in by this ticket any more

A kind from 128 on is optional: whoever does not know it keeps and forwards it and otherwise ignores it. Any other kind,
or another format, needs a newer peerd and is refused. Unknown keys of a body are ignored. PROTOCOL.md, "Statements".
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from peerd.core.device_id import device_id
from peerd.core.origin import Id16, Id32
from peerd.errors import RemoteProtocolError

FORMAT = 1

GENESIS, ADMIT, REMOVE, VOUCH, EPOCH, CLOSE, TICKET, RESERVED = range(1, 9)
OPTIONAL_KINDS = WITHDRAW = 128

STATEMENT_BYTES = 64 << 10
HEADS = 256
WRAPS = 1_024
FINALS = 1_024
NAME_BYTES = 64
SEALED_BYTES = 512

ADMIN, MEMBER = "admin", "member"

_ID_TAG = b"peerd/1 statement id\0"
_SIGNING_TAG = b"peerd/1 statement\0"
_SPACE_TAG = b"peerd/1 space\0"

# Not shown, or not what they look like: controls, zero-width and direction marks, line separators. A fixed list,
# because what "printable" means grows with every version of Unicode and a statement must be judged alike for ever.
_UNSEEN = frozenset(
    chr(point)
    for first, last in (
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x61C, 0x61C),
        (0x200B, 0x200B),
        (0x200E, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x2069),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
    )
    for point in range(first, last + 1)
)

Hash8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Seq = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Sealed = Annotated[bytes, Meta(min_length=1, max_length=SEALED_BYTES)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES)]
Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, signature, data): is the signature good?


class DeviceCard(Struct, frozen=True, array_like=True):
    """A device as a statement introduces it: Ed25519 and X25519 public keys, and what people call it."""

    public_key: Id32
    sealing_key: Id32
    name: Name

    @property
    def device(self) -> bytes:
        return device_id(self.public_key)


class Final(Struct, frozen=True, array_like=True):
    """The last accepted transaction of an origin, with the first 8 bytes of the chain's hash there."""

    seq: Seq
    hash: Hash8


class Genesis(Struct, frozen=True):
    name: Name
    nonce: Id16
    card: DeviceCard


class Admit(Struct, frozen=True):
    card: DeviceCard
    role: Annotated[str, Meta(min_length=1, max_length=16)] = ADMIN
    wraps: Annotated[dict[Id16, Sealed], Meta(max_length=WRAPS)] = {}  # epoch -> its secret, sealed
    ticket: Id16 | UnsetType = UNSET  # the one that it came by, which is used up by that


class Remove(Struct, frozen=True):
    device: Id32
    admission: Id16
    finals: Annotated[dict[Id16, Final], Meta(max_length=FINALS)] = {}  # an origin that is not named counts 0


class Vouch(Struct, frozen=True):
    finals: Annotated[dict[Id16, Final], Meta(max_length=FINALS)] = {}


class Epoch(Struct, frozen=True):
    number: Annotated[int, Meta(ge=1, le=1 << 32)]
    id: Id16
    wraps: Annotated[dict[Id32, Sealed], Meta(max_length=WRAPS)] = {}  # device -> the secret, sealed to it


class Close(Struct, frozen=True):
    """`seq` and `hash` are the last transaction that both variants share; `next` the hashes at the ends of the runs
    that follow it in each, if known, and `at` where those end. With both the variant with the smaller hash stands.
    """

    origin: Id16
    seq: Seq
    hash: Hash8
    next: Annotated[tuple[Hash8, ...], Meta(max_length=2)] = ()
    at: Annotated[tuple[Seq, ...], Meta(max_length=2)] | UnsetType = UNSET

    @property
    def ends(self) -> tuple[Final, ...]:
        """Where the first run of each variant ends; empty if that is not said of two that differ."""
        at = self.at or ()
        if len(at) < 2 or len(self.next) < 2 or min(at) <= self.seq or self.next[0] == self.next[1]:
            return ()
        return tuple(map(Final, at, self.next))


class Ticket(Struct, frozen=True):
    """`key` is an Ed25519 key made for this ticket alone; its private half is in the file of the invitation. After
    `expires_ms`, by the clock of whoever is asked, it is good for nothing.
    """

    key: Id32
    expires_ms: Seq
    role: Annotated[str, Meta(min_length=1, max_length=16)] = ADMIN


class Withdraw(Struct, frozen=True):
    ticket: Id16


Body = Genesis | Admit | Remove | Vouch | Epoch | Close | Ticket | Withdraw | None

_BODIES: dict[int, type[Genesis | Admit | Remove | Vouch | Epoch | Close | Ticket]] = {
    GENESIS: Genesis,
    ADMIT: Admit,
    REMOVE: Remove,
    VOUCH: Vouch,
    EPOCH: Epoch,
    CLOSE: Close,
    TICKET: Ticket,
}


class SignedStatement(Struct, frozen=True, array_like=True):
    """A statement as it is kept and sent."""

    data: Annotated[bytes, Meta(min_length=1, max_length=STATEMENT_BYTES)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class _Prefix(Struct, array_like=True):
    format: int
    kind: int


class _Frame(Struct, frozen=True, array_like=True):
    format: int
    kind: int
    space: Id16
    author: Id32
    heads: Annotated[tuple[Id16, ...], Meta(max_length=HEADS)]
    body: Raw


class Statement(Struct, frozen=True):
    """A decoded statement. `body` is None where it has no effect here: of a kind that is not known, or of an optional
    one that is known and holds something else.
    """

    id: bytes
    kind: int
    space: bytes
    author: bytes
    heads: tuple[bytes, ...]
    body: Body


def encode_statement(kind: int, space: bytes, author: bytes, heads: tuple[bytes, ...], body: Struct) -> bytes:
    """The bytes of a new statement, to be signed. Done once, by its author."""
    return msgspec.msgpack.encode(_Frame(FORMAT, kind, space, author, heads, Raw(msgspec.msgpack.encode(body))))


def statement_id(data: bytes) -> bytes:
    """The id (16 bytes) of a statement: a hash of its bytes, without the signature."""
    return blake2b(_ID_TAG + data, digest_size=32).digest()[:16]


def signing_input(data: bytes) -> bytes:
    """What the author signs."""
    return _SIGNING_TAG + data


def space_id(founder: bytes, body: bytes) -> bytes:
    """The id (16 bytes) of the space that `founder` founds with this encoded genesis body. All of the body counts, not
    its nonce alone: otherwise whoever steals the founder's key could write the space a second beginning.
    """
    return blake2b(_SPACE_TAG + founder + body, digest_size=32).digest()[:16]


def encode_genesis(body: Genesis) -> bytes:
    """The genesis of a new space, to be signed by the device of its card."""
    encoded = msgspec.msgpack.encode(body)
    founder = body.card.device
    return msgspec.msgpack.encode(_Frame(FORMAT, GENESIS, space_id(founder, encoded), founder, (), Raw(encoded)))


def decode_statement(data: bytes) -> Statement:
    """What these bytes say, checked as far as they can be by themselves.

    Raises:
        RemoteProtocolError: "needs-newer-peerd" for a format or kind that this version does not know,
            "bad-statement" for anything that is no statement.
    """
    if len(data) > STATEMENT_BYTES:
        raise _bad(f"it is larger than {STATEMENT_BYTES} bytes")
    try:
        prefix = msgspec.msgpack.decode(data, type=_Prefix)
        _check_known(prefix)
        frame = msgspec.msgpack.decode(data, type=_Frame)
        body = _decode_body(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _bad(str(error)) from error
    if any(one >= two for one, two in zip(frame.heads, frame.heads[1:], strict=False)):
        raise _bad("its heads are not in order")
    if bool(frame.heads) == (frame.kind == GENESIS):
        raise _bad("only a genesis has no heads")
    if isinstance(body, Genesis):
        _check_genesis(data, frame, body)
    return Statement(statement_id(data), frame.kind, frame.space, frame.author, frame.heads, body)


def is_name(name: str) -> bool:
    """May a device or a space be called so: 1 to 64 bytes, nothing that cannot be seen, no space at its ends."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size_bytes <= NAME_BYTES and name == name.strip(" ") and _UNSEEN.isdisjoint(name)


def _check_known(prefix: _Prefix) -> None:
    if prefix.format != FORMAT:
        raise _newer(f"a statement of format {prefix.format}; this peerd knows format {FORMAT}")
    if not (1 <= prefix.kind <= RESERVED or prefix.kind >= OPTIONAL_KINDS):
        raise _newer(f"a statement of kind {prefix.kind}")


def _decode_body(frame: _Frame) -> Body:
    kind = _BODIES.get(frame.kind)
    if kind is None:
        msgspec.msgpack.decode(frame.body, type=dict[str, Raw])  # a map, whatever is in it
        return _decode_withdrawal(frame.body) if frame.kind == WITHDRAW else None
    body = msgspec.msgpack.decode(frame.body, type=kind)
    names = {"card": body.card.name} if isinstance(body, Genesis | Admit) else {}
    if isinstance(body, Genesis):
        names["space"] = body.name
    if not all(map(is_name, names.values())):
        raise _bad("a name in it is too long or has characters that cannot be seen")
    if isinstance(body, Admit | Ticket) and body.role not in {ADMIN, MEMBER}:
        raise _newer(f"the role {body.role!r}")
    return body


def _decode_withdrawal(body: Raw) -> Withdraw | None:
    """A bad one is taken in all the same, as by those who do not know the kind: all are to have the same statements."""
    try:
        return msgspec.msgpack.decode(body, type=Withdraw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _check_genesis(data: bytes, frame: _Frame, body: Genesis) -> None:
    if frame.author != body.card.device:
        raise _bad("a genesis introduces its author")
    if frame.space != space_id(frame.author, bytes(frame.body)):
        raise _bad("the space's id does not belong to this genesis")
    if data != msgspec.msgpack.encode(frame):
        raise _bad("a genesis has one encoding only")  # so that a space has one genesis


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"This is no statement of a roster: {why}.", code="bad-statement")


def _newer(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"The roster holds {what}: that needs a newer peerd.", code="needs-newer-peerd")
