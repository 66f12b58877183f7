"""What spaces, collections, records and fields may be called.

    space        A-Z a-z 0-9 . _ -        1 to 64 characters, the first a letter or digit
    collection   letters, marks and digits of any script, . _ -
                 1 to 128 bytes of UTF-8, the first a letter, a digit, or `_` for the names that peerd keeps
    key          1 to 1,024 bytes of UTF-8, anything but what hides or turns text
    field        1 to 255 bytes, the same

What hides or turns text: control characters, the bidirectional controls of Unicode (UAX #9) and lone
surrogates.

These are the rules for whoever writes. The rule for collections asks Unicode what a letter is, and a newer
Unicode knows more letters; whoever receives must therefore ask `is_acceptable` instead, which no version of
Unicode changes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from peerd.core.limits import FIELD_NAME_BYTES, KEY_BYTES
from peerd.errors import UserError

COLLECTION_NAME_BYTES: Final = 128
RESERVED_PREFIX: Final = "_"

_SPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PLAIN_COLLECTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_NO_SPACE_CHARACTER: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_NO_SPACE_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_SPACE_CHARS: Final = 64
_NOT_PLAIN: Final = "is not 1 to 64 letters, digits, '.', '_' and '-' with a letter or digit first"
_HIDDEN: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f"  # Cc
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # Bidi_Control
    "\\ud800-\\udfff]"  # surrogates, which UTF-8 does not have
)
_SHOWN_CHARS: Final = 40


def check_space_name(name: str) -> None:
    """Refuse a name that no space may have.

    Raises:
        UserError: `bad-name`, saying what is wrong with it.
    """
    if _SPACE.fullmatch(name) is None:
        raise _bad(
            "space",
            name,
            _NOT_PLAIN,
            "Choose a plain name, such as home.",
        )


def check_binding_name(name: str) -> None:
    """Refuse a name that no binding may have; it is made like that of a space.

    Raises:
        UserError: `bad-name`, saying what is wrong with it.
    """
    if _SPACE.fullmatch(name) is None:
        raise _bad("binding", name, _NOT_PLAIN, "Choose a plain name, such as todo.")


@lru_cache(maxsize=1024)  # few names, checked for every record
def check_collection_name(name: str, *, reserved: bool = False) -> None:
    """Refuse a name that no collection may have; one with `_` first only passes if `reserved` is set.

    Raises:
        UserError: `bad-name`.
    """
    if _PLAIN_COLLECTION.fullmatch(name) is not None:
        return
    _check_text("collection", name, COLLECTION_NAME_BYTES)
    if name.startswith(RESERVED_PREFIX):
        if reserved:
            return
        raise _bad("collection", name, "begins with '_'", "Such names are kept for peerd; choose another.")
    if unicodedata.category(name[0])[0] not in "LN":
        raise _bad("collection", name, "does not begin with a letter or digit", "Choose another name.")
    for character in name:
        if character not in "._-" and unicodedata.category(character)[0] not in "LMN":
            raise _bad("collection", name, f"contains {character!a}", "Use letters, digits, '.', '_' and '-' only.")


def check_key(key: str) -> None:
    """Refuse a key that no record may have.

    Raises:
        UserError: `bad-name`.
    """
    _check_text("key", key, KEY_BYTES)


@lru_cache(maxsize=4096)
def check_field_name(name: str) -> None:
    """Refuse a name that no field may have.

    Raises:
        UserError: `bad-name`.
    """
    _check_text("field name", name, FIELD_NAME_BYTES)


def is_acceptable(text: str, limit_bytes: int) -> bool:
    """Is a name of a peer within the part of these rules that is the same for every version of Unicode?"""
    return bool(text) and _HIDDEN.search(text) is None and _fits(text, limit_bytes)


def _check_text(what: str, text: str, limit_bytes: int) -> None:
    if not text:
        raise _bad(what, text, "is empty", "Give it at least one character.")
    hidden = _HIDDEN.search(text)
    if hidden is not None:
        raise _bad(
            what,
            text,
            f"contains {hidden.group()!a}, which would hide or turn text",
            "Leave out control characters and bidirectional marks.",
        )
    if not _fits(text, limit_bytes):
        raise _bad(what, text, f"is longer than {limit_bytes} bytes of UTF-8", "Choose a shorter one.")


def _fits(text: str, limit_bytes: int) -> bool:
    # A character is at most four bytes and at least one: only the range between has to be encoded.
    return len(text) * 4 <= limit_bytes or (len(text) <= limit_bytes and len(text.encode()) <= limit_bytes)


def _bad(what: str, name: str, why: str, next_step: str) -> UserError:
    shown = ascii(name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "...")
    return UserError(f"the {what} {shown} {why}", code="bad-name", next_step=next_step)


def binding_name(file_name: str) -> str:
    """What a binding is called if nobody says so: the file's name without its endings, in the letters that a space's
    name may have.
    """
    stem = file_name.lstrip(".").partition(".")[0]
    kept = _NO_SPACE_CHARACTERS.sub("-", stem).lstrip("._-")[:_SPACE_CHARS].rstrip("._-")
    return kept or "tables"


def space_name(told: str) -> str:
    """What others call a space, as far as a space here may be called so: a letter that may not stay is a dash."""
    return _NO_SPACE_CHARACTER.sub("-", told).lstrip("._-")[:_SPACE_CHARS] or "space"
