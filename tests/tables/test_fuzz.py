"""Random SQL over random schemas, in the short form; `python -m tests.tables.fuzz` has the long one."""

from __future__ import annotations

import pytest

from tests.tables import fuzz

SEQUENCES, PARTS = 1_000, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_shadow_and_records_equal_the_table_after_any_statements(part: int) -> None:
    size = SEQUENCES // PARTS
    assert list(fuzz.failures(range(part * size, (part + 1) * size))) == []


def test_the_audit_is_what_finds_rows_that_vanish_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequences are hard enough to show its absence."""
    monkeypatch.setattr("peerd.tables.harvest.Harvesting._audit", lambda *_: [])
    assert list(fuzz.failures(range(100)))
