"""An invitation as a file: carried to a device that no member meets, and worthless without its code.

    the line "peerd invitation 1", then an object sealed under the code: msgpack of `InvitationFile`

The file may go through the very relay that must learn nothing, so whoever has it may guess at the code for as long as
it takes: the code has 128 random bits, 26 letters and digits. PROTOCOL.md, "Tickets".
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import Error as BinasciiError
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from peerd.core.origin import Id16, Id32
from peerd.core.roster.statements import Name, Seq, SignedStatement
from peerd.errors import UserError

MAGIC = b"peerd invitation 1\n"
FILE_BYTES = 1 << 20
OBJECT_NAME = blake2b(MAGIC, digest_size=32).hexdigest()  # under which the object is sealed
CODE_BYTES = 16
CODE_CHARS = 26

_SECRET_TAG = b"peerd/1 invitation file\0"
_GROUP = 5


class InvitationFile(Struct, frozen=True, array_like=True):
    """What a device needs in order to ask: where (the key of names), with what (the ticket and its private key), and
    of whom (the roster).
    """

    space: Id16
    name: Name
    names_key: Id32
    ticket: Id16
    ticket_key: Id32  # the private half: the seed of an Ed25519 key
    expires_ms: Seq
    statements: Annotated[list[SignedStatement], Meta(max_length=10_000)]


def show_code(code: bytes) -> str:
    """A code (16 random bytes) as people type it, in groups of five."""
    text = b32encode(code).decode().rstrip("=")
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def read_code(text: str) -> bytes:
    """The code that somebody typed, whatever its grouping and case. Raises UserError "bad-code"."""
    letters = "".join(text.split()).replace("-", "").upper().replace("0", "O").replace("1", "I").replace("8", "B")
    try:
        code = b32decode(letters + "======")
    except (BinasciiError, ValueError):
        code = b""
    if len(letters) != CODE_CHARS or len(code) != CODE_BYTES or b32encode(code).decode()[:CODE_CHARS] != letters:
        raise UserError(
            f"the code of an invitation file has {CODE_CHARS} letters and digits, and this is none",
            code="bad-code",
            next_step="Type it as `peerctl invite --file` showed it.",
        )
    return code


def file_secret(code: bytes) -> bytes:
    """The secret (32 bytes) under which the file's object is sealed."""
    return blake2b(_SECRET_TAG, key=code, digest_size=32).digest()


def encode(invitation: InvitationFile) -> bytes:
    return msgspec.msgpack.encode(invitation)


def decode(data: bytes) -> InvitationFile:
    """What was in the file once it is open. Raises UserError "bad-invitation"."""
    try:
        return msgspec.msgpack.decode(data, type=InvitationFile)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise bad_file(f"it opens, and makes no sense ({problem})") from None


def sealed_part(file: bytes) -> bytes:
    """What is sealed in the bytes of a file. Raises UserError "bad-invitation"."""
    if not file.startswith(MAGIC) or len(file) > FILE_BYTES:
        raise bad_file("it is no invitation of peerd, or one of another version")
    return file[len(MAGIC) :]


def bad_file(why: str) -> UserError:
    return UserError(
        f"this invitation file cannot be used: {why}",
        code="bad-invitation",
        next_step="Look at the code, and copy the file again as it was made. If that does not help, have a member make "
        "a new one with `peerctl invite SPACE --file PATH`.",
    )
