"""Bound files of a space whose copy is not the one that they show: a new one, since the old one was damaged or this
device was a member before; or an older one, out of a backup.

As long as the copy is not filled, nothing that it lacks means anything: nothing is harvested, since a delete would meet
no record, and nothing is projected, since rows would go or become what they were. Once it has been in step with another
member, or a snapshot is in place, or when there is no other member, what the file shows is compared with it: a row that
shows a transaction which the new copy does not know of shows what only the old copy had. It is said again, but for the
fields that others have written since; where nobody else knows any of what it shows, it is said as a whole, and stands
beside what others have under the same key. From then on the file is brought forward as it is after any change of
copies.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerd.core.clocks import Dot
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.settings import BindingSettings
from peerd.engine.space import Space
from peerd.engine.store_ports import Transaction
from peerd.engine.tables.images import ROWS_AT_ONCE
from peerd.engine.tables.ports import TableFile
from peerd.errors import TableTrouble
from peerd.logs import get

log = get(__name__)

WAITS = "copy-filling"


def waits(space: Space, settings: BindingSettings) -> bool:
    """Is the copy not filled yet?"""
    return settings.renewed and not space.is_filled


def check_filled(space: Space, settings: BindingSettings) -> None:
    """Raises TableTrouble: copy-filling."""
    if waits(space, settings):
        if not space.is_ours:
            raise TableTrouble(
                f"its file waits: this device is no member of {space.name}, so nobody fills its copy",
                code=WAITS,
                next_step="It goes on when a member has invited this device and its copy is filled; or `peerctl tables "
                "unbind` lets go of it.",
            )
        names = sorted(space.name_of(one) for one in space.others())
        whom = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        were = "was" if len(names) == 1 else "were"
        raise TableTrouble(
            f"its file waits until this copy of {space.name} has been filled: since then {whom} {were} not met",
            code=WAITS,
            next_step="It goes on by itself when a member or a relay that has the data was reached; what the "
            "application writes meanwhile is kept. If none of them ever comes back, remove them (`peerctl remove "
            f"{space.name} DEVICE`): it goes on with what the file shows when no other member is left.",
        )


async def say_what_was_lost(space: Space, file: TableFile, plan: BindingPlan) -> None:
    """Have the next harvest say what the file shows and nobody has any more. May be done again."""
    clock, count = space.copy.clock(), 0
    for table in plan.tables:
        shown = await file.beyond(table.collection, clock)
        keys = list(shown)
        for first in range(0, len(keys), ROWS_AT_ONCE):
            part = {key: shown[key] for key in keys[first : first + ROWS_AT_ONCE]}
            written = await _written_by_others(space, table.collection, part)
            unknown = {key for key, dots in part.items() if all(dot.seq > clock.get(dot.origin, 0) for dot in dots)}
            whole = [key for key in part if key not in written or (key in unknown and written[key] is not None)]
            cells = {key: fields for key, fields in written.items() if key not in unknown and fields is not None}
            await file.say_again(table.collection, whole, cells)
            count += len(part)
    log.info("file met a new copy", space=space.name, count=count)


async def _written_by_others(
    space: Space, collection: str, shown: Mapping[str, frozenset[Dot]]
) -> dict[str, frozenset[str] | None]:
    """By record that is there: its fields of which a row that shows this lacks a value. None: it stands parked, since
    our copy lost something of it, and says nothing.
    """
    names = [(collection, key) for key in shown]

    def reading(transaction: Transaction) -> dict[str, frozenset[str] | None]:
        found: dict[str, frozenset[str] | None] = {}
        for (_, key), stored in transaction.records(names).items():
            record = stored.record
            if record.visible:
                others = (field for field, values in record.fields.items() if not values.keys() <= shown[key])
                found[key] = frozenset(others)
            elif record.parked and space.damage.doubts((collection, key)):
                found[key] = None
        return found

    return await space.store.read(reading)
