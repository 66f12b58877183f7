"""Two machines with one key are known by their processes' numbers, and what is kept of that is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.engine.links import clones
from peerd.engine.links.clones import BOOTS, Clones

if TYPE_CHECKING:
    from tests.engine.conftest import Hands

DEVICE = b"d" * 32


@pytest.mark.parametrize(
    ("boots", "two"), [("A", False), ("AAA", False), ("ABC", False), ("ABA", True), ("ABCA", True)]
)
def test_a_process_that_comes_back_after_it_was_replaced_is_a_second_one(
    clock: Hands, boots: str, *, two: bool
) -> None:
    found = Clones(clock)
    for boot in boots:
        found.met(DEVICE, boot.encode())
    assert found.is_two(DEVICE) == two
    assert not found.is_two(b"e" * 32)
    clock.pass_s(601)
    assert not found.is_two(DEVICE)


def test_what_a_device_or_many_can_make_us_keep_is_bounded(clock: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones, "DEVICES", 3)
    found = Clones(clock)
    for number in range(10):
        for boot in range(BOOTS + 5):
            found.met(bytes([number] * 32), bytes([boot]))
        found.met(bytes([number] * 32), bytes([BOOTS + 3]))
    assert list(found._boots) == list(found._signs_s) == [bytes([number] * 32) for number in (7, 8, 9)]
    assert {len(boots) for boots in found._boots.values()} == {BOOTS}


def test_who_is_thrown_out_by_one_device_again_and_again_is_not_alone_with_its_key(clock: Hands) -> None:
    """Not who is so by many, once each, nor in the course of a day."""
    found = Clones(clock)
    for number in range(10):
        found.thrown_out(bytes([number] * 32))
    for _ in range(10):
        found.thrown_out(DEVICE)
        clock.pass_s(301)
    assert not found.is_another
    clock.pass_s(600)
    for _ in range(clones.THROWN_OUT):
        assert not found.is_another
        found.thrown_out(DEVICE)
        clock.pass_s(1)
    assert found.is_another
    clock.pass_s(600)
    assert not found.is_another
