"""Random histories of files on several devices, in the short form; `python -m tests.tables.two_copies` has the long
one.
"""

from __future__ import annotations

import pytest

from tests.tables import two_copies

HISTORIES, PARTS = 60, 6


@pytest.mark.parametrize("part", range(PARTS))
def test_files_show_the_same_whatever_happened_to_them(part: int) -> None:
    size = HISTORIES // PARTS
    assert list(two_copies.failures(range(part * size, (part + 1) * size))) == []


def test_the_histories_are_hard_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """They show it where nobody counts the rows that a REPLACE takes away silently."""
    monkeypatch.setattr("peerd.tables.harvest.Harvesting._audit", lambda *_: [])
    assert next(two_copies.failures(range(2 * HISTORIES, 10 * HISTORIES)), None)
