"""The bar, with a clock that a test turns."""

from __future__ import annotations

import io

import pytest

from peerd.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Hand:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_remaining_time_is_the_remaining_work_at_the_rate_so_far() -> None:
    """A quarter done in 10 s leaves 30 s, whatever the records are."""
    hand = Hand()
    progress = Progress(Terminal(), 4000, now_s=hand)
    hand.now_s += 10
    assert progress.line(1000, 50) == "[######------------------]  25%  50 records  5/s  30 s left"
    hand.now_s += 20
    assert progress.line(3000, 150).endswith("75%  150 records  5/s  10 s left")
    assert progress.line(4000, 200).endswith("0 s left")


def test_before_a_second_has_passed_no_time_is_promised() -> None:
    hand = Hand()
    progress = Progress(Terminal(), 100, now_s=hand)
    assert progress.line(0, 0) == "[------------------------]   0%  0 records"
    hand.now_s += 0.5
    assert progress.line(50, 5).endswith("5 records  10/s")


def test_without_a_known_end_there_is_no_bar_and_no_promise() -> None:
    hand = Hand()
    progress = Progress(Terminal(), None, now_s=hand)
    hand.now_s += 4
    assert progress.line(123, 2000) == "2,000 records  500/s  4 s"


def test_a_file_that_grows_never_shows_more_than_all() -> None:
    assert "100%" in Progress(Terminal(), 10).line(20, 2)


def test_it_draws_at_most_ten_times_a_second_and_leaves_nothing() -> None:
    hand, stream = Hand(), Terminal()
    with Progress(stream, 100, now_s=hand) as progress:
        for step in range(10):
            hand.now_s += 0.0625
            progress.advance(step, step)
    assert stream.getvalue().count("records") == 5
    assert stream.getvalue().endswith("\r\x1b[2K")


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO(), True), (Terminal(), False)])
def test_it_is_silent_off_a_terminal_and_where_it_is_not_wanted(stream: io.StringIO, shown: bool) -> None:  # noqa: FBT001 - parameter
    with Progress(stream, 100, shown=shown) as progress:
        progress.advance(1, 1)
    assert not stream.getvalue()
