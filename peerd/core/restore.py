"""Edit against delete: the edit wins.

A record that lost its last birth to a delete while an edit of it came concurrently is parked. It gets a birth back
by a restore, written in the same SQL transaction by the device that made the edit; or, if that is no active member
that still has the image, by the active member with the smallest device id that has. Two that restore at once do no
harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.limits import FIELDS_PER_RECORD
from peerd.core.record import Record

PORTION_CHANGES = 1_000
PORTION_BYTES = 1 << 20


class Image(NamedTuple):
    """What a record looked like when it was last visible, and which delete removed it (None: inside a snapshot)."""

    values: dict[str, bytes]
    removed_by: Dot | None


def is_ours_to_restore(
    record: Record,
    us: bytes,
    device_of: Callable[[bytes], bytes | None],
    active: Collection[bytes],
    without_image: AbstractSet[bytes],
) -> bool:
    """Is it our turn? `device_of` maps an origin to its device; `active` are the devices of the members seen lately;
    `without_image` those that said they hold no image of this record. We hold one, or nobody would ask.
    """
    authors = {device_of(origin) for origin in record.writers()}
    if us in authors:
        return True
    holders = (set(active) - without_image) | {us}
    return not authors & holders and us == min(holders)


def restore(record: Record, name: tuple[str, str], image: Image) -> Change:
    """The change that gives `record` its birth back: only fields without a sibling are written."""
    missing = {field: Raw(value) for field, value in image.values.items() if field not in record.fields}
    return Change(Kind.RESTORE, *name, missing, answers=image.removed_by)


def portions(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """The same restores in transactions that no limit refuses. A record may have come to more fields and bytes than one
    transaction can name; it is then restored in pieces, each with a birth of its own, which does no harm.
    """
    portion: list[Change] = []
    size_bytes = 0
    for change in changes:
        for number, piece in enumerate(_pieces(change)):
            piece_bytes = _size_bytes(piece)
            is_full = len(portion) >= PORTION_CHANGES or size_bytes + piece_bytes > PORTION_BYTES
            if portion and (number or is_full):
                yield portion
                portion, size_bytes = [], 0
            portion.append(piece)
            size_bytes += piece_bytes
    if portion:
        yield portion


def _pieces(change: Change) -> Iterator[Change]:
    fields: dict[str, Raw] = {}
    size_bytes = 0
    for name, value in change.set.items():
        value_bytes = len(bytes(value))
        if fields and (len(fields) >= FIELDS_PER_RECORD or size_bytes + value_bytes > PORTION_BYTES):
            yield replace(change, set=fields)
            fields, size_bytes = {}, 0
        fields[name] = value
        size_bytes += value_bytes
    yield replace(change, set=fields)


def _size_bytes(change: Change) -> int:
    return sum(len(bytes(value)) for value in change.set.values())
