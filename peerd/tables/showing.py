"""Does the file show already what the space has? What its own application wrote comes back as images of that.

To write them down all the same, with the position of the log, would lock the file for nobody's good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from peerd.core.tables.changes import RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.tables.bound_table import BoundTable
from peerd.tables.harvest import reading
from peerd.tables.links import Links
from peerd.tables.local_keys import LocalKeys
from peerd.tables.notes import seen_dots
from peerd.tables.parking import parked
from peerd.tables.progress import Candidate, Progress, Unplaceable
from peerd.tables.project import tables_of


def shows(
    connection: apsw.Connection, schema: Schema, plan: BindingPlan, images: Sequence[RowImage], *, device: str
) -> bool:
    """Would projecting these change no row, and nothing of what rows are known to have seen? False where anything is
    parked, since its time may have come. Only reads. `device` is the text of our id.

    Raises:
        apsw.Error.
    """
    with reading(connection):
        if parked(connection):
            return False
        tables = tables_of(connection, schema, plan)
        keys = LocalKeys(connection, Progress(connection, tables, Links(schema, plan)), device)
        by_collection = {table.plan.collection: table for table in tables.values()}
        return all(_is_shown(by_collection, keys, image) for image in images)


def _is_shown(by_collection: Mapping[str, BoundTable], keys: LocalKeys, image: RowImage) -> bool:
    table = by_collection.get(image.collection)
    if table is None:
        return True
    row = table.shadow_of(image.key)
    if image.fields is None or row is None:
        return image.fields is None and row is None
    if row.flags or not image.dots <= seen_dots(row.dots):
        return False
    present = table.read(row.key)
    if present is None:
        return False
    try:
        cells = keys.cells(table, Candidate(image, table.completed(image.fields), row))
    except Unplaceable:
        return False
    return not table.changed(cells, row.hashes, present)
