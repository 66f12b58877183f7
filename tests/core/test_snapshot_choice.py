"""When a snapshot takes the place of the log."""

from __future__ import annotations

import pytest

from peerd.core.snapshot_choice import LEAST_LOG_BYTES, Gap, by_snapshot

MIB = 1 << 20


@pytest.mark.parametrize(
    ("log_bytes", "record_bytes", "expected"),
    [
        (20 * MIB, 20 * MIB, True),  # a new device, of records that were never changed
        (20 * MIB, 0, True),  # or of which nothing is left
        (20 * MIB, 40 * MIB, True),
        (20 * MIB, 40 * MIB + 2, False),  # one that lacks a part
        (LEAST_LOG_BYTES, 1, True),
        (LEAST_LOG_BYTES - 1, 1, False),  # a small space, with all of its history
    ],
)
def test_a_snapshot_is_for_whoever_lacks_as_much_log_as_there_is(
    log_bytes: int,
    record_bytes: int,
    expected: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert by_snapshot(Gap(log_bytes, 1, record_bytes)) is expected
