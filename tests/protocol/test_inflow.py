"""The receiving half of a session: what is owed, and runs that come in parts."""

from __future__ import annotations

import pytest

from peerd.core.chain import Run
from peerd.core.limits import ENTRY_BYTES
from peerd.core.origin import Announcement, origin_of
from peerd.errors import RemoteProtocolError
from peerd.protocol.inflow import Inflow, announced
from peerd.protocol.messages import CREDIT_BYTES, FRAME_BYTES, PART_BYTES, Entries, Part

SPACE, ORIGIN = b"s" * 16, b"o" * 16
HALF = bytes(PART_BYTES)


def part(number: int, count: int, data: bytes = b"x", seq: int = 1, origin: bytes = ORIGIN) -> Part:
    return Part(SPACE, origin, seq, number, count, data, b"g" * 64 if number == count - 1 else b"")


def test_a_part_that_skips_one_is_refused() -> None:
    inflow = Inflow()
    inflow.part(part(0, 3))
    with pytest.raises(RemoteProtocolError) as refused:
        inflow.part(part(2, 3))
    assert refused.value.code == "malformed"


@pytest.mark.parametrize(
    "second",
    [part(1, 3), part(1, 2, seq=2), part(1, 2, origin=b"p" * 16)],
    ids=["another count", "another seq", "another origin"],
)
def test_a_part_of_something_else_is_refused(second: Part) -> None:
    inflow = Inflow()
    inflow.part(part(0, 2))
    with pytest.raises(RemoteProtocolError):
        inflow.part(second)


def test_parts_that_do_not_begin_at_the_beginning_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Inflow().part(part(1, 2))


def test_the_parts_make_the_run_whole() -> None:
    inflow = Inflow()
    announcement = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)
    first = Part(SPACE, ORIGIN, 7, 0, 2, b"hello ", origins=[announcement])
    assert inflow.part(first).run is None
    taken = inflow.part(part(1, 2, b"world", seq=7))
    assert (taken.run, taken.introduced) == (Run(ORIGIN, 7, (b"hello world",), b"g" * 64), [announcement])


def test_a_run_may_begin_again() -> None:
    """After another WANT the sender starts over."""
    inflow = Inflow()
    inflow.part(part(0, 2, b"old"))
    inflow.part(part(0, 2, b"new"))
    run = inflow.part(part(1, 2, b"er")).run
    assert run is not None
    assert run.entries == (b"newer",)


def test_parts_of_more_than_an_entry_may_have_are_refused() -> None:
    inflow = Inflow()
    for number in range(128):
        assert inflow.part(part(number, 1024, HALF)).credit_bytes == len(HALF)
    with pytest.raises(RemoteProtocolError) as refused:
        inflow.part(part(128, 1024, HALF))
    assert refused.value.code == "too-large"
    assert inflow._parts_bytes <= ENTRY_BYTES + PART_BYTES


def test_a_sender_that_ignores_the_credit_is_refused() -> None:
    inflow = Inflow()
    for seq in range(1, 6):
        inflow.entries(Entries(SPACE, [Run(ORIGIN, seq, (bytes(1_000_000),), b"")]))
    with pytest.raises(RemoteProtocolError) as refused:
        inflow.entries(Entries(SPACE, [Run(ORIGIN, 6, (bytes(1_000_000),), b"")]))
    assert refused.value.code == "credit"


def test_what_was_released_may_be_sent_again() -> None:
    inflow = Inflow()
    for seq in range(1, 200):
        inflow.release(inflow.entries(Entries(SPACE, [Run(ORIGIN, seq, (bytes(200_000),), b"")])))


def test_credit_for_parts_comes_back_at_once_while_only_one_entry_is_held() -> None:
    inflow = Inflow()
    for number in range(100):
        taken = inflow.part(part(number, 128, HALF))
        assert taken.run is None
        assert taken.credit_bytes == len(HALF)


def test_no_more_than_one_large_entry_and_the_credit_is_ever_held() -> None:
    """A sender of many large entries waits until the first of them is applied."""
    inflow = Inflow()
    for number in range(120):
        taken = inflow.part(part(number, 120, HALF))
    assert taken.run is not None
    assert (taken.credit_bytes, taken.owed_bytes) == (0, len(HALF)), "its last part is owed until it is applied"
    for number in range(9):
        assert inflow.part(part(number, 120, HALF, seq=2)).credit_bytes == 0
    with pytest.raises(RemoteProtocolError) as refused:
        inflow.part(part(9, 120, HALF, seq=2))
    assert refused.value.code == "credit"
    assert inflow._parts_bytes <= CREDIT_BYTES + FRAME_BYTES


def test_what_is_owed_for_parts_comes_back_when_the_entry_is_applied() -> None:
    inflow = Inflow()
    returned = 0
    for seq in (1, 2, 3):
        for number in range(4):
            taken = inflow.part(part(number, 4, HALF, seq=seq))
            returned += taken.credit_bytes
        assert taken.run is not None
        returned += inflow.release(taken.owed_bytes)
        assert returned == seq * 4 * len(HALF)
    assert inflow._owed_bytes == 0


def test_announcements_are_kept_of_what_comes_with_them() -> None:
    """There may be ten thousand others in every frame, for which nobody gives credit."""
    made = [Announcement(b"d" * 32, b"a" * 16, bytes([number]) * 16) for number in range(4)]
    run = Run(origin_of(SPACE, made[2]), 1, (b"x",), b"g" * 64)
    assert announced(Entries(SPACE, [run], made), SPACE) == [made[2]]
    assert announced(Entries(SPACE, [], made), SPACE) == []
    assert announced(Entries(SPACE, [run], made[:1]), SPACE) == made[:1]
