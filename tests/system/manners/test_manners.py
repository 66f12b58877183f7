"""What is measured by hand at length, for some seconds: nothing goes wrong, whatever the numbers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.manners import bulk, busy, hammer

SECONDS = 5.0
ROWS = 20_000


@pytest.mark.parametrize("journal", busy.JOURNALS)
def test_two_programs_that_hardly_rest_end_with_the_same(tmp_path: Path, journal: str) -> None:
    told = hammer.hammer(tmp_path, SECONDS, journal)
    assert told.wrong == []
    assert told.made > 0


def test_very_many_rows_in_one_transaction_arrive(tmp_path: Path) -> None:
    inserted, updated = bulk.bulk(tmp_path, ROWS)
    assert (inserted.rows, updated.rows) == (ROWS, ROWS)
    assert max(inserted.peak_mib, updated.peak_mib) <= 250


@pytest.mark.parametrize("journal", busy.JOURNALS)
def test_a_program_without_a_timeout_is_refused_by_nothing_but_a_lock(tmp_path: Path, journal: str) -> None:
    """And the two files show the same afterwards."""
    told = list(busy.measure(tmp_path, 1.0, [journal], [20.0]))
    assert {one.peerd for one in told} == {"none", "one side writes", "both sides write"}
    for one in told:
        assert one.tried > sum(one.refused.values())
        assert one.refused.keys() <= hammer.UNAVOIDABLE["wal"]
        assert one.peerd != "none" or not one.refused
