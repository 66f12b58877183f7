"""Putting a snapshot in the place of a copy whose history is another one, without merging: a recopy begins so.

Dots of the two do not mean the same behind the parting, so neither rows nor log of ours may stay beside the snapshot.
What we had is in the copy that was set aside before, from which it is written again.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerd.core.chain import first_hash
from peerd.core.snapshots.stored import Switched
from peerd.core.stored import Recopy
from peerd.store import asides, meta, scrub_rows, side
from peerd.store.switching import Site, write_space

_BEYOND = (1 << 63) - 1
_AGREED = (
    "SELECT max(a.seq) FROM {ends} AS a JOIN incoming_end AS b ON b.origin = :ref AND b.seq = a.seq"
    " WHERE a.hash8 = b.hash8 AND a.seq < :below"
)
_DIFFERS = (
    "SELECT min(a.seq) FROM {ends} AS a JOIN incoming_end AS b ON b.origin = :ref AND b.seq = a.seq"
    " WHERE a.hash8 <> b.hash8"
)
_INSIDE = (
    "SELECT min(b.seq) FROM incoming_end AS b JOIN run AS r ON r.origin = b.origin"
    " WHERE b.origin = :ref AND r.first <= b.seq AND b.seq < r.last"
)
_ENDS = (
    "(SELECT last AS seq, substr(head, 1, 8) AS hash8 FROM run WHERE origin = :ref"
    " UNION SELECT seq, hash8 FROM run_end WHERE origin = :ref)"
)


def replace(site: Site, copy_id: bytes, limits: Mapping[bytes, int], recopy: Recopy, arrived_ms: int) -> Switched:
    """Taken over at `arrived_ms` by the wall clock. `limits` are the seqs after which origins went two ways, as far as
    that is known; `recopy` is what follows.
    """
    connection, refs = site.connection, site.refs
    connection.execute(
        "INSERT OR IGNORE INTO incoming_end (origin, seq, hash8)"
        " SELECT origin, seq, substr(head, 1, 8) FROM incoming_origin WHERE seq > 0"
    )
    kept = {origin: _forget_other_history(site, ref, limits.get(origin)) for origin, ref in refs.ref_of.items()}
    side.exchange(connection)
    standing, before = meta.load(connection, refs, site.path)
    for origin, was in before.origins.items():
        at = site.standing.origins.get(origin)
        device = was.announcement.device
        row = (0, first_hash(before.space, device, origin), refs.encode_clock({}, {}), b"", 0)
        if at is not None and at.seq:
            row = (at.seq, at.head, refs.encode_clock(at.context, refs.ref_of), at.signature, at.seq)
            leap = (refs.ref_of[origin], min(kept[origin], at.seq) + 1, at.seq, arrived_ms, standing.age.ms)
            connection.execute(
                "INSERT OR IGNORE INTO leap (origin, first, last, arrived_ms, age_ms) VALUES (?, ?, ?, ?, ?)", leap
            )
        connection.execute(
            "UPDATE origin SET seq = ?, head = ?, context = ?, signature = ?, horizon = ? WHERE ref = ?",
            (*row, refs.ref_of[origin]),
        )
    connection.execute("INSERT OR IGNORE INTO run_end (origin, seq, hash8) SELECT origin, seq, hash8 FROM incoming_end")
    connection.execute("DELETE FROM staged")
    write_space(site, None, copy_id, arrived_ms)
    asides.save(connection, recopy)
    _, state = meta.load(connection, refs, site.path)
    scrub = scrub_rows.replaced(connection, copy_id, site.standing.progress.owed)
    return Switched(copy_id, state, True, scrub, meta.taken(connection), replaced=True)


def _forget_other_history(site: Site, ref: int, limit: int | None) -> int:
    """Of our log, our ends and our leaps of an origin only what the snapshot shows to be of the same history may stay:
    up to which seq that is.
    """
    connection = site.connection
    differing = [
        at
        for query in (_DIFFERS.format(ends=_ENDS), _INSIDE)
        if (at := connection.execute(query, {"ref": ref}).fetchone()[0]) is not None
    ]
    below = min(differing, default=_BEYOND)
    if limit is not None:
        below = min(below, limit + 1)
    (agreed,) = connection.execute(_AGREED.format(ends=_ENDS), {"ref": ref, "below": below}).fetchone()
    connection.execute("DELETE FROM run WHERE origin = ? AND last > ?", (ref, agreed or 0))
    connection.execute("DELETE FROM run_end WHERE origin = ? AND seq > ?", (ref, agreed or 0))
    connection.execute("DELETE FROM leap WHERE origin = ? AND last > ?", (ref, agreed or 0))
    return int(agreed or 0)
