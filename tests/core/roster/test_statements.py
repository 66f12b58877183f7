"""The bytes of statements: what they say, and which bytes say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.roster import statements
from peerd.core.roster.statements import (
    Admit,
    DeviceCard,
    Genesis,
    decode_statement,
    encode_genesis,
    encode_statement,
    is_name,
    statement_id,
)
from peerd.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

CARD = DeviceCard(b"p" * 32, b"q" * 32, "kitchen")
GENESIS = encode_genesis(Genesis("home", b"n" * 16, CARD))
SPACE = decode_statement(GENESIS).space
HEAD = statement_id(GENESIS)


def _statement(kind: int, body: Any, *, format_: int = 1, heads: list[bytes] | None = None) -> bytes:
    return msgspec.msgpack.encode([format_, kind, SPACE, CARD.device, [HEAD] if heads is None else heads, body])


def _admit_body(**changed: Any) -> dict[str, Any]:
    return {"card": [b"p" * 32, b"q" * 32, "attic"], "role": "admin", "wraps": {b"e" * 16: b"sealed"}, **changed}


def _refusal(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_statement(data)
    return caught.value.code


def test_a_statement_is_read_back_as_it_was_written() -> None:
    """Encoding and decoding are each other's opposite."""
    body = Admit(DeviceCard(b"1" * 32, b"2" * 32, "attic"), "member", {b"e" * 16: b"sealed"})
    data = encode_statement(statements.ADMIT, SPACE, CARD.device, (HEAD,), body)
    read = decode_statement(data)
    assert (read.kind, read.space, read.author, read.heads) == (2, SPACE, CARD.device, (HEAD,))
    assert read.body == body
    assert read.id == statement_id(data)


@pytest.mark.parametrize(
    "data",
    [
        _statement(9, {}),
        _statement(127, {}),
        _statement(0, {}),
        _statement(-1, {}),
        _statement(2, _admit_body(), format_=2),
        msgspec.msgpack.encode([2, 3, "a later format is laid out as it likes"]),
        _statement(2, _admit_body(role="reader")),
    ],
)
def test_what_a_later_version_may_mean_needs_a_newer_peerd(data: bytes) -> None:
    """It is refused by that name, never skipped: it might remove somebody."""
    assert _refusal(data) == "needs-newer-peerd"


@pytest.mark.parametrize("kind", [128, 1_000_000, statements.RESERVED])
def test_optional_and_reserved_kinds_are_kept_without_effect(kind: int) -> None:
    """Whatever their body holds, as long as it is a map."""
    assert decode_statement(_statement(kind, {"anything": [1, {"deep": None}]})).body is None
    assert _refusal(_statement(kind, [1])) == "bad-statement"


def test_a_withdrawal_that_says_something_else_is_kept_without_effect() -> None:
    """Who does not know the kind keeps it, too; all are to have the same statements."""
    good = _statement(statements.WITHDRAW, {"ticket": b"t" * 16, "later": 1})
    assert decode_statement(good).body == statements.Withdraw(b"t" * 16)
    for wrong in ({}, {"ticket": b"t" * 15}, {"ticket": "t" * 16}):
        assert decode_statement(_statement(statements.WITHDRAW, wrong)).body is None


def test_unknown_keys_of_a_body_are_ignored() -> None:
    """A later version may add some."""
    assert decode_statement(_statement(2, _admit_body(later=[1, 2]))).body == Admit(
        DeviceCard(b"p" * 32, b"q" * 32, "attic"), "admin", {b"e" * 16: b"sealed"}
    )


_DEEP = b"\x91" * 60_000 + b"\xc0"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        GENESIS[:-1],
        GENESIS + b"\0",
        _statement(2, {}),
        _statement(2, _admit_body(card=[b"p" * 31, b"q" * 32, "attic"])),
        _statement(2, _admit_body(card=[b"p" * 32, b"q" * 32, "x" * 65])),
        _statement(2, _admit_body(card=[b"p" * 32, b"q" * 32, "at\u202etic"])),
        _statement(2, _admit_body(wraps={b"e" * 15: b"sealed"})),
        _statement(2, _admit_body(wraps={b"e" * 16: b"s" * 513})),
        _statement(2, _admit_body(), heads=[]),
        _statement(2, _admit_body(), heads=[HEAD, HEAD]),
        _statement(2, _admit_body(), heads=[b"b" * 16, b"a" * 16]),
        _statement(2, _admit_body(), heads=[i.to_bytes(16, "big") for i in range(257)]),
        _statement(4, {"finals": {b"o" * 16: [-1, b"h" * 8]}}),
        _statement(4, {"finals": {b"o" * 16: [1 << 63, b"h" * 8]}}),
        _statement(4, {"finals": {i.to_bytes(16, "big"): [1, b"h" * 8] for i in range(1_025)}}),
        _statement(5, {"number": 0, "id": b"e" * 16, "wraps": {}}),
        _statement(128, {"fat": b"x" * (64 << 10)}),
        _statement(128, {}).removesuffix(b"\x80") + b"\x81\xa1a" + _DEEP,
    ],
)
def test_malformed_statements_are_refused(data: bytes) -> None:
    """Every bound is checked, and nothing but the error comes out."""
    assert _refusal(data) == "bad-statement"


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    """No input makes the decoder raise anything else."""
    assert _refusal(data) in {"bad-statement", "needs-newer-peerd"}


@given(st.integers(0, len(GENESIS) - 1), st.integers(1, 255))
def test_a_changed_byte_makes_another_statement_or_none(at: int, by: int) -> None:
    """No change leaves a genesis of the same space: its id is a hash of founder and body."""
    changed = bytearray(GENESIS)
    changed[at] ^= by
    try:
        read = decode_statement(bytes(changed))
    except RemoteProtocolError:
        return
    assert read.kind != statements.GENESIS


def _other_array_header(data: bytes) -> bytes:
    return b"\xdc\x00\x06" + data[1:]


def _wider_kind(data: bytes) -> bytes:
    return data[:2] + b"\xcc\x01" + data[3:]


@pytest.mark.parametrize("change", [_other_array_header, _wider_kind])
def test_a_genesis_has_one_encoding(change: Callable[[bytes], bytes]) -> None:
    """The same values in other bytes would be a second beginning of the space."""
    assert msgspec.msgpack.decode(change(GENESIS)) == msgspec.msgpack.decode(GENESIS)
    assert _refusal(change(GENESIS)) == "bad-statement"


def test_a_genesis_of_another_founder_is_refused() -> None:
    """The author must be the device of the card, and part of the space's id."""
    fields = msgspec.msgpack.decode(GENESIS)
    fields[3] = b"x" * 32
    assert _refusal(msgspec.msgpack.encode(fields)) == "bad-statement"


def test_the_same_name_and_key_make_another_space_with_another_nonce() -> None:
    """A person may found as many spaces called home as they like."""
    assert decode_statement(encode_genesis(Genesis("home", b"m" * 16, CARD))).space != SPACE


@pytest.mark.parametrize("name", ["kitchen", "Küche", "台所", "a b", "👩‍👩‍👧", "x" * 64])
def test_names_that_people_use(name: str) -> None:
    """Any script, up to 64 bytes."""
    assert is_name(name)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\0", "\u200bx", "x\u2066", "\ufeff", "é" * 33, "\ud800"])
def test_names_that_cannot_be_seen_or_are_too_long(name: str) -> None:
    """Nothing that a person could not read back."""
    assert not is_name(name)
