r"""Record keys of rows that are known by their content, and names of their collections.

A key is readable where it can be, and always a function of what SQLite holds to be equal:

    42                   one integer
    inbox                one text
    'text                one text that could be taken for another form, or that is empty
    @key                 one reference, by the record key of the row that it means
    a|b\|c|42|@key       several parts; | and \ in a part stand behind a \
    ~xxxx (32 letters)   all else: blobs, other numbers, NULL, text that is no legal key, too long. BLAKE2b-160

Two identities have the same key exactly if SQLite takes them for the same: NOCASE folds ASCII letters, RTRIM strips
spaces at the end, and a float that is a whole number is that number (IEEE 754: -0.0 is 0).
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from peerd.core.limits import INT64_MAX, INT64_MIN, KEY_BYTES
from peerd.core.names import COLLECTION_NAME_BYTES, check_collection_name, is_acceptable
from peerd.core.tables.cells import BadText, Cell, pack_cell
from peerd.core.tables.shape import Table, folded
from peerd.errors import UserError

KNOWN_COLLATIONS = frozenset({"BINARY", "NOCASE", "RTRIM"})

_HASH_BYTES = 20
_HASH_PERSON = b"peerd row key"
_NAME_HASH_BYTES = 5
_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_MARKS = ("~", "@", "'")
_encode = msgspec.msgpack.Encoder().encode


class Parent(msgspec.Struct, frozen=True):
    """A part of an identity that refers to a row: by its record key, or, where there is no such row, by the integer
    that it has on one device.
    """

    key: str | None
    device: str = ""
    integer: int = 0


Part: TypeAlias = "Cell | Parent"


def record_key(parts: Sequence[Part], collations: Sequence[str]) -> str:
    """The record key of a row whose identity are `parts`, compared by `collations` (of `KNOWN_COLLATIONS`).

    All rows of a collection have the same number of parts, so that no key of one part is taken for one of several.
    """
    canonical = [_canonical(part, collation) for part, collation in zip(parts, collations, strict=True)]
    readable = [_readable(part) for part in canonical]
    if None not in readable:
        texts = [text for text in readable if text is not None]
        key = texts[0] if len(texts) == 1 else "|".join(map(_escaped, texts))
        if is_acceptable(key, KEY_BYTES):
            return key
    packed = _encode([_packed(part) for part in canonical])
    digest = blake2b(packed, digest_size=_HASH_BYTES, person=_HASH_PERSON).digest()
    return "~" + b32encode(digest).decode().lower()


def identity_collations(table: Table, identity: Sequence[str]) -> tuple[str, ...]:
    """The collations by which SQLite keeps `identity` unique: of the key or the index that has these columns, else
    of the columns.
    """
    if tuple(identity) == table.key:
        return table.key_collations
    for unique in table.uniques:
        if not unique.partial and len(unique.columns) == len(identity) and set(unique.columns) == set(identity):
            by_column = dict(zip(unique.columns, unique.collations, strict=True))
            return tuple(by_column[name] for name in identity)
    of_columns = {column.name: column.collation for column in table.columns}
    return tuple(of_columns[name] for name in identity)


def collection_name(binding: str, table: str) -> str:
    """The collection of a table: `binding.table`, or, where that is no legal name or not of one binding alone, one
    that resembles it and ends with a hash of both. Names that differ only by ASCII case are one table to SQLite.
    """
    name = f"{binding}.{table}"
    try:
        check_collection_name(name)
    except UserError:
        pass
    else:
        if "." not in table:
            return name
    packed = _encode([binding, folded(table)])
    suffix = b32encode(blake2b(packed, digest_size=_NAME_HASH_BYTES, person=_HASH_PERSON).digest()).decode().lower()
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{binding}.{table.replace('.', '_')}", flags=re.ASCII)
    plain = plain if plain[:1].isalnum() else f"t{plain}"
    return f"{plain[: COLLECTION_NAME_BYTES - len(suffix) - 1]}-{suffix}"


def _canonical(part: Part, collation: str) -> Part:
    """The one that stands for all parts that SQLite holds to be equal."""
    if isinstance(part, float) and part.is_integer() and INT64_MIN <= part <= INT64_MAX:
        return int(part)
    if isinstance(part, str | BadText) and collation != "BINARY":
        raw = part.encode() if isinstance(part, str) else part.data
        raw = raw.rstrip(b" ") if collation == "RTRIM" else _without_case(raw)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return BadText(raw)
    return part


def _without_case(raw: bytes) -> bytes:
    # SQLite's NOCASE stops at a NUL, and then compares the lengths alone.
    before, nul, after = raw.lower().partition(b"\0")
    return before + nul + b"\0" * len(after)


def _readable(part: Part) -> str | None:
    if isinstance(part, int):
        return str(part)
    if isinstance(part, Parent):
        return None if part.key is None else f"@{part.key}"
    if isinstance(part, str):
        is_plain = part and not part.startswith(_MARKS) and _INTEGER.fullmatch(part) is None
        return part if is_plain else f"'{part}"
    return None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _packed(part: Part) -> bytes:
    if isinstance(part, Parent):
        return _encode({"@": part.key} if part.key is not None else {"device": part.device, "integer": part.integer})
    return pack_cell(part)
