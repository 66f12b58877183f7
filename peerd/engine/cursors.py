"""Words that a caller hands back to go on where it stopped: opaque to it, and refused if they are none of ours."""

from __future__ import annotations

import base64
from typing import TypeVar

import msgspec

from peerd.errors import UserError

T = TypeVar("T")


def to_word(value: object) -> str:
    """A value as one word that needs no escaping in a URL."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).decode().rstrip("=")


def from_word(word: str, type_: type[T], what: str = "cursor") -> T:
    """The value in a word.

    Raises:
        UserError: `bad-cursor`, if `to_word` never gave this word.
    """
    try:
        value = msgspec.msgpack.decode(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)), type=type_)
    except (ValueError, RecursionError):
        value = None
    # Base64 passes over what it does not know, so a word that decodes need not be the one we gave.
    if value is None or to_word(value) != word:
        raise UserError(
            f"this {what} is none of ours", code="bad-cursor", next_step="Send it as it was received, or begin anew."
        )
    return value
