"""When a snapshot takes the place of the log."""

from __future__ import annotations

import pytest

from peerd.core.snapshots.choice import LEAST_LOG_BYTES, Gap, by_snapshot

MIB = 1 << 20


@pytest.mark.parametrize(
    ("log_bytes", "record_bytes", "expected"),
    [
        (20 * MIB, 20 * MIB, True),  # a new device, of records that were never changed
        (20 * MIB, 0, True),  # or of which nothing is left
        (20 * MIB, 40 * MIB, True),
        (20 * MIB, 40 * MIB + 2, False),  # its log was trimmed, and what is left is little
        (LEAST_LOG_BYTES, 1, True),
        (LEAST_LOG_BYTES - 1, 1, False),  # a small space, with all of its history
    ],
)
def test_a_new_device_gets_a_snapshot_but_of_a_small_space(
    log_bytes: int,
    record_bytes: int,
    expected: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert by_snapshot(Gap(100, 90, log_bytes, 1, record_bytes)) is expected


@pytest.mark.parametrize(
    ("log_bytes", "record_bytes", "expected"),
    [(20 * MIB, 20 * MIB, False), (40 * MIB, 20 * MIB, True), (40 * MIB - 1, 20 * MIB, False), (3 * MIB, 0, False)],
)
def test_one_that_has_more_than_a_tenth_gets_it_only_for_very_much(
    log_bytes: int,
    record_bytes: int,
    expected: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert by_snapshot(Gap(100, 89, log_bytes, 1, record_bytes)) is expected
