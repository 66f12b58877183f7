"""What is known of a device: addresses with the most promising first, and why it is not linked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.engine.links.peer_book import ADDRESSES, NOT_FOUND, PeerBook, Trouble

if TYPE_CHECKING:
    from tests.engine.conftest import Hands

DEVICE = bytes(32)
ONE, TWO, THREE = ("192.0.2.1", 1), ("192.0.2.2", 2), ("fe80::1%eth0", 3)
LOST = Trouble("link-lost", "the connection was lost")


@pytest.fixture
def book(clock: Hands) -> PeerBook:
    return PeerBook(clock)


def test_nobody_knows_a_new_device(book: PeerBook, clock: Hands) -> None:
    note = book.note(DEVICE)
    assert (note.state, note.trouble, note.addresses, note.sighted_s) == ("offline", NOT_FOUND, (), None)
    assert note.since_ms == clock.wall_ms()
    assert book.note(DEVICE) is note


def test_what_was_sighted_last_is_tried_first(book: PeerBook) -> None:
    book.sighted(DEVICE, [ONE])
    note = book.sighted(DEVICE, [TWO, THREE, ONE])
    assert note.addresses == (TWO, THREE, ONE)
    assert book.sighted(DEVICE, [ONE]).addresses == (ONE, TWO, THREE)


def test_addresses_are_bounded(book: PeerBook) -> None:
    book.sighted(DEVICE, [ONE])
    note = book.sighted(DEVICE, [(f"192.0.2.{n}", 1) for n in range(2, 30)])
    assert note.addresses[0] == ("192.0.2.2", 1)
    assert len(note.addresses) == ADDRESSES
    book.remembered(DEVICE, "laptop", [(f"198.51.100.{n}", 1) for n in range(30)])
    book.worked(DEVICE, TWO)
    assert len(note.addresses) == ADDRESSES


def test_what_an_earlier_run_knew_comes_last_and_is_no_sighting(book: PeerBook) -> None:
    book.sighted(DEVICE, [ONE])
    book.remembered(DEVICE, "laptop", [TWO, ONE])
    note = book.note(DEVICE)
    assert (note.name, note.addresses) == ("laptop", (ONE, TWO))
    book.remembered(DEVICE, "an older name", [])
    assert note.name == "laptop"
    other = bytes([1]) * 32
    book.remembered(other, "tablet", [THREE])
    assert (book.note(other).sighted_s, book.note(other).addresses) == (None, (THREE,))


def test_where_a_device_answered_it_is_tried_first(book: PeerBook) -> None:
    book.sighted(DEVICE, [ONE, TWO])
    book.worked(DEVICE, TWO)
    book.worked(DEVICE, THREE)
    assert book.note(DEVICE).addresses == (THREE, TWO, ONE)


def test_a_sighting_starts_the_attempts_over(book: PeerBook, clock: Hands) -> None:
    for _ in range(3):
        book.failed(DEVICE, LOST, refused=False)
    assert book.note(DEVICE).attempts == 3
    clock.pass_s(5)
    book.sighted(DEVICE, [ONE])
    assert (book.note(DEVICE).attempts, book.note(DEVICE).sighted_s) == (0, clock.monotonic_s())


def test_a_link_ends_all_trouble(book: PeerBook, clock: Hands) -> None:
    book.failed(DEVICE, LOST, refused=True)
    assert (book.note(DEVICE).state, book.note(DEVICE).trouble) == ("refused", LOST)
    clock.pass_s(5)
    book.linked(DEVICE, "laptop", "peerd 1")
    note = book.note(DEVICE)
    assert (note.state, note.trouble, note.attempts) == ("linked", None, 0)
    assert (note.name, note.version, note.since_ms) == ("laptop", "peerd 1", clock.wall_ms())
    book.linked(DEVICE, "", "peerd 2")
    assert (note.name, note.version) == ("laptop", "peerd 2")


def test_since_when_is_kept_while_the_state_stays(book: PeerBook, clock: Hands) -> None:
    book.linked(DEVICE, "laptop", "peerd 1")
    clock.pass_s(5)
    book.lost(DEVICE, LOST, 5.0)
    lost_ms = clock.wall_ms()
    assert (book.note(DEVICE).state, book.note(DEVICE).sighted_s) == ("offline", clock.monotonic_s())
    clock.pass_s(5)
    book.failed(DEVICE, NOT_FOUND, refused=False)
    note = book.note(DEVICE)
    assert (note.since_ms, note.trouble, note.attempts) == (lost_ms, NOT_FOUND, 1)
    book.failed(DEVICE, LOST, refused=True)
    assert (note.since_ms, note.state) == (clock.wall_ms(), "refused")


def test_a_device_can_be_forgotten(book: PeerBook) -> None:
    book.sighted(DEVICE, [ONE])
    book.forget(DEVICE)
    book.forget(DEVICE)
    assert book.note(DEVICE).addresses == ()


def test_what_was_not_found_says_what_to_do() -> None:
    assert NOT_FOUND.code == "not-found"
    assert "network.peers" in NOT_FOUND.next_step
