"""What is known of a device: addresses with the most promising first, and why it is not linked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine.peer_book import ADDRESSES, PeerBook

if TYPE_CHECKING:
    from tests.engine.conftest import Hands

DEVICE = bytes(32)


def test_what_was_sighted_last_is_tried_first(clock: Hands) -> None:
    book = PeerBook(clock)
    book.sighted(DEVICE, [("192.0.2.1", 1)])
    note = book.sighted(DEVICE, [(f"192.0.2.{n}", 1) for n in range(2, 30)])
    assert note.addresses[0] == ("192.0.2.2", 1)
    assert len(note.addresses) == ADDRESSES
