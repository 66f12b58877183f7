"""What devices leave on a relay: out as it went in, and never anything but a refusal for what strangers make of it."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.chain import Run
from peerd.core.origin import Announcement
from peerd.core.roster.statements import SignedStatement
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay.objects import (
    PIECE_BYTES,
    Head,
    Manifest,
    Piece,
    Segment,
    SignedHead,
    SpentHead,
    Talk,
    cut,
    decode_head,
    decode_segment,
    decode_signed_head,
    encode,
    first_chain,
    join_pieces,
    next_chain,
)

SPECIFICATION = (Path(relay_objects.__file__).parents[1] / "PROTOCOL.md").read_text(encoding="utf-8")
STREAM, OTHER, DEVICE = b"s" * 16, b"o" * 16, b"d" * 32
RUN = Run(OTHER, 3, (b"entry", b"another"), b"x" * 64)
HEAD = Head(
    counter=9,
    t_ms=1_700_000_000_000,
    stream=STREAM,
    next=4,
    chain=b"c" * 32,
    oldest=2,
    sizes=[4_096, 8_192],
    covers={OTHER: [(1, 7), (9, 9)]},
    positions=[(OTHER, 7, b"h" * 8)],
    snapshot=Manifest(b"i" * 16, 2, 9_000, b"g" * 32, {OTHER: 5}, 5, 6),
    lost=[(DEVICE, STREAM, 1)],
    statements=[SignedStatement(b"said", bytes(64))],
    roster_parts=[(b"p" * 16, b"k" * 32)],
    apart=[(OTHER, 5, b"f" * 8)],
    talk=[Talk(DEVICE, OTHER, 3, [(4, 5, b"f" * 8), (0, 7, b"h" * 8)], whole=True)],
)
MANY_ENTRIES = encode(Segment(bytes(32), runs=[Run(OTHER, 1, (b"ab",) * 500_000, bytes(64))]))
SEGMENT = Segment(b"p" * 32, [Announcement(DEVICE, b"a" * 16, b"n" * 16)], [RUN])
SIGNED = SignedHead(DEVICE, b"x" * 64, encode(HEAD))
DECODERS: list[tuple[Callable[[bytes], object], Any]] = [
    (decode_head, HEAD),
    (decode_segment, SEGMENT),
    (decode_segment, Segment(b"p" * 32, piece=Piece(0, 2, b"half"))),
    (decode_signed_head, SIGNED),
]
EACH = pytest.mark.parametrize(("decode", "body"), DECODERS, ids=["head", "segment", "piece", "signed head"])


@EACH
def test_it_comes_out_as_it_went_in(decode: Callable[[bytes], object], body: Any) -> None:
    assert decode(encode(body)) == body


def test_a_head_acknowledges_what_its_copy_has_applied() -> None:
    assert HEAD.clock == {OTHER: 7}


def test_keys_of_a_later_version_are_passed_over() -> None:
    told = msgspec.msgpack.decode(encode(HEAD))
    assert decode_head(msgspec.msgpack.encode({**told, "later": [1]})) == HEAD


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        pytest.param(decode_head, encode(msgspec.structs.replace(HEAD, sizes=[1])), id="too few sizes"),
        pytest.param(decode_head, encode(msgspec.structs.replace(HEAD, oldest=5, sizes=[])), id="oldest after next"),
        pytest.param(decode_head, encode(msgspec.structs.replace(HEAD, next=0)), id="no next"),
        pytest.param(decode_head, encode(msgspec.structs.replace(HEAD, stream=b"s")), id="short stream"),
        pytest.param(decode_head, encode(msgspec.structs.replace(HEAD, covers={OTHER: [(1, 1)] * 9})), id="intervals"),
        pytest.param(decode_segment, encode(Segment(bytes(32))), id="neither runs nor piece"),
        pytest.param(decode_segment, encode(Segment(bytes(32), [], [RUN], Piece(0, 2, b""))), id="both"),
        pytest.param(decode_segment, encode(Segment(bytes(32), piece=Piece(0, 1, b""))), id="one piece"),
        pytest.param(decode_signed_head, encode(SignedHead(DEVICE, b"x" * 63, b"")), id="short signature"),
        pytest.param(decode_signed_head, b"\x91" * 100_000, id="deep"),
        pytest.param(decode_head, b"\xdf\xff\xff\xff\xff", id="a map of four thousand million"),
    ],
)
def test_what_contradicts_itself_is_refused(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode(data)
    assert refused.value.code == "malformed"


def test_a_run_that_is_too_large_comes_in_pieces() -> None:
    run = Run(OTHER, 1, (bytes(PIECE_BYTES), b"e" * PIECE_BYTES), b"x" * 64)
    pieces = cut(run)
    assert [(one.number, one.count) for one in pieces] == [(0, 3), (1, 3), (2, 3)]
    assert all(len(one.data) <= PIECE_BYTES for one in pieces)
    assert join_pieces(pieces) == run
    with pytest.raises(RemoteProtocolError):
        join_pieces(pieces[1:])


def test_the_chain_depends_on_every_byte_before() -> None:
    first = first_chain(STREAM)
    chains = {
        first,
        first_chain(OTHER),
        next_chain(first, b"one"),
        next_chain(first, b"two"),
        next_chain(next_chain(first, b"one"), b"two"),
        next_chain(next_chain(first, b"two"), b"one"),
    }
    assert len(chains) == 6
    assert {len(one) for one in chains} == {32}


def test_what_is_signed_names_space_and_device() -> None:
    said = relay_objects.head_signing_input
    assert len({said(STREAM, DEVICE, b"d"), said(OTHER, DEVICE, b"d"), said(STREAM, b"e" * 32, b"d")}) == 3


@pytest.mark.parametrize(("kind", "heading"), [(SpentHead, "a head's body"), (Segment, "a segment")])
def test_the_specification_has_every_key(kind: type[SpentHead | Segment], heading: str) -> None:
    table = SPECIFICATION.partition(f"| key of {heading} | |")[2].partition("\n\n")[0]
    cells = first_cells(table)
    required, optional = re.findall(r"(?<!\[)`(\w+)`", cells), re.findall(r"\[`(\w+)`\]", cells)
    fields = msgspec.structs.fields(kind)
    assert {field.encode_name for field in fields} == {*required, *optional}
    assert {field.encode_name for field in fields if not field.required} == set(optional)


def first_cells(table: str) -> str:
    return "\n".join(row.split("|")[1] + "|" for row in table.splitlines() if row.startswith("| "))


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        pytest.param(decode_segment, MANY_ENTRIES, id="entries"),
        pytest.param(decode_segment, b"\x81\xa1r\xdd\x00\x0f\xff\xff" + b"\x90" * (1 << 20), id="runs"),
        pytest.param(decode_head, b"\x81\xa1z\xdd\x00\x0f\xff\xff" + b"\x01" * (1 << 20), id="sizes"),
        pytest.param(decode_head, b"\x81\xa1v\xdf\x00\x0f\xff\xff" + b"\xa0" * (2 << 20), id="covers"),
        pytest.param(decode_head, b"\x81\xa1?" + b"\x91" * (2 << 20), id="depth"),
    ],
)
def test_two_mebibytes_of_anything_do_not_grow_much(decode: Callable[[bytes], object], data: bytes) -> None:
    """As much as an object may hold. A run of tiny entries costs most; the door refuses it then."""
    tracemalloc.start()
    try:
        with suppress(RemoteProtocolError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


@EACH
@given(data=st.binary(max_size=300))
def test_fuzz_of_random_bytes(decode: Callable[[bytes], object], body: Any, data: bytes) -> None:
    only_refused(decode, data)


@EACH
@given(draw=st.data())
def test_fuzz_of_changed_bytes(decode: Callable[[bytes], object], body: Any, draw: st.DataObject) -> None:
    whole = encode(body)
    at = draw.draw(st.integers(0, len(whole) - 1))
    end = draw.draw(st.integers(at, len(whole)))
    only_refused(decode, whole[:at] + draw.draw(st.binary(max_size=40)) + whole[end:])


def only_refused(decode: Callable[[bytes], object], data: bytes) -> None:
    """Decoded, or refused: any other error fails the test."""
    with suppress(RemoteProtocolError):
        decode(data)
