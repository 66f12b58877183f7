"""Bytes of strangers: a message, nothing, or a refusal with a code, and never more memory than a frame needs."""

from __future__ import annotations

import pytest

from peerd.protocol import codec
from peerd.protocol.messages import Message
from tests.protocol import message_vectors


@pytest.mark.parametrize("message", message_vectors.examples(), ids=lambda one: type(one).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert codec.decode(codec.encode(message, request=7)) == message
