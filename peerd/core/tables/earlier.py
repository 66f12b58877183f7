"""Earlier versions of a row: how an edit that was made from one of them is told from an edit of what the row shows.

An application reads a row, a projection changes it, and the application writes back all that it had read. What tells
is a cell that has *gone back* to exactly what a projection replaced lately, in a row that was written as a whole:
something else changed in it, too. One cell or several that only go back are taken for an undo by hand, and so is
what went back later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

RECENT_MS: Final = 15 * 60_000  # so long a form that stands open is thought of
VERSIONS: Final = 3  # so many are kept of each row

_encode = msgspec.msgpack.Encoder().encode


class Version(Struct, array_like=True, frozen=True):
    """What a projection replaced in a row, at `time_ms` of the wall clock. `seen`: the dots that the row showed until
    then, packed. `before`: the hashes of the cells that changed, by the numbers of their columns.
    """

    time_ms: int
    seen: bytes
    before: dict[int, bytes]


_decode = msgspec.msgpack.Decoder(tuple[Version, ...]).decode


def pack_versions(versions: Sequence[Version]) -> bytes:
    """What `unpack_versions` reads; no bytes for none."""
    return _encode(versions) if versions else b""


def unpack_versions(packed: bytes) -> tuple[Version, ...]:
    """Versions, the oldest first."""
    return _decode(packed) if packed else ()


def with_version(versions: Sequence[Version], new: Version) -> tuple[Version, ...]:
    """Remember one more, and forget what is not recent any more. Where they are too many, the one that stood for the
    shortest time goes: nobody types while a form is being read. Versions before it keep what it had.
    """
    kept = [*_recent(versions, new.time_ms), new]
    while len(kept) > VERSIONS:
        shortest = min(range(1, len(kept)), key=lambda place: kept[place].time_ms - kept[place - 1].time_ms)
        older, gone = kept[shortest - 1], kept.pop(shortest)
        kept[shortest - 1] = Version(older.time_ms, older.seen, gone.before | older.before)
    return tuple(kept)


def version_behind(
    versions: Sequence[Version], shown: Mapping[int, bytes], now: Mapping[int, bytes], now_ms: int
) -> Version | None:
    """The version that an edit was made from; None: nothing tells that it was not made from what the row showed.

    `shown` are the hashes that the row showed, `now` those that it has. It is the version that most of the cells that
    changed since then agree with, and of several the oldest: what nobody may have seen is not overwritten.
    """
    recent = _recent(versions, now_ms)
    edited = {number for number, cell in now.items() if number in shown and shown[number] != cell}
    columns = {number for version in recent for number in version.before}
    then = dict(shown)
    found: Version | None = None
    most = 0
    went_back: set[int] = set()
    for version in reversed(recent):
        then |= version.before
        agreeing = {number for number in columns if number in now and now[number] == then.get(number)}
        went_back |= agreeing & edited
        if agreeing & edited and len(agreeing) >= most:
            found, most = version, len(agreeing)
    return found if edited - went_back else None


def _recent(versions: Sequence[Version], now_ms: int) -> Sequence[Version]:
    """Without those that are too old, and what was before them. A clock that was set back is no better than age."""
    for place in range(len(versions) - 1, -1, -1):
        if abs(now_ms - versions[place].time_ms) > RECENT_MS:
            return versions[place + 1 :]
    return versions
