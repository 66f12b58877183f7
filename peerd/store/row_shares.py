"""What a stored record adds to the digest, as it is: whoever builds on a row looks whether that is its share.

That takes a microsecond or two for nearly every record.
"""

from __future__ import annotations

from pathlib import Path

from peerd.core.batch import Name, Stored
from peerd.core.record_form import SHORT_LEAD_BYTES, digest_of, lone_lead, share_of
from peerd.core.writes import PARKED
from peerd.store import records
from peerd.store.records import unsigned
from peerd.store.refs import Refs


def stored(refs: Refs, path: Path, name: Name, flags: int, share: int, stamps: bytes, body: bytes) -> Stored:
    """A row as it is. Raises StoreDamaged."""
    record = records.decode(refs, path, stamps, body)
    kept, now = unsigned(share), share_now(refs, *name, stamps, body)
    return Stored(record, kept, not flags & PARKED, None if now == kept else now)


def share_now(refs: Refs, collection: str, key: str, stamps: bytes, body: bytes) -> int:
    """Raises ValueError, LookupError or TypeError: the stamps are none."""
    short = stamps[:SHORT_LEAD_BYTES]
    lead = refs.lead_of.get(short)  # the packed stamps of nearly every record need not be taken apart
    if lead is not None:
        return unsigned(share_of(collection, key, lead + stamps[SHORT_LEAD_BYTES:], body)[1])
    rows = refs.decode_stamps(stamps)
    if len(rows) == 1 and len(rows[0]) == 4 and lone_lead(refs.ref_of[rows[0][0]]) == short:
        refs.lead_of[short] = lone_lead(rows[0][0])
    return digest_of(collection, key, rows, body)[1]
