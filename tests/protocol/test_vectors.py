"""PROTOCOL.md and its vectors against the code: what is published is what is spoken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peerd.core.limits import ENTRY_BYTES, RUN_BYTES, RUN_ENTRIES
from peerd.errors import RemoteProtocolError
from peerd.net import limits as net_limits
from peerd.protocol import codec, messages
from peerd.protocol.messages import Message
from peerd.protocol.pairing import messages as pairing_messages
from peerd.protocol.session import Phase
from tests.protocol import message_vectors

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPECIFICATION = (ROOT / "peerd" / "protocol" / "PROTOCOL.md").read_text(encoding="utf-8")
MESSAGES = "7. Messages of `peerd.sync.1`"
VECTORS: dict[str, Any] = json.loads(message_vectors.VECTORS.read_text(encoding="utf-8"))


def section(title: str) -> str:
    """The text of PROTOCOL.md under a heading, to the next one of the same level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", SPECIFICATION, re.MULTILINE | re.DOTALL)
    assert found is not None, f"PROTOCOL.md has no heading {title!r}"
    return found[2]


@pytest.mark.parametrize("number", range(len(VECTORS["messages"])))
def test_a_published_frame_is_read_and_written_as_published(number: int) -> None:
    one, message = VECTORS["messages"][number], message_vectors.examples()[number]
    frame = bytes.fromhex(one["frame"])
    assert codec.decode(frame) == message
    assert codec.encode(message) == frame
    assert msgspec.msgpack.decode(frame)[0] == one["type"] == message.type
    assert sorted(msgspec.msgpack.decode(frame)[2]) == one["keys"]


def test_every_message_has_a_vector_with_every_key() -> None:
    shown: dict[int, set[str]] = {}
    for one in VECTORS["messages"]:
        shown.setdefault(one["type"], set()).update(one["keys"])
    assert shown == {kind.type: keys_of(kind) for kind in messages.ALL}


def test_a_published_compressed_frame_is_read() -> None:
    one = VECTORS["compressed"]
    assert codec.decode(bytes.fromhex(one["frame"])) == codec.decode(bytes.fromhex(one["plain"]))
    assert bytes.fromhex(one["frame"])[:4].hex() == "28b52ffd"
    assert bytes.fromhex(one["plain"])[:1].hex() == "93"


def test_unknown_types_and_keys_are_taken_as_published() -> None:
    assert codec.decode(bytes.fromhex(VECTORS["unknown optional type"]["frame"])) is None
    assert codec.decode(bytes.fromhex(VECTORS["unknown key"]["frame"])) == messages.Bye("stopping")
    with pytest.raises(RemoteProtocolError) as refused:
        codec.decode(bytes.fromhex(VECTORS["unknown type"]["frame"]))
    assert refused.value.code == "unsupported"


def test_refusals_are_as_published() -> None:
    assert message_vectors.refusals() == VECTORS["refusals"]
    assert [message_vectors.request(one["offered"]) for one in VECTORS["refusals"]] == [
        ["peerd.sync.1"],
        ["peerd.sync.2"],
    ]


def test_the_helper_makes_the_published_file() -> None:
    """Compression aside: another version of zstd may write other bytes."""
    made = message_vectors.vectors()
    assert {**made, "compressed": None} == {**VECTORS, "compressed": None}


def keys_of(kind: type[Message | pairing_messages.Message]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("kind", messages.ALL)
def test_the_specification_has_every_message_and_key(kind: type[Message]) -> None:
    name = kind.__name__.removesuffix("Message").upper()
    row = re.search(rf"^\| {kind.type} \| {name} \|(.*?)\|(.*?)\|", section(MESSAGES), re.MULTILINE)
    assert row is not None
    assert (row[2].strip() == "yes") is kind.bulk
    text = section("PING and PONG" if name in {"PING", "PONG"} else name)
    listed = set(re.findall(r"^\| \[?`(\w+)`\]? \|", text, re.MULTILINE))
    pong_only = {"tq"} if name == "PING" else set()
    assert listed - pong_only == keys_of(kind)
    optional = set(re.findall(r"^\| \[`(\w+)`\] \|", text, re.MULTILINE)) - pong_only
    assert optional == {field.encode_name for field in msgspec.structs.fields(kind) if not field.required}


PAIRING = [
    kind
    for kind in vars(pairing_messages).values()
    if isinstance(kind, type) and issubclass(kind, pairing_messages.Message) and kind is not pairing_messages.Message
]


@pytest.mark.parametrize("kind", PAIRING)
def test_the_specification_has_every_message_and_key_of_pairing(kind: type[pairing_messages.Message]) -> None:
    row = re.search(rf"^\| {kind.type} \| {kind.__name__.upper()} \| (.*) \|$", section("10. Pairing"), re.MULTILINE)
    assert row is not None
    assert keys_of(kind) <= set(re.findall(r"`(\w+)`", row[1]))


def test_the_specification_has_every_refusal_of_pairing() -> None:
    said = set(re.findall(r"`([a-z-]+)`", section("Refusals")))
    never_sent = {"link-lost", "not-confirmed"}
    assert set(pairing_messages.REASONS) - never_sent <= said


def test_the_specification_has_every_close_code() -> None:
    """Every code that the source names is in the table, and no other of ours."""
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "peerd").rglob("*.py")))
    used = set(re.findall(r"\b4[45]\d\d\b", source))
    listed = set(re.findall(r"\b4[45]\d\d\b", section("WebSocket close codes")))
    assert used == listed


def test_the_specification_has_every_error_code_of_a_link() -> None:
    source = "".join(
        (ROOT / "peerd" / path).read_text(encoding="utf-8")
        for path in (
            "protocol/codec.py", "protocol/session.py", "protocol/their_copy.py", "protocol/inflow.py",
            "engine/arrival.py", "engine/commits.py", "engine/links/session_runner.py",
            "engine/links/inbound.py", "engine/links/link_runner.py",
        )
    )  # fmt: skip
    raised = set(re.findall(r"RemoteProtocolError\(.*code=\"([a-z-]+)\"", source))
    raised |= set(re.findall(r"(?:refuse|\bError)\(\"([a-z-]+)\"", source))
    assert raised == set(re.findall(r"`([a-z-]+)`", section("Error codes")))


def test_the_specification_has_the_phases_of_a_session() -> None:
    assert [phase.value for phase in Phase] == re.findall(r"^\| (\w+) \|", section("8. Sessions"), re.MULTILINE)[1:]


def test_the_specification_has_the_version_and_the_limits() -> None:
    assert f"Version {messages.MAJOR}.{messages.MINOR}." in SPECIFICATION
    assert messages.SUBPROTOCOL in SPECIFICATION
    assert (messages.FRAME_BYTES, pairing_messages.FRAME_BYTES) == (1 << 20, 16 << 10)
    assert net_limits.MAX_FRAME_BYTES == messages.FRAME_BYTES
    assert net_limits.MAX_PAIRING_FRAME_BYTES == pairing_messages.FRAME_BYTES
    assert (messages.CREDIT_BYTES, messages.PART_BYTES) == (4 << 20, 512 << 10)
    assert (ENTRY_BYTES, RUN_ENTRIES, RUN_BYTES) == (64 << 20, 1_000, 256 << 10)
    before = net_limits.Limits()
    assert (before.opening_s, before.per_address, before.in_all, before.handshakes_per_s, before.links_per_device) == (
        5, 4, 32, 10, 8,
    )  # fmt: skip


def test_every_vector_file_is_named_and_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.json)`", section("15. Test vectors")))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/vectors/*.json")}
    assert named == there
