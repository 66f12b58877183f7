"""The invitation: eight digits, two minutes, three tries, one at a time, once."""

from __future__ import annotations

import pytest

from peerd.errors import UserError
from peerd.protocol.pairing.window import SECONDS, InvitationWindow, State, draw_code, parse_code, show_code

NOW_S = 50.0


def test_one_attempt_at_a_time() -> None:
    """A second one is told so, and may come when the first has ended."""
    window = InvitationWindow("48219073", NOW_S)
    assert window.claim(NOW_S) is None
    assert window.claim(NOW_S) == "busy"
    window.release()
    assert window.claim(NOW_S) is None


def test_three_wrong_guesses_and_it_is_void() -> None:
    """The third is told that it was the last; so is everybody after it, code or not."""
    window = InvitationWindow("48219073", NOW_S)
    answers = []
    for _ in range(3):
        assert window.claim(NOW_S) is None
        answers.append(window.wrong())
    assert answers == ["wrong-code", "wrong-code", "too-many-tries"]
    assert window.claim(NOW_S) == "too-many-tries"
    assert window.claim(NOW_S + SECONDS) == "too-many-tries"


def test_it_ends_after_two_minutes_even_in_the_middle_of_an_attempt() -> None:
    """Not before."""
    window = InvitationWindow("48219073", NOW_S)
    assert window.claim(NOW_S + SECONDS - 0.001) is None
    assert window.state(NOW_S + SECONDS - 0.001) is State.BUSY
    assert window.state(NOW_S + SECONDS) is State.EXPIRED
    assert window.claim(NOW_S + SECONDS) == "expired"


def test_it_works_once() -> None:
    """After the code was proven there is no window, whatever became of the attempt."""
    window = InvitationWindow("48219073", NOW_S)
    window.claim(NOW_S)
    window.spend()
    window.release()
    assert window.claim(NOW_S) == "no-window"


def test_the_code_is_in_no_representation() -> None:
    """So it gets into no log and no traceback."""
    assert "48219073" not in repr(InvitationWindow("48219073", NOW_S))


@pytest.mark.parametrize("typed", ["48219073", "4821-9073", " 4821 9073\n"])
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    """With and without its dash."""
    assert parse_code(typed) == "48219073"
    assert show_code(parse_code(typed)) == "4821-9073"


@pytest.mark.parametrize("typed", ["", "4821907", "482190733", "4821907a", "٤٨٢١٩٠٧٣", "+4821907"])
def test_anything_else_is_no_code(typed: str) -> None:
    """Other scripts' digits neither: both sides must hash the same bytes."""
    with pytest.raises(UserError) as caught:
        parse_code(typed)
    assert caught.value.code == "bad-code"
    assert caught.value.next_step


def test_a_drawn_code_keeps_its_leading_zeros() -> None:
    """It is a string of digits, not a number."""
    assert draw_code(bytes) == "00000000"
    assert draw_code(lambda n: (100_000_042).to_bytes(n, "big")) == "00000042"
