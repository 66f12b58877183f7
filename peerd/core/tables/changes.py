"""What passes between an application's file and its space: edits out, images in.

Fields are packed (see `core.values`) and named after columns; references hold record keys. Integers of rows stay what
their origin had, in the key's own field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from peerd.core.clocks import Dot

Rank = tuple[int, bytes, int]  # (t_ms, origin, seq) of the smallest birth dot: oldest first
SaidAgain = Mapping[str, Mapping[str, Sequence[str]]]  # table -> column -> keys of records


class RowEdit(Struct, frozen=True, gc=False):
    """What an application did to one row. `seen` are the dots of what the file showed of it. `together` are groups of
    columns that a CHECK ties: they are written by one author, whether each of them changed or not. `outdated`: the
    application wrote the row as it was at `seen`, and the file showed more; what it wrote stands beside that. `is_new`:
    the row got its key now; if the space has that record, the same row was harvested before, from the same state.
    """

    kind: Literal["put", "patch", "delete"]
    collection: str
    key: str
    set: dict[str, bytes] = {}
    seen: frozenset[Dot] = frozenset()
    together: tuple[frozenset[str], ...] = ()
    outdated: bool = False
    is_new: bool = False


class Harvest(Struct, frozen=True):
    """Edits that make one transaction, and the note by which the file is settled when they are durable in the space.
    The note is kept with that transaction. `more`: other edits wait for the next harvest. `held`: deletes that the
    brake holds back, by table. `troubles` are rows that cannot be captured: (table, key in words, why), all that there
    are in the tables `looked_at`.
    """

    edits: tuple[RowEdit, ...]
    note: bytes
    more: bool = False
    held: dict[str, int] = {}
    troubles: tuple[tuple[str, str, str], ...] = ()
    looked_at: frozenset[str] = frozenset()


class RowImage(Struct, frozen=True, gc=False):
    """What a record shows: `fields` is None if there is none (deleted, or parked in the space)."""

    collection: str
    key: str
    fields: dict[str, bytes] | None
    dots: frozenset[Dot] = frozenset()
    rank: Rank = (0, b"", 0)


class Applied(Struct, frozen=True):
    """How far a file shows the log of its space: position `position` of the copy `copy_id`."""

    copy_id: bytes
    position: int


class Parked(Struct, frozen=True):
    """A row that the file cannot show at the moment. `code`: unique, parent, check, not-null, datatype, dangling."""

    collection: str
    key: str
    code: str
    reason: str  # a sentence for people


class Projection(Struct, frozen=True):
    """`dirty`: nothing was written, the application's own changes must be harvested first. `written`: rows."""

    dirty: bool = False
    written: int = 0
    parked: tuple[Parked, ...] = ()  # newly parked by this projection


class TableCount(Struct, frozen=True):
    """How a bound table stands: rows that it shows, rows that wait for a harvest, records that are parked, deletes
    that are held.
    """

    rows: int = 0
    dirty: int = 0
    parked: int = 0
    held: int = 0


class Brake(Struct, frozen=True):
    """A harvest that deletes more rows of a table than both is held: `max_deletes`, and `max_share` percent of it."""

    max_deletes: int = 100
    max_share: int = 20
