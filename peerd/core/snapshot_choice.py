"""By the log or by a snapshot: how a copy that lacks a part of another's log is brought up to date.

The log brings every change that was ever made; a snapshot brings every record that is, and less work: records come in
the order of their keys and are taken over as they are, a change of the log is merged and kept by itself. So a snapshot
is the better way for whoever lacks as much log as there is state, a new device above all. It costs the receiver the log
up to there, which then begins where the snapshot stands, so for little, and when in doubt, it is the log.

    snapshot    if the log that is lacking has at least LEAST_LOG_BYTES, and at least half as many bytes as the records

Both are the sender's to know: its log, less what the clock of the receiver covers, and its own records.
"""

from __future__ import annotations

from msgspec import Struct

LEAST_LOG_BYTES = 4 << 20  # a second's worth, and one window of credit


class Gap(Struct, frozen=True):
    """The bytes of log that a copy lacks of ours, and about how many records, of how many bytes, a snapshot has."""

    log_bytes: int
    records: int
    record_bytes: int


def by_snapshot(gap: Gap) -> bool:
    return gap.log_bytes >= LEAST_LOG_BYTES and 2 * gap.log_bytes >= gap.record_bytes
