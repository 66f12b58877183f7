"""Bytes of strangers: a message, nothing, or a refusal with a code, and never more memory than a frame needs."""

from __future__ import annotations

import pytest

from peerd.core.chain import Run
from peerd.errors import RemoteProtocolError
from peerd.protocol import codec
from peerd.protocol.messages import Entries, Message, Part
from tests.protocol import message_vectors


@pytest.mark.parametrize("message", message_vectors.examples(), ids=lambda one: type(one).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert codec.decode(codec.encode(message, request=7)) == message


@pytest.mark.parametrize(
    "message",
    [
        Entries(bytes(16), [Run(bytes(17), 1, (b"entry",), bytes(64))]),
        Entries(bytes(16), [Run(bytes(16), -1, (b"entry",), bytes(64))]),
        Entries(bytes(16), [Run(bytes(16), 1 << 63, (b"entry",), bytes(64))]),
        Entries(bytes(16), [Run(bytes(16), 1, (b"entry",), bytes(65))]),
        Part(bytes(16), bytes(16), 1, 1, 2, b"entry", bytes(65)),
    ],
)
def test_what_no_run_has_is_malformed(message: Message) -> None:
    """Whatever waits is kept before its signature can be looked at: it must have a place in a database, and a size."""
    with pytest.raises(RemoteProtocolError) as refused:
        codec.decode(codec.encode(message))
    assert refused.value.code == "malformed"
