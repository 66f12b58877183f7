"""Makes `vectors/messages.json`: one frame of every message of a link, from the keys and runs of the other vectors.

    python -m tests.protocol.message_vectors

What was published never changes; a new message, or a new key, gets an example of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request

from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.origin import Announcement, origin_of
from peerd.core.record import Record, Stamp
from peerd.core.repair.evidence import Evidence
from peerd.core.repair.form import pack_evidence, pack_record, unpack_record
from peerd.core.roster.statements import SignedStatement
from peerd.core.values import pack
from peerd.net.refusal import Refusal, offered, refuse, refuse_version
from peerd.protocol import codec, messages
from peerd.protocol.messages import Message

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "protocol" / "vectors" / "messages.json"
_CORE = json.loads((TESTS / "core" / "vectors" / "core.json").read_text(encoding="utf-8"))
_ROSTER = json.loads((TESTS / "protocol" / "vectors" / "roster.json").read_text(encoding="utf-8"))["roster"]
_SPACE = bytes.fromhex(_CORE["space"])
_ANNOUNCEMENTS = [
    Announcement(*(bytes.fromhex(one[key]) for key in ("device", "admission", "nonce"))) for one in _CORE["devices"]
]
_ORIGINS = [origin_of(_SPACE, one) for one in _ANNOUNCEMENTS]
_DIGEST = bytes(range(16))
_T_MS = 1_795_424_713_147


def _run(number: int) -> Run:
    one = _CORE["runs"][number]
    entries = tuple(map(bytes.fromhex, one["entries"]))
    return Run(_ORIGINS[one["author"]], one["first"], entries, bytes.fromhex(one["signature"]))


def _statement(number: int) -> SignedStatement:
    one = _ROSTER["statements"][number]
    return SignedStatement(bytes.fromhex(one["bytes"]), bytes.fromhex(one["signature"]))


def _record() -> bytes:
    dot = Dot(_ORIGINS[0], 3)
    record = Record()
    record.births, record.stamps = {dot}, {dot: Stamp(_T_MS, 2)}
    record.fields = {"text": {dot: pack("salt")}}
    return pack_record(record)


def _evidence() -> bytes:
    dot, by = Dot(_ORIGINS[0], 1), Dot(_ORIGINS[1], 2)
    return pack_evidence(Evidence(unpack_record(_record()), {("text", dot): by, (None, dot): by}, frozenset({dot, by})))


def examples() -> list[Message]:
    """One of each message, with every key that this version sends or reads."""
    run, entry = _run(0), b"".join(_run(0).entries)
    first, second = _ORIGINS
    introduced = [_ANNOUNCEMENTS[0]]
    return [
        messages.Hello([1, 0], b"bootboot", 7, _T_MS, 2, ["zstd"], "peerd 0.1.0", "kitchen"),
        messages.Welcome([_SPACE]),
        messages.RosterMessage(bytes.fromhex(_ROSTER["space"]), _DIGEST, [_statement(0), _statement(1)]),
        messages.Summary(
            _SPACE, [(first, 3, b"hashhash")], _DIGEST, {second: 2}, 2, [(_ANNOUNCEMENTS[1].device, {first: 2})]
        ),
        messages.Want(_SPACE, {first: 3, second: 5}, messages.CREDIT_BYTES),
        messages.Entries(_SPACE, [run], introduced),
        messages.Part(_SPACE, first, run.first, 0, 2, entry[:40], b"", introduced),
        messages.Part(_SPACE, first, run.first, 1, 2, entry[40:], run.signature),
        messages.Ack(_SPACE, {first: 3}, _DIGEST),
        messages.Credit(_SPACE, run.size_bytes),
        messages.SnapshotWant(_SPACE, _DIGEST, 3, 4),
        messages.SnapshotChunk(_SPACE, _DIGEST, 3, b"a part", last=True),
        messages.ForkMessage(_SPACE, _ORIGINS[0], 3, [(4, 5, b"\x55" * 8), (0, 7, b"\x77" * 8)], whole=True),
        messages.SnapshotRefuse(_SPACE, "store-damaged", "it cannot make a snapshot"),
        messages.Ping(1, _T_MS),
        messages.Pong(1, _T_MS + 4, 1),
        messages.Error("fork", "two histories of one origin", _SPACE),
        messages.Error("order", "a second HELLO"),
        messages.Bye("stopping"),
        messages.Lacking(_SPACE, [("notes", "milk")]),
        messages.Notice(_SPACE, "disk-full", "only 12 MiB are free on the disk"),
        messages.Notice(_SPACE),
        messages.Want(_SPACE, {first: 3}, messages.CREDIT_BYTES, either=True),
        messages.SnapshotOffer(_SPACE, 1_000_000, 230_000_000),
        messages.Locate(_SPACE, _DIGEST, _DIGEST),
        messages.Locate(_SPACE, _DIGEST, _DIGEST, [0, 255], ("notes", "milk")),
        messages.Located(_SPACE, _DIGEST, _DIGEST, bytes(2048)),
        messages.Located(_SPACE, _DIGEST, _DIGEST, b"", [("notes", "salt", b"8 bytes.")], ("notes", "salt")),
        messages.Mend(_SPACE, _DIGEST, [("notes", "salt", _record()), ("notes", "tea", b"")]),
        messages.Mended(
            _SPACE,
            _DIGEST,
            [("notes", "salt", _record(), _evidence(), False), ("notes", "tea", b"", _evidence(), True)],
        ),
        messages.Mend(_SPACE, _DIGEST, [], [(first, run.first)]),
        messages.Mended(_SPACE, _DIGEST, [], [run]),
        messages.Locate(_SPACE, _DIGEST, _DIGEST, faulty=[7, 255]),
        messages.Located(_SPACE, _DIGEST, _DIGEST, bytes(2048), faulty=[0]),
        messages.Mend(_SPACE, _DIGEST, [("notes", "salt", b"")], after=6),
        messages.Mended(_SPACE, _DIGEST, [], [], 9, b"pie", _DIGEST),
    ]


def refusals() -> list[dict[str, Any]]:
    """HTTP answers instead of an upgrade."""
    answers = [
        ("peerd.sync.1", refuse(Refusal("unknown-device", "unknown device"))),
        ("peerd.sync.2", refuse_version(["peerd.sync.2"])),
    ]
    return [
        {"offered": name, "status": answer.status_code, "body": json.loads(answer.body)} for name, answer in answers
    ]


def vectors() -> dict[str, Any]:
    """The contents of the file."""
    return {
        "messages": [
            {
                "name": type(one).__name__.removesuffix("Message").upper(),
                "type": one.type,
                "keys": sorted(msgspec.to_builtins(one, builtin_types=(bytes,))),
                "frame": codec.encode(one).hex(),
            }
            for one in examples()
        ],
        "compressed": {
            "plain": codec.encode(messages.Welcome([_SPACE] * 100)).hex(),
            "frame": codec.compress(codec.encode(messages.Welcome([_SPACE] * 100))).hex(),
        },
        "unknown optional type": {"frame": msgspec.msgpack.encode((255, 0, {"x": 1})).hex()},
        "unknown type": {"frame": msgspec.msgpack.encode((messages.OPTIONAL_TYPES - 1, 0, {"x": 1})).hex()},
        "unknown key": {"frame": msgspec.msgpack.encode((messages.Bye.type, 0, {"reason": "stopping", "x": 1})).hex()},
        "refusals": refusals(),
    }


def request(*subprotocols: str) -> list[str]:
    """What a listener reads of a request that offers these."""
    return offered(Request("/", Headers([("Sec-WebSocket-Protocol", ", ".join(subprotocols))])))


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{VECTORS} written\n")
