"""By the log or by a snapshot: how a copy that lacks a part of another's log is brought up to date.

The log brings every change that was ever made; a snapshot brings every record that is, in the order of their keys. Into
an empty copy records are taken over as they are, at a fifth of the work of a change that is merged and kept by itself;
records that differ on both sides are merged one by one, and cost about as much as two small changes of the log. Either
way the receiver has no log from before the snapshot afterwards, so when in doubt it is the log.

    snapshot    if the log that is lacking has at least LEAST_LOG_BYTES, and

                to a copy that lacks 9 of 10 transactions, a new one above all:
                at least half as many bytes as the records
                to one that has more:
                at least twice as many bytes as the records

All of it is the sender's to know: its log, less what the clock of the receiver covers, and its own records.
"""

from __future__ import annotations

from msgspec import Struct

LEAST_LOG_BYTES = 4 << 20  # a second's worth, and one window of credit


class Gap(Struct, frozen=True):
    """Of `transactions` that we have applied a copy lacks `lacking`, with `log_bytes` of log; about how many records,
    of how many bytes, a snapshot of ours has.
    """

    transactions: int
    lacking: int
    log_bytes: int
    records: int
    record_bytes: int


def by_snapshot(gap: Gap) -> bool:
    if gap.log_bytes < LEAST_LOG_BYTES:
        return False
    is_new = 10 * gap.lacking >= 9 * gap.transactions
    return 2 * gap.log_bytes >= gap.record_bytes if is_new else gap.log_bytes >= 2 * gap.record_bytes
