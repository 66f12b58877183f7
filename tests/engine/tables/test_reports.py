"""What happens with the data that is there."""

from __future__ import annotations

import pytest

from peerd.engine.tables.reports import Counts, first_step


@pytest.mark.parametrize(
    ("rows", "records", "merge", "adopt", "first"),
    [
        (0, 0, False, False, "nothing"),
        (3, 0, False, False, "harvest"),
        (0, 3, False, False, "project"),
        (3, 3, False, False, "undecided"),
        (3, 3, True, False, "merge"),
        (3, 3, False, True, "adopt"),
        (3, 0, False, True, "harvest"),
        (0, 3, True, False, "project"),
    ],
)
def test_only_data_on_both_sides_has_to_be_decided(
    *, rows: int, records: int, merge: bool, adopt: bool, first: str
) -> None:
    assert first_step(Counts({"t": rows}, {"t": records}), merge=merge, adopt=adopt) == first
