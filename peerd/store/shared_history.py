"""How far two copies of a space hold the same history: `main` of a connection, which was set aside and may be damaged,
and `live`, the one in its place. What cannot be read of the first says nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from peerd.core import entry
from peerd.core.clocks import Clock
from peerd.store import log
from peerd.store.failures import is_damage
from peerd.store.refs import Refs

_ENDS = (
    "(SELECT last AS seq, substr(head, 1, 8) AS hash8 FROM {0}.run WHERE origin = :{0}"
    " UNION SELECT seq, hash8 FROM {0}.run_end WHERE origin = :{0}"
    " UNION SELECT seq, substr(head, 1, 8) FROM {0}.origin WHERE ref = :{0} AND seq > 0)"
)
_BOTH = f"{_ENDS.format('main')} AS a JOIN {_ENDS.format('live')} AS b USING (seq)"
# Runs travel whole, so an end inside a run of the other copy is of another history too.
_INSIDE = "SELECT min(a.seq) FROM {0} AS a JOIN {1}.run AS r ON r.origin = :{1} AND r.first <= a.seq AND a.seq < r.last"
_DIFFERING = (
    f"SELECT min(a.seq) FROM {_BOTH} WHERE a.hash8 <> b.hash8",  # noqa: S608 - two names
    _INSIDE.format(_ENDS.format("main"), "live"),
    _INSIDE.format(_ENDS.format("live"), "main"),
)
_AGREED = f"SELECT max(a.seq) FROM {_BOTH} WHERE a.hash8 = b.hash8 AND a.seq < :differing"  # noqa: S608 - two names


def end(connection: sqlite3.Connection, refs: Refs, origin: bytes, seq: int) -> bytes | None:
    """8 bytes of the hash that the copy set aside has there, if it keeps it. Raises sqlite3.Error."""
    query = f"SELECT hash8 FROM {_ENDS.format('main')} WHERE seq = :seq"  # noqa: S608 - a constant
    row = connection.execute(query, {"main": refs.ref_of.get(origin), "seq": seq}).fetchone()
    return None if row is None else bytes(row[0])


def _asked(connection: sqlite3.Connection, query: str, refs: Mapping[str, Any]) -> int | None:
    """The number that a query gives; None if there is none, or if what it asks cannot be read."""
    try:
        (found,) = connection.execute(query, refs).fetchone()
    except sqlite3.DatabaseError as problem:
        if not is_damage(problem):
            raise
        return None
    return None if found is None else int(found)


def shared(connection: sqlite3.Connection, *, assume: bool) -> tuple[Clock, Clock]:
    """So far hashes say it; and, of those of which they say less than there may be, how far they do not deny it."""
    both = connection.execute(
        "SELECT a.id, a.ref, a.seq, b.ref, b.seq FROM main.origin AS a JOIN live.origin AS b ON a.id = b.id"
    ).fetchall()
    found: Clock = {}
    perhaps: Clock = {}
    for origin, ref, seq, live_ref, live_seq in both:
        refs = {"main": ref, "live": live_ref}
        differing = [at for query in _DIFFERING if (at := _asked(connection, query, refs)) is not None]
        up_to = min(seq, live_seq)
        if not assume or (differing and min(differing) <= up_to):
            below = min([up_to + 1, *differing])
            up_to = _asked(connection, _AGREED, {**refs, "differing": below}) or 0
            if up_to < below - 1:
                perhaps[origin] = below - 1
        if up_to:
            found[origin] = up_to
    return found, perhaps


def vouched_for(connection: sqlite3.Connection, refs: Refs, both_have: Clock, perhaps: Clock) -> Clock:
    """What a run had seen that both have, with the hash there, both have: neither could apply it otherwise. It lies
    before that in the log, so one walk back finds all.
    """
    found = dict(both_have)
    try:
        rows = connection.execute("SELECT position, origin, last FROM main.run ORDER BY position DESC").fetchall()
    except sqlite3.DatabaseError as problem:
        if not is_damage(problem):
            raise
        return found
    for position, ref, last in rows:
        if last > found.get(refs.origin_of[ref], 0):
            continue
        try:
            (entries,) = connection.execute("SELECT entries FROM main.run WHERE position = ?", (position,)).fetchone()
            delta = entry.decode(log.decode_entries(entries)[0]).delta
        except ValueError:
            continue  # damaged: it vouches for nothing
        except sqlite3.DatabaseError as problem:
            if not is_damage(problem):
                raise
            continue
        for head in delta:
            is_further = found.get(head.origin, 0) < head.seq <= perhaps.get(head.origin, 0)
            if is_further and log.hash8(connection, refs.ref_of[head.origin], head.seq) == head.hash8:
                found[head.origin] = head.seq
    return found
