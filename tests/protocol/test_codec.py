"""Bytes of strangers: a message, nothing, or a refusal with a code, and never more memory than a frame needs."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import RemoteProtocolError
from peerd.protocol import codec, messages
from peerd.protocol.messages import FRAME_BYTES, OPTIONAL_TYPES, Bye, Message, Part, Want
from tests.protocol import message_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = message_vectors.examples()
FRAMES = [codec.encode(one) for one in EXAMPLES]
HUGE_ARRAY, HUGE_MAP = b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"
HUGE_BINARY, HUGE_TEXT = b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"
SPACE_KEY = b"\xa1s\xc4\x10" + b"s" * 16


def frame(kind: int, body: bytes) -> bytes:
    return bytes([0x93, kind, 0]) + body


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as refused:
        codec.decode(data)
    return refused.value


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert codec.decode(codec.encode(message, request=7)) == message
    assert codec.decode(zstandard.compress(codec.encode(message))) == message


# --- what may come later ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OPTIONAL_TYPES + 1, 200, 255, 70_000])
def test_optional_types_are_ignored(kind: int) -> None:
    assert codec.decode(msgspec.msgpack.encode((kind, 0, {"x": [1, {"y": 2}]}))) is None


@pytest.mark.parametrize("kind", [0, 10, 14, 20, OPTIONAL_TYPES - 1, -1])
def test_other_types_are_refused(kind: int) -> None:
    assert refusal(msgspec.msgpack.encode((kind, 0, {}))).code == "unsupported"


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_keys_that_are_not_known_are_ignored(message: Message) -> None:
    kind, _, body = msgspec.msgpack.decode(codec.encode(message))
    assert codec.decode(msgspec.msgpack.encode((kind, 0, {"zz": [1], **body, "later": {"a": b"b"}}))) == message


# --- malformed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", FRAMES, ids=[type(one).__name__ for one in EXAMPLES])
def test_a_cut_frame_is_refused_wherever_it_is_cut(data: bytes) -> None:
    for length in range(0, len(data), max(1, len(data) // 60)):
        assert refusal(data[:length]).code == "malformed"
    assert refusal(data + b"\0").code == "malformed"


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\x05\x00",
        b"\x94\x05\x00\x80\x80",
        b"\x05",
        b"\x80",
        b"\xc1",
        b"text",
        frame(5, b"\x90"),
        frame(5, b"\xc0"),
    ],
)
def test_what_is_no_message_is_malformed(data: bytes) -> None:
    assert refusal(data).code == "malformed"


NEST = {
    "body": frame(5, b"\x91" * 1_000_000),
    "unknown key": frame(5, b"\x81\xa2zz" + b"\x91" * 1_000_000),
    "maps": frame(5, b"\x81\xa2zz" + b"\x81\x01" * 500_000),
    "statement": frame(3, b"\x83" + SPACE_KEY + b"\xa1d\xc4\x10" + b"d" * 16 + b"\xa2st" + b"\x91" * 900_000),
    "optional": frame(0x7F, b"\x91" * 1_000_000),
}


@pytest.mark.parametrize("data", NEST.values(), ids=NEST)
def test_deep_nesting_is_refused(data: bytes) -> None:
    assert refusal(data).code == "malformed"


DECLARED = {
    "frame": HUGE_ARRAY,
    "body": frame(5, HUGE_MAP),
    "clock": frame(5, b"\x82" + SPACE_KEY + b"\xa1c" + HUGE_MAP),
    "runs": frame(6, b"\x82" + SPACE_KEY + b"\xa1r" + HUGE_ARRAY),
    "entries": frame(6, b"\x82" + SPACE_KEY + b"\xa1r\x91\x94\xc4\x10" + b"o" * 16 + b"\x01" + HUGE_ARRAY),
    "piece": frame(7, b"\x81\xa1b" + HUGE_BINARY),
    "text": frame(17, b"\x81\xa4text" + HUGE_TEXT),
    "unknown key": frame(5, b"\x81\xa2zz" + HUGE_ARRAY),
    "extension": frame(5, b"\x81\xa2zz\xc9\xff\xff\xff\xff\x01"),
}


@pytest.mark.parametrize("data", DECLARED.values(), ids=DECLARED)
def test_a_declared_length_is_no_reason_to_take_memory(data: bytes) -> None:
    assert peak_bytes(lambda: refusal(data)) < 100_000
    assert refusal(data).code == "malformed"


# --- sizes ------------------------------------------------------------------------------------------------


def part_of(frame_bytes: int) -> Part:
    """A message whose frame has exactly this size."""
    around = len(codec.encode(Part(b"s" * 16, b"o" * 16, 1, 0, 2, bytes(70_000)))) - 70_000
    return Part(b"s" * 16, b"o" * 16, 1, 0, 2, bytes(frame_bytes - around))


def test_a_frame_of_one_mebibyte_is_taken_and_one_byte_more_is_not() -> None:
    largest = part_of(FRAME_BYTES)
    assert len(codec.encode(largest)) == FRAME_BYTES
    assert codec.decode(codec.encode(largest)) == largest
    refused = refusal(codec.encode(part_of(FRAME_BYTES + 1)))
    assert (refused.code, refused.close_code) == ("too-large", 4413)


def test_the_same_holds_for_what_a_compressed_frame_becomes() -> None:
    largest = part_of(FRAME_BYTES)
    assert codec.decode(codec.compress(codec.encode(largest))) == largest
    packed = codec.compress(codec.encode(part_of(FRAME_BYTES + 1)))
    assert len(packed) < 1_000
    refused = refusal(packed)
    assert (refused.code, refused.close_code) == ("too-large", 4413)


def bomb(*, sized: bool) -> bytes:
    """200 MiB in some kilobytes; `sized`: it declares what it becomes."""
    if sized:
        return zstandard.ZstdCompressor().compress(bytes(200 << 20))
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()


@pytest.mark.parametrize("sized", [True, False])
def test_a_bomb_takes_no_more_memory_than_a_frame(sized: bool) -> None:  # noqa: FBT001 - the two kinds
    """The library ignores a bound on the output where a frame declares its size, so bytes are counted."""
    packed = bomb(sized=sized)
    assert len(packed) < 50_000
    assert peak_bytes(lambda: refusal(packed)) < 4 * FRAME_BYTES
    assert refusal(packed).code == "too-large"


def test_a_damaged_compressed_frame_is_malformed() -> None:
    packed = zstandard.compress(codec.encode(Want(b"s" * 16, {bytes([n]) * 16: n for n in range(200)}, 1)))
    for damaged in (packed[:4], packed[:20], packed[:30] + b"\xff" * 20 + packed[50:], packed[:4] + b"\xff" * 40):
        assert refusal(damaged).code == "malformed"


def test_a_window_that_needs_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(bytes(1_000)) + packer.flush()
    assert refusal(packed).code == "malformed"


def test_a_small_frame_is_not_worth_compressing() -> None:
    small = codec.encode(Bye("stopping"))
    assert codec.compress(small) == small
    assert codec.compress(bytes(10_000))[:4] == b"\x28\xb5\x2f\xfd"


# --- anything at all --------------------------------------------------------------------------------------


def is_taken_or_refused(data: bytes) -> None:
    try:
        message = codec.decode(data)
    except RemoteProtocolError as refused:
        assert refused.code in {"malformed", "unsupported", "too-large"}
    else:
        assert message is None or type(message) in messages.ALL


def mutated(chance: Random, data: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or taken from another frame."""
    one = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(one) + 1)
        match chance.randrange(4):
            case 0 if at < len(one):
                one[at] = chance.choice([0, 0x7F, 0x80, 0x90, 0xC1, 0xC6, 0xDD, 0xFF, chance.randrange(256)])
            case 1:
                del one[at : at + chance.randint(1, 8)]
            case 2:
                one[at:at] = one[at : at + chance.randint(1, 30)]
            case _:
                one[at:] = chance.choice(FRAMES)[at:]
    return bytes(one)


def test_mutated_frames_are_taken_or_refused() -> None:
    chance = Random(7)
    for number in range(6_000):
        data = mutated(chance, chance.choice(FRAMES))
        is_taken_or_refused(zstandard.compress(data) if number % 5 == 0 else data)


def test_mutated_compressed_frames_are_taken_or_refused() -> None:
    chance = Random(8)
    packed = [zstandard.compress(one) for one in FRAMES]
    for _ in range(2_000):
        is_taken_or_refused(mutated(chance, chance.choice(packed)))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x93\x06\x00", b"\x93\x04\x00\x84", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_taken_or_refused(data: bytes, before: bytes) -> None:
    is_taken_or_refused(before + data)
