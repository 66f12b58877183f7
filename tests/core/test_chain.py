"""The hash chain of an origin and what its runs' signatures cover."""

from __future__ import annotations

from hashlib import blake2b

from peerd.core.chain import Run, first_hash, hash_after, next_hash, signed_bytes

SPACE, DEVICE, ORIGIN = b"s" * 16, b"d" * 32, b"o" * 16


def test_a_chain_begins_with_whose_it_is() -> None:
    begin = blake2b(b"peerd/1 chain\0" + SPACE + DEVICE + ORIGIN, digest_size=32).digest()
    assert first_hash(SPACE, DEVICE, ORIGIN) == begin
    others = {first_hash(b"S" * 16, DEVICE, ORIGIN), first_hash(SPACE, b"D" * 32, ORIGIN)}
    assert begin not in others | {first_hash(SPACE, DEVICE, b"O" * 16)}


def test_each_hash_covers_all_before_it() -> None:
    begin = first_hash(SPACE, DEVICE, ORIGIN)
    assert next_hash(begin, b"one") == blake2b(begin + b"one", digest_size=32).digest()
    assert hash_after(begin, [b"one", b"two"]) == next_hash(next_hash(begin, b"one"), b"two")
    assert hash_after(begin, []) == begin
    assert hash_after(begin, [b"two", b"one"]) != hash_after(begin, [b"one", b"two"])
    assert hash_after(begin, [b"onetwo"]) != hash_after(begin, [b"one", b"two"])


def test_a_signature_covers_space_origin_position_and_head() -> None:
    head = b"h" * 32
    data = signed_bytes(SPACE, ORIGIN, 258, head)
    assert data == b"peerd/1 run\0" + SPACE + ORIGIN + bytes(6) + b"\x01\x02" + head


def test_a_run_knows_its_end() -> None:
    run = Run(ORIGIN, 5, (b"a", b"bc", b"d"), bytes(64))
    assert run.last == 7
    assert run.size_bytes > 4
