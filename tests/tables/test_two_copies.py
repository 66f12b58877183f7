"""Random histories of files on several devices, in the short form; `python -m tests.tables.two_copies` has the long
one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tables import two_copies

HISTORIES, PARTS = 60, 6


@pytest.mark.parametrize("part", range(PARTS))
def test_files_show_the_same_whatever_happened_to_them(part: int) -> None:
    size = HISTORIES // PARTS
    assert list(two_copies.failures(range(part * size, (part + 1) * size))) == []


@pytest.mark.parametrize(
    ("rule", "broken", "first"),
    [
        ("peerd.tables.harvest.Harvesting._audit", lambda *_: [], 585),
        ("peerd.tables.compare._came_back", lambda *_: False, 140),
    ],
)
def test_the_histories_are_hard_enough(
    monkeypatch: pytest.MonkeyPatch, rule: str, broken: Callable[..., object], first: int
) -> None:
    """They show it where nobody counts the rows that a REPLACE takes away silently, and where a table that was away
    does not get what came meanwhile. The first seed is near one that shows it.
    """
    monkeypatch.setattr(rule, broken)
    assert next(two_copies.failures(range(first, first + 500)), None)
