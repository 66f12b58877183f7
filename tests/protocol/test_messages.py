"""The shapes of messages: their types, what is optional, and the bounds of every value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from peerd.errors import RemoteProtocolError
from peerd.protocol import codec, messages
from peerd.protocol.messages import Entries, Message, Part

ID, HASH, DIGEST = b"i" * 16, b"h" * 8, b"d" * 16
MOST = (1 << 63) - 1

# The least that each message may say.
LEAST: dict[type[Message], dict[str, Any]] = {
    messages.Hello: {"v": [1, 0], "boot": HASH, "n": 0, "t": 0},
    messages.Welcome: {"spaces": []},
    messages.RosterMessage: {"s": ID, "d": DIGEST},
    messages.Summary: {"s": ID, "p": [], "d": DIGEST},
    messages.Want: {"s": ID, "c": {}, "b": 0},
    messages.Entries: {"s": ID, "r": []},
    messages.Part: {"s": ID, "g": ID, "q": 0, "n": 0, "of": 2, "b": b""},
    messages.Ack: {"s": ID, "c": {}, "d": DIGEST},
    messages.Credit: {"s": ID, "b": 0},
    messages.Ping: {"id": 0, "t": 0},
    messages.Pong: {"id": 0, "t": 0},
    messages.Error: {"code": ""},
    messages.Bye: {"reason": ""},
    messages.Lacking: {"s": ID, "r": []},
    messages.Notice: {"s": ID},
}

CLOCK = {number.to_bytes(16, "big"): 1 for number in range(10_001)}
WRONG: list[tuple[type[Message], str, Any]] = [
    (messages.Hello, "v", [1]),
    (messages.Hello, "v", [1, 0, 0]),
    (messages.Hello, "boot", b"short"),
    (messages.Hello, "n", -1),
    (messages.Hello, "t", MOST + 1),
    (messages.Hello, "tq", 3),
    (messages.Hello, "caps", ["x"] * 65),
    (messages.Hello, "caps", ["x" * 65]),
    (messages.Hello, "name", "x" * 65),
    (messages.Welcome, "spaces", [ID] * 1_001),
    (messages.Welcome, "spaces", [ID[:15]]),
    (messages.RosterMessage, "s", ID + b"x"),
    (messages.RosterMessage, "d", DIGEST[:8]),
    (messages.RosterMessage, "st", [[b"", b""]] * 1_001),
    (messages.Summary, "p", [[ID, 1, HASH]] * 10_001),
    (messages.Summary, "p", [[ID, -1, HASH]]),
    (messages.Summary, "p", [[ID, 1, HASH[:7]]]),
    (messages.Summary, "p", [[ID, 1]]),
    (messages.Summary, "h", CLOCK),
    (messages.Summary, "a", [[b"x" * 31, {}]]),
    (messages.Want, "c", CLOCK),
    (messages.Want, "c", {ID: -1}),
    (messages.Want, "c", {ID[:3]: 1}),
    (messages.Want, "b", (1 << 30) + 1),
    (messages.Want, "b", -1),
    (messages.Entries, "r", [[ID, 1, [], b""]] * 1_001),
    (messages.Entries, "r", [[ID, 1, ["text"], b""]]),
    (messages.Entries, "o", [[ID, ID, ID]]),
    (messages.Part, "of", 1),
    (messages.Part, "of", 1_025),
    (messages.Part, "n", 1_025),
    (messages.Part, "n", -1),
    (messages.Part, "b", "text"),
    (messages.Credit, "b", -1),
    (messages.Credit, "b", 1.5),
    (messages.Error, "code", "x" * 65),
    (messages.Error, "text", "x" * 501),
    (messages.Error, "s", b""),
    (messages.Lacking, "r", [["notes", "a"]] * 1_001),
    (messages.Lacking, "r", [["notes"]]),
    (messages.Notice, "text", "x" * 501),
]


def decode(kind: type[Message], body: dict[str, Any]) -> Message | None:
    return codec.decode(msgspec.msgpack.encode((kind.type, 0, body)))


def test_no_two_messages_have_one_type() -> None:
    assert len({kind.type for kind in messages.ALL}) == len(messages.ALL)
    assert LEAST.keys() == set(messages.ALL)


@pytest.mark.parametrize("kind", messages.ALL)
def test_what_is_optional_may_be_left_out_and_nothing_else(kind: type[Message]) -> None:
    assert isinstance(decode(kind, LEAST[kind]), kind)
    for key in LEAST[kind]:
        with pytest.raises(RemoteProtocolError) as refused:
            decode(kind, {name: value for name, value in LEAST[kind].items() if name != key})
        assert refused.value.code == "malformed"


@pytest.mark.parametrize(("kind", "key", "value"), WRONG, ids=lambda one: None if isinstance(one, dict | list) else "")
def test_a_value_out_of_its_bounds_is_malformed(kind: type[Message], key: str, value: Any) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode(kind, {**LEAST[kind], key: value})
    assert refused.value.code == "malformed"


@pytest.mark.parametrize("kind", messages.ALL)
def test_no_key_of_a_message_may_have_another_type(kind: type[Message]) -> None:
    """A set of bytes where a number is due, and the like: never a message with something else inside."""
    for key in LEAST[kind]:
        for value in (None, True, [None], {"x": None}, 1.5):
            with pytest.raises(RemoteProtocolError):
                decode(kind, {**LEAST[kind], key: value})


def test_only_what_carries_entries_may_wait() -> None:
    assert {kind for kind in messages.ALL if kind.bulk} == {Entries, Part}


def test_messages_of_a_space_are_those_of_a_session() -> None:
    of_a_space = {kind for kind in messages.ALL if "space" in kind.__struct_fields__}
    assert of_a_space == set(messages.SessionMessage.__args__)
