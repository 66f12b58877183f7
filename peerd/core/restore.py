"""Edit against delete: the edit wins.

A record that lost its last birth to a delete while an edit of it came concurrently is parked. It gets a birth back
by a restore, written in the same SQL transaction by the device that made the edit; or, if that is no active member
that still has the image, by the active member with the smallest device id that has. Two that restore at once do no
harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.record import Record


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
