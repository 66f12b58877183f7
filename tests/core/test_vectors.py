"""The test vectors of PROTOCOL.md: bytes that every implementation must agree on, and that must never change."""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from peerd.core import chain, digest, entry, reading, values, writes
from peerd.core.batch import Batch, Verdict
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.origin import Announcement, origin_of
from peerd.core.reading import DEFAULT_RULES
from tests.simulation.memory import Disk, MemoryReader

SPKI = bytes.fromhex("302a300506032b6570032100")


@cache
def vectors() -> Any:
    return json.loads((Path(__file__).parent / "vectors" / "core.json").read_text(encoding="utf-8"))


def space() -> bytes:
    return bytes.fromhex(vectors()["space"])


def announcements() -> list[Announcement]:
    names = ("device", "admission", "nonce")
    return [Announcement(*(bytes.fromhex(device[name]) for name in names)) for device in vectors()["devices"]]


def runs() -> list[tuple[int, Run]]:
    found = []
    for one in vectors()["runs"]:
        origin = origin_of(space(), announcements()[one["author"]])
        entries = tuple(map(bytes.fromhex, one["entries"]))
        found.append((one["author"], Run(origin, one["first"], entries, bytes.fromhex(one["signature"]))))
    return found


def test_devices_and_origins() -> None:
    for device, announcement in zip(vectors()["devices"], announcements(), strict=True):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(device["seed"])).public_key().public_bytes_raw()
        assert key.hex() == device["public_key"]
        assert sha256(SPKI + key).hexdigest() == device["device"]
        origin = origin_of(space(), announcement)
        assert origin.hex() == device["origin"]
        assert chain.first_hash(space(), announcement.device, origin).hex() == device["h0"]


@pytest.mark.parametrize("number", range(len(vectors()["values"])))
def test_values(number: int) -> None:
    value, packed = vectors()["values"][number]
    assert values.pack(value).hex() == packed
    assert repr(values.unpack(bytes.fromhex(packed))) == repr(value)


def readable(decoded: entry.Entry) -> list[Any]:
    changes = [
        [
            change.kind,
            change.collection,
            change.key,
            {name: values.unpack(value) for name, value in change.set.items()},
            list(change.drop),
            [[dot.origin.hex(), dot.seq] for dot in change.keep],
            [change.answers.origin.hex(), change.answers.seq] if change.answers else None,
        ]
        for change in decoded.changes
    ]
    delta = [[head.origin.hex(), head.seq, head.hash8.hex()] for head in decoded.delta]
    return [decoded.format, decoded.t_ms, decoded.tq, delta, decoded.schema, changes]


def test_entries() -> None:
    for one in vectors()["runs"]:
        for data, expected in zip(one["entries"], one["decoded"], strict=True):
            decoded = entry.decode(bytes.fromhex(data))
            assert readable(decoded) == expected
            assert entry.encode(decoded).hex() == data


def test_chains_and_signatures() -> None:
    heads = [bytes.fromhex(device["h0"]) for device in vectors()["devices"]]
    for (author, run), one in zip(runs(), vectors()["runs"], strict=True):
        for data, expected in zip(run.entries, one["hashes"], strict=True):
            heads[author] = blake2b(heads[author] + data, digest_size=32).digest()
            assert heads[author].hex() == expected
        signed = chain.signed_bytes(space(), run.origin, run.last, heads[author])
        assert signed.hex() == one["signed"]
        assert key_of(author).sign(signed) == run.signature


def key_of(author: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors()["devices"][author]["seed"]))


def verify(device: bytes, signature: bytes, data: bytes) -> bool:
    author = [announcement.device for announcement in announcements()].index(device)
    key: Ed25519PublicKey = key_of(author).public_key()
    key.verify(signature, data)
    return True


def test_records_digest_and_what_is_shown() -> None:
    """A third copy that takes the runs, with real signatures, stands where the vectors say."""
    disk = Disk(CopyState(space()))
    batch = Batch(disk.state, MemoryReader(disk), lambda *_: None, verify)
    for announcement in announcements():
        batch.state = batch.state.with_origin(origin_of(space(), announcement), announcement)
    for _, run in runs():
        assert batch.take(run, [entry.decode(data) for data in run.entries]) is Verdict.APPLIED
    disk.commit(writes.finish(batch))
    expected = {(one["collection"], one["key"]): one for one in vectors()["records"]}
    assert disk.rows.keys() == expected.keys()
    for name, (stamps, body, share, _) in disk.rows.items():
        one, record = expected[name], disk.record(name)
        assert record is not None
        assert msgspec.msgpack.encode(stamps).hex() == one["stamps"]
        assert body.hex() == one["body"]
        assert f"{share:016x}" == one["share"]
        assert reading.etag(record) == one["etag"]
        assert {field: value.hex() for field, value in record.winners().items()} == one["winners"]
        listed = [
            [found.field, reading.conflict_id(*name, found.field)] for found in reading.conflicts(record, DEFAULT_RULES)
        ]
        assert listed == one["conflicts"]
    sums = digest.moved(digest.EMPTY, ((one["bucket"], int(one["share"], 16)) for one in expected.values()))
    assert disk.state.digest == sums
    assert digest.summary(sums).hex() == vectors()["summary"]
