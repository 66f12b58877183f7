"""What is said on the control socket about the room that a space takes, as JSON."""

from __future__ import annotations

from msgspec import Struct


class SpaceSizes(Struct, kw_only=True):
    """What a space takes on this device. `free_bytes` of the database hold nothing at the moment; `log_bytes` are those
    of the transactions in it, `history_bytes` those of replaced values. The WAL is a file beside it; `wal_held` if it
    is large and somebody who reads the database keeps it from being emptied.
    """

    database_bytes: int
    free_bytes: int
    wal_bytes: int
    wal_held: bool = False
    log_bytes: int
    history_bytes: int


class HoldingBack(Struct, kw_only=True):
    """How far somebody keeps the log from being trimmed: transactions that are older than `history_days` and that it
    lacks, as far as is known. `since_ms`: when the first of them came here. One that is not `active` (a member that was
    not seen for 60 days, a relay that has failed for as long) holds nothing back, and takes a snapshot when it comes
    again. `silent_days` are those since it was seen, or for which it has failed.
    """

    active: bool
    silent_days: int
    transactions: int = 0
    size_bytes: int = 0
    since_ms: int | None = None


class RelayHolding(Struct, kw_only=True):
    relay: str
    holding: HoldingBack
