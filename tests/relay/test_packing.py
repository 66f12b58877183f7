"""What is encrypted of an object: compressed if that helps, padded always, bounded when it is opened."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.padding import padded_size
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.protocol.relay.objects import OBJECT_BYTES, SEGMENT_BYTES
from peerd.relay.packing import PLAIN_BYTES, pack, unpack
from tests.relay.scene import noise

AROUND_BYTES = 49


def raw(kind: int, body: bytes, length: int | None = None) -> bytes:
    return bytes([kind]) + (len(body) if length is None else length).to_bytes(4, "big") + body


@given(st.binary(max_size=20_000), st.integers(0, 1_000))
def test_it_comes_out_as_it_went_in(plaintext: bytes, around_bytes: int) -> None:
    packed = pack(plaintext, around_bytes)
    assert unpack(packed) == plaintext
    assert len(packed) + around_bytes == padded_size(len(packed) + around_bytes)


def test_what_compresses_is_compressed_and_the_rest_is_not() -> None:
    assert pack(b"a" * 100_000, AROUND_BYTES)[0] == 1
    assert len(pack(b"a" * 100_000, AROUND_BYTES)) + AROUND_BYTES == 4096
    assert pack(noise(10_000), AROUND_BYTES)[0] == 0
    assert pack(b"", AROUND_BYTES)[0] == 0


def test_sizes_of_one_class_are_the_same() -> None:
    sizes = {len(pack(noise(count), AROUND_BYTES)) for count in (0, 1, 100, 4096 - AROUND_BYTES - 5)}
    assert sizes == {4096 - AROUND_BYTES}


def test_a_full_segment_fits_even_if_nothing_compresses() -> None:
    assert len(pack(noise(SEGMENT_BYTES + 8_000), AROUND_BYTES)) <= OBJECT_BYTES


@pytest.mark.parametrize("plaintext", [noise(OBJECT_BYTES), bytes(PLAIN_BYTES + 1)])
def test_more_than_an_object_holds_is_a_mistake_of_ours(plaintext: bytes) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        pack(plaintext, AROUND_BYTES)
    assert refused.value.code == "too-large"


def test_the_largest_plaintext_is_opened_again() -> None:
    assert unpack(pack(bytes(PLAIN_BYTES), AROUND_BYTES)) == bytes(PLAIN_BYTES)


def compressed(size_bytes: int, *, said: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=said).compress(bytes(size_bytes))


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\0", id="a byte"),
        pytest.param(raw(0, b"abc", 4), id="shorter than it says"),
        pytest.param(raw(0, b"abc", (1 << 32) - 1), id="much shorter than it says"),
        pytest.param(raw(2, b"abc"), id="another kind"),
        pytest.param(raw(1, b"abc"), id="not compressed"),
        pytest.param(raw(1, compressed(9_000)[:-3]), id="cut"),
        pytest.param(raw(1, compressed(9_000, said=False)), id="without its size"),
        pytest.param(raw(1, compressed(PLAIN_BYTES + 1)), id="too large"),
        pytest.param(raw(1, compressed(PLAIN_BYTES + 1, said=False)), id="too large, without its size"),
    ],
)
def test_what_pack_does_not_make_is_refused(packed: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        unpack(packed)
    assert refused.value.code == "malformed"


@pytest.mark.parametrize("said", [True, False])
def test_a_bomb_is_stopped_while_it_grows(*, said: bool) -> None:
    bomb = raw(1, compressed(1 << 30, said=said))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * PLAIN_BYTES
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300), st.sampled_from([0, 1]))
def test_fuzz_of_what_is_inside(body: bytes, kind: int) -> None:
    """Unpacked, or refused: any other error fails the test."""
    with suppress(RemoteProtocolError):
        unpack(raw(kind, body))
