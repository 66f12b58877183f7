"""What took too long: told when it came several times or was very long, and over by itself."""

from __future__ import annotations

from peerd.core.slowness import WINDOW_S, Slow, Slowness


def slowness() -> Slowness:
    return Slowness(least_s=1.0, long_s=5.0, many=3, fresh_s=300.0)


def test_one_hiccup_is_not_worth_a_word() -> None:
    one = slowness()
    assert not one.took(10.0, 0.9)
    assert one.took(20.0, 1.5)
    assert one.took(30.0, 1.0)
    assert one.standing(31.0) is None
    assert one.lately(31.0) == Slow(1.5, 2)


def test_several_are_and_it_is_over_after_a_while_without() -> None:
    one = slowness()
    for now_s in (10.0, 20.0, 30.0):
        one.took(now_s, 1.5)
    one.took(40.0, 0.1)
    assert one.standing(329.0) == Slow(1.5, 3)
    assert one.standing(330.0) is None
    assert one.lately(330.0) == Slow(1.5, 3)
    assert one.lately(30.0 + WINDOW_S) == Slow(0.0, 0)


def test_a_long_one_is_enough_also_while_it_goes_on() -> None:
    one = slowness()
    one.begins(10.0)
    assert one.standing(14.9) is None
    assert one.standing(17.0) == Slow(7.0, 1)
    one.took(18.0, 8.0)
    assert one.standing(20.0) == Slow(8.0, 1)


def test_what_is_kept_is_bounded() -> None:
    one = slowness()
    for number in range(5_000):
        one.took(number / 100, 1.0)
    assert one.lately(50.0).times == 1_000
